"""`python -m fmlab`."""

import sys

from fmlab.cli import main

if __name__ == "__main__":
    sys.exit(main())
