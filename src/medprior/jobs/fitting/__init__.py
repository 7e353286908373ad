"""Jobs that train: fit a prior, adapt one to a new class, organ or scanner."""
