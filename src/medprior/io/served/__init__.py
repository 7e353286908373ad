"""What the web page keeps on disk: the queue of jobs, their processes and logs, and the scans that were
handed in.
"""
