"""The clean room of the registry's tests, here too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "registry"))

from fake_packages import site

__all__ = ["site"]
