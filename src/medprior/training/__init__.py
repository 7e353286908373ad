"""How a prior is learned: data set, loop, averages, checkpoints. Needs torch and nothing that reads scans."""
