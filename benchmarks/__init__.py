"""Speed as ratios: every side of a comparison is timed in the same run, in turn, on the same machine."""
