"""How a request becomes a run folder: identity, inputs, progress, record, outputs."""
