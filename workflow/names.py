"""Names of files that several rules know, short names of values, and words of commands."""

import hashlib
import json
import shlex
from collections.abc import Iterator, Sequence
from typing import Any


def index_path(dataset: str) -> str:
    """The index of a packed data set."""
    return f"data/shards/{dataset}/index.json"


def page_path(dataset: str) -> str:
    """The page that says what is in a packed data set."""
    return f"results/data/{dataset}.html"


def short_digest(value: Any) -> str:
    """A short name for any JSON-able value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def quote(words: Sequence[str] | Iterator[str]) -> str:
    """Words for a shell command."""
    return shlex.join(words)
