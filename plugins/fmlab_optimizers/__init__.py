"""Optimizers: `optimizer(parameters, *, lr, ...)`."""
