"""A folder of scans as a data set: scanned once, indexed, split by patient."""
