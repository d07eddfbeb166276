"""What a piece of our code does, as one short digest: comments, docstrings and line breaks do not count, real edits do.

The unit is the top-level definition, not the file: a digest covers the definitions that can be reached from the entry
points by name, through imports inside functions too. So a threshold of the metric is part of `score` and not of
`predict`, though both import the module that holds it.

What it cannot see: names put together at run time (`getattr(module, text)`), which this repository does not use to find
code, and the code of other packages, for which versions are given. Syntax trees differ between minor Python versions.
"""

import ast
import hashlib
import importlib.metadata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LENGTH = 16


@dataclass(frozen=True)
class Definition:
    """One top-level statement: the digest of its tree, the names it uses, and what it imports itself."""

    digest: str
    names: frozenset[str]
    attributes: frozenset[tuple[str, str]]
    """Pairs (name, attribute): of a module, that attribute alone is used."""
    imports: tuple[tuple[str, str], ...]
    """Pairs (module, symbol); the symbol is empty for a whole module."""


@dataclass
class Module:
    """A parsed source file, as far as a digest needs it."""

    name: str
    definitions: dict[str, list[Definition]] = field(default_factory=dict)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)
    effects: list[Definition] = field(default_factory=list)
    """Statements that run at import and bind no name alone: they count whenever the module is imported."""


def source_digest(
    *entries: str,
    files: Iterable[str] = (),
    packages: Iterable[str] = (),
    apart_from: Iterable[str] = (),
    root: Path | None = None,
) -> str:
    """Digest of all code of ours that the entry points reach, of data files, and of versions of other packages.

    An entry is "package.module" or "package.module:function". Modules `apart_from` are left out, and what only they
    reach. Raises ValueError for an entry that does not exist.
    """
    root = root or ROOT
    digest = hashlib.sha256()
    for name, definition in sorted(reach(entries, root, apart_from).items()):
        digest.update(f"{name} {definition}\n".encode())
    for file in sorted(files):
        for path in _files_of(root / file):
            digest.update(f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    for package in sorted(packages):
        # The local label tells builds of one version apart (2.13.0+cpu): results may travel between machines.
        digest.update(f"{package} {importlib.metadata.version(package).split('+')[0]}\n".encode())
    return digest.hexdigest()[:LENGTH]


def reach(entries: Iterable[str], root: Path, apart_from: Iterable[str] = ()) -> dict[str, str]:
    """The definitions that the entries can use, but not through modules `apart_from`.

    "module:name.number", or "module#number" for effects -> tree digest.
    """
    found: dict[str, str] = {}
    todo = [_entry(entry, root) for entry in entries]
    seen: set[tuple[str, str]] = set()
    apart_from = set(apart_from)
    while todo:
        wanted = todo.pop()
        if wanted in seen or wanted[0] in apart_from:
            continue
        seen.add(wanted)
        module_name, symbol = wanted
        module = parse_module(module_name, root)
        if module is None:
            continue
        if "." in module_name:
            todo.append((module_name.rpartition(".")[0], "__init__"))
        for number, effect in enumerate(module.effects):
            found[f"{module_name}#{number}"] = effect.digest
            todo += _uses(module, effect, root)
        for name in _symbols(module, symbol):
            if name not in module.definitions:
                todo.append(module.imports[name])
            for number, definition in enumerate(module.definitions.get(name, ())):
                found[f"{module_name}:{name}.{number}"] = definition.digest
                todo += _uses(module, definition, root)
        if symbol and symbol != "__init__" and symbol not in {*module.definitions, *module.imports}:
            inner = f"{module_name}.{symbol}"
            todo.append((inner, "") if find_module(inner, root) else (module_name, ""))
    return found


def _symbols(module: Module, symbol: str) -> list[str]:
    """What of a module is wanted: one name, all of it for "", nothing but its effects for "__init__"."""
    if symbol == "":
        return [*module.definitions, *(name for name in module.imports if name not in module.definitions)]
    return [symbol] if symbol in module.definitions or symbol in module.imports else []


def _uses(module: Module, definition: Definition, root: Path) -> Iterator[tuple[str, str]]:
    """What a definition refers to, as (module, symbol)."""
    for name in definition.names:
        if name in module.definitions:
            yield module.name, name
        if name in module.imports:
            yield module.imports[name]
    for name, attribute in definition.attributes:
        if name in module.definitions:
            yield module.name, name
        if name in module.imports:
            yield _of_module(*module.imports[name], attribute, root)
    yield from definition.imports


def _of_module(source: str, symbol: str, attribute: str, root: Path) -> tuple[str, str]:
    """What `name.attribute` refers to, where `name` was imported as (source, symbol)."""
    submodule = f"{source}.{symbol}" if symbol else source
    package = parse_module(source, root)
    is_module = not symbol or (find_module(submodule, root) and package and symbol not in package.definitions)
    return (submodule, attribute) if is_module else (source, symbol)


def _entry(entry: str, root: Path) -> tuple[str, str]:
    module_name, _, symbol = entry.partition(":")
    module = parse_module(module_name, root)
    if module is None or (symbol and symbol not in module.definitions):
        raise ValueError(f"{entry}: no such code in {root}; name it anew in workflow/sources.py")
    return module_name, symbol


def find_module(name: str, root: Path) -> Path | None:
    """The file of a module of this repository; None for anything else."""
    path = root.joinpath(*name.split("."))
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.is_file():
            return file
    return None


@cache
def parse_module(name: str, root: Path) -> Module | None:
    """Read a module of this repository into definitions, imports and effects; None when it is not ours."""
    path = find_module(name, root)
    if path is None:
        return None
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    module = Module(name)
    for statement in ast.parse(path.read_text(), path.name).body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            for local, target in _imported(statement, package):
                if local == "*":
                    module.effects.append(Definition("", frozenset(), frozenset(), (target,)))
                module.imports[local] = target
        elif not _is_text(statement) and not _is_main_guard(statement):
            _add_statement(module, statement, package)
    return module


def _add_statement(module: Module, statement: ast.stmt, package: str) -> None:
    definition = _define(statement, package)
    names = _bound_names(statement)
    for name in names:
        module.definitions.setdefault(name, []).append(definition)
    if not names or not isinstance(statement, _PURE):
        module.effects.append(definition)


_PURE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)


def _define(statement: ast.stmt, package: str) -> Definition:
    names, attributes, imports = set(), set(), []
    owners = {id(n.value): n.attr for n in ast.walk(statement) if isinstance(n, ast.Attribute)}
    for node in ast.walk(statement):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [inner for inner in body if not _is_text(inner)]
        if isinstance(node, ast.Name):
            attributes.add((node.id, owners[id(node)])) if id(node) in owners else names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            imports += [target for _, target in _imported(node, package)]
    digest = hashlib.sha256(ast.dump(statement).encode()).hexdigest()
    return Definition(digest, frozenset(names), frozenset(attributes), tuple(imports))


def _imported(statement: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Pairs of local name and (module, symbol)."""
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            yield alias.asname or alias.name.partition(".")[0], (alias.name, "")
        return
    source = statement.module or ""
    if statement.level:
        above = package.split(".")[: len(package.split(".")) - statement.level + 1]
        source = ".".join([*above, *([source] if source else [])])
    for alias in statement.names:
        yield alias.asname or alias.name, (source, "" if alias.name == "*" else alias.name)


def _bound_names(statement: ast.stmt) -> set[str]:
    """Names that a top-level statement gives a value to."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    names = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    return names


def _is_text(statement: ast.stmt) -> bool:
    """A string that stands alone: a docstring, or one under an attribute."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _is_main_guard(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'"


def _files_of(path: Path) -> list[Path]:
    if not path.exists():
        raise ValueError(f"{path}: missing, and a rule depends on it; name it anew in workflow/sources.py")
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
