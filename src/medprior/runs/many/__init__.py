"""A job on every scan of a folder: one run, here, in shards, in several processes or on a cluster."""
