"""Training of any model with any loss: batches, steps, checkpoints, loggers."""
