"""Find Blender's missing system libraries before the first job, and name the one line that installs them."""

import ctypes
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

PACKAGES = {
    "libX11.so.6": "libx11-6",
    "libXrender.so.1": "libxrender1",
    "libXfixes.so.3": "libxfixes3",
    "libXi.so.6": "libxi6",
    "libXext.so.6": "libxext6",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libSM.so.6": "libsm6",
    "libICE.so.6": "libice6",
    "libGL.so.1": "libgl1",
    "libstdc++.so.6": "libstdc++6",
}
"""What bpy 4.5's shared object asks of the system, with Debian's and Ubuntu's package for it; those bring the rest."""
ALSO_KNOWN = {
    "libXxf86vm.so.1": "libxxf86vm1",
    "libxcb.so.1": "libxcb1",
    "libXau.so.6": "libxau6",
    "libXdmcp.so.6": "libxdmcp6",
    "libuuid.so.1": "libuuid1",
    "libbsd.so.0": "libbsd0",
    "libmd.so.0": "libmd0",
    "libGLX.so.0": "libglx0",
    "libGLdispatch.so.0": "libglvnd0",
    "libgcc_s.so.1": "libgcc-s1",
    "libgomp.so.1": "libgomp1",
    "libz.so.1": "zlib1g",
}


class MissingLibrariesError(Exception):
    """Blender cannot start here; the message is one line that says what to install."""


def check_system_libraries(renderer: Path | None = None) -> None:
    """Raise MissingLibrariesError unless the libraries that bpy is linked to are there.

    Where `renderer` has bpy its own shared object is asked, else the table of what it is known to need.
    """
    missing = find_missing(renderer)
    if missing:
        raise MissingLibrariesError(describe_missing(missing))


def find_missing(renderer: Path | None) -> list[str]:
    """File names of the libraries that are not to be found, sorted; nothing is checked outside Linux."""
    if sys.platform != "linux":
        return []
    library = find_bpy(renderer) if renderer else None
    listed = ask_linker(library) if library else None
    if listed is None:
        return sorted(name for name in PACKAGES if not can_load(name))
    return listed


def find_bpy(renderer: Path) -> Path | None:
    """bpy's shared object in the environment of an interpreter."""
    return next(renderer.absolute().parent.parent.glob("lib/python3*/site-packages/bpy/__init__*.so"), None)


def ask_linker(library: Path) -> list[str] | None:
    """What ldd reports as not found; None where there is no ldd."""
    try:
        result = subprocess.run(["ldd", str(library)], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    if result.returncode:
        return None
    return sorted({line.split()[0] for line in result.stdout.splitlines() if line.endswith("not found")})


def can_load(name: str) -> bool:
    """Whether the dynamic linker finds a library."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def describe_missing(missing: Iterable[str]) -> str:
    """One line: what is missing and the command that installs it."""
    known = PACKAGES | ALSO_KNOWN
    missing = list(missing)
    packages = sorted({known[name] for name in missing if name in known})
    unknown = [name for name in missing if name not in known]
    command = f"apt-get install -y {' '.join(packages)}" if packages else ""
    rest = f"your system's package with {', '.join(unknown)}" if unknown else ""
    return f"Blender's system libraries are missing ({', '.join(missing)}); install them: " + (
        " and ".join(part for part in (command, rest) if part)
    )
