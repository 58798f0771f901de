"""The Optuna sweeper of fmlab. Hydra imports this at every start: keep it tiny, and its imports late."""
