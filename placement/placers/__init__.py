"""Which device runs which fragment; one algorithm a file."""
