"""`fmlab push`, see `fmlab.serving.hub`."""

from fmlab.serving.hub import push as main

__all__ = ["main"]
