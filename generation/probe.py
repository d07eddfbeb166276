"""Renderer side: does kubric start with this Blender? Prints {"python", "versions"} as the last line."""

import importlib.metadata
import json
import os
import platform
import sys

from generation.compat import load_kubric
from generation.environment import VERSIONS

if __name__ == "__main__":
    try:
        load_kubric(1)
        versions = {name: importlib.metadata.version(name) for name in VERSIONS}
        print(json.dumps({"python": platform.python_version(), "versions": versions}))
        code = 0
    except Exception as error:
        print(f"{type(error).__name__}: {error}".splitlines()[0], file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # Blender's own clean-up at exit was seen to wait for ever
