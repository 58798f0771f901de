"""A model, a loss and a data set for fmlab, installed from a package of their own."""
