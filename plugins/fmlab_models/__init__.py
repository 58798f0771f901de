"""Models: one file per paper or family, file name = entry-point name."""
