"""A clean room: fake packages on the path, forgotten afterwards."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fake_packages import site

__all__ = ["site"]
