"""How a report page is made: blocks, pictures, storage, template."""
