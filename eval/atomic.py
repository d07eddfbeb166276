"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_bytes(path: str | Path, content: bytes) -> Path:
    """Write `content` under a temporary name in the same folder, then rename it to `path`; makes missing folders."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_text(path: str | Path, content: str) -> Path:
    """Write `content` as UTF-8 with `\\n` line ends, atomically."""
    return write_bytes(path, content.encode("utf-8"))
