"""`python -m fmlab`, and the program `fmlab`."""

import gc
import sys

gc.disable()  # what is imported at the start stays: a search among it for garbage is for nothing

from fmlab.cli import main  # noqa: E402

gc.freeze()
gc.enable()


def program() -> int:
    """Run the command line as the whole of this process; returns its exit code."""
    code = main()
    gc.freeze()  # the process ends: a last search for garbage would free nothing that is needed
    return code


if __name__ == "__main__":
    sys.exit(program())
