"""Mappings from YAML into frozen dataclasses: unknown keys and wrong types are errors. Imports no torch."""

import collections.abc
import dataclasses
import difflib
import types
import typing
from typing import Any


def suggestion(word: str, known: typing.Iterable[str]) -> str:
    """'did you mean ...?' for the closest known word, or the list of them."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(sorted(known))}"


def build(kind: type, values: Any, where: str = "") -> Any:
    """Make the frozen dataclass `kind` from a mapping; an unknown key is an error with a suggestion."""
    if not isinstance(values, dict):
        raise ValueError(f"{where or kind.__name__}: expected a mapping, got {values!r}")
    hints = typing.get_type_hints(kind)
    prefix = f"{where}." if where else ""
    for key in values:
        if key not in hints:
            raise ValueError(f"unknown key '{prefix}{key}', {suggestion(key, hints)}")
    missing = [
        f.name
        for f in dataclasses.fields(kind)
        if f.name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"missing key '{prefix}{missing[0]}'")
    return kind(**{key: _convert(value, hints[key], f"{prefix}{key}") for key, value in values.items()})


def _convert(value: Any, wanted: Any, where: str) -> Any:
    """Check one YAML value against a dataclass field's type; ints pass for floats, nothing else is coerced."""
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if wanted is Any:
        return value
    if dataclasses.is_dataclass(wanted):
        return build(wanted, value, where)
    if origin is types.UnionType:
        if value is None and type(None) in arguments:
            return None
        return _convert(value, next(a for a in arguments if a is not type(None)), where)
    if origin is collections.abc.Sequence or (origin is tuple and arguments[-1] is Ellipsis):
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where}={value!r}: expected a list")
        return tuple(_convert(v, arguments[0], f"{where}[{i}]") for i, v in enumerate(value))
    if origin is tuple:
        if not isinstance(value, list | tuple) or len(value) != len(arguments):
            raise ValueError(f"{where}={value!r}: expected {len(arguments)} values")
        return tuple(_convert(v, a, f"{where}[{i}]") for i, (v, a) in enumerate(zip(value, arguments, strict=True)))
    if origin is dict:
        if not isinstance(value, dict):
            raise ValueError(f"{where}={value!r}: expected a mapping")
        return value
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        hint = " (write 1.0e-4, not 1e-4: YAML 1.1 reads the latter as text)" if wanted is float else ""
        raise ValueError(f"{where}={value!r}: expected {wanted.__name__}, got {type(value).__name__}{hint}")
    return value
