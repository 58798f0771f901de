"""Searches for the structure of a model, which is then trained anew: `search(space, *, ...)`."""
