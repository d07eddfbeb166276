"""Start a renderer-side module of this package: `python -P child.py MODULE ARGUMENTS`.

The renderer's interpreter gets this package alone: with the folder around it on the path, an installed Frameline would
bring the main environment's numpy, which Blender cannot use.
"""

import importlib.util
import runpy
import sys
from pathlib import Path


def main() -> None:
    """Make this package importable, and nothing around it; then run the module as a command."""
    folder = Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location(
        "generation", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    package = importlib.util.module_from_spec(spec)
    sys.modules["generation"] = package
    spec.loader.exec_module(package)
    sys.argv = sys.argv[1:]
    runpy.run_module(f"generation.{sys.argv[0]}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
