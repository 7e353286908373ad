"""What CT scanners do: parallel, fan and cone beam projections."""
