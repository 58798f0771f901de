"""The command line."""

from fmlab.cli.command_line import main

__all__ = ["main"]
