"""Loggers of other packages. `logger=[wandb,tensorboard]` uses several at once."""
