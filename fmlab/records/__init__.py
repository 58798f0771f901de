"""The folder of a run: its file names and lock, and files that stand in it."""
