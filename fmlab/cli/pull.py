"""`fmlab pull`, see `fmlab.serving.hub`."""

from fmlab.serving.hub import pull as main

__all__ = ["main"]
