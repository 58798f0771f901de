"""fmlab from Python: `fit` trains what the command line would train, and gives the run to score and recommend with."""
