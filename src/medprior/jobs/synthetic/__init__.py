"""Jobs that make or judge generated images: synthesize, joint, enlarge a data set, audit for copies."""
