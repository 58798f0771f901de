"""`fmlab schema`: the JSON schema of configs."""

import json
import os
from collections.abc import Mapping, Sequence

from fmlab.errors import FmlabError


def main(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Print the schema; returns 0. Raises FmlabError for arguments."""
    if list(arguments) in (["--help"], ["-h"]):
        print("fmlab schema: the JSON schema of a run's config.yaml and of experiment files, for editors and programs")
        return 0
    if arguments:
        raise FmlabError(f"schema takes no arguments, got {' '.join(arguments)!r}")
    from fmlab.config.json_schema import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0
