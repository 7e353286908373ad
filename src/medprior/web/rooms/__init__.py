"""What the office keeps open while people look: sessions of labelling, sets beside synthetic images."""
