"""What healthy scans look like to the prior: features of places, statistics, acquisition checks. Detection
compares a scan with this.
"""
