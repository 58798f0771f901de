"""Schedulers of the learning rate: `scheduler(steps, epoch_steps, *, ...)`."""
