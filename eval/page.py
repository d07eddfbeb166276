"""Templates -> self-contained pages: one look, escaped text, pictures inside the file."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import jinja2


def render_page(template: str, **values: Any) -> str:
    """The HTML of a template of `eval/templates`; text is escaped, and a value that is not given is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template).render(**values)


def data_uri(kind: str, content: bytes) -> str:
    """Bytes as an address that a page can hold, such as data_uri("image/webp", ...)."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
