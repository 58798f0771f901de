"""fmlab: experiments with factorization-machine, click-through-rate and hyperbolic recommender models."""

__version__ = "0.2.0"
