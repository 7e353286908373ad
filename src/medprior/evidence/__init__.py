"""No number without its proof: metrics with intervals, calibration, copies, attribution, and the baselines
that stand beside every result.
"""
