"""The house rules that a machine can hold: who imports whom, sizes, names, one place for versions."""

import ast
import fnmatch
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("eval", "generation", "shards", "trainer", "workflow")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MAY_IMPORT = {
    "shards": {"shards"},
    "generation": {"generation", "shards"},
    "eval": {"eval", "shards"},
    "trainer": {"trainer", "eval", "shards", "generation.people"},  # people may be drawn while they are learned from
    "workflow": {
        "workflow",
        "generation.config",
        "generation.driving.config",
        "generation.people.config",
        "trainer.config",
        "trainer.cluster",
        "shards.transfer",
    },
}
RENDERER_ONLY = {"anny", "bpy", "kubric", "pybullet", "OpenEXR", "trimesh", "mathutils"}
BANNED_NAMES = {"utils", "util", "misc", "helpers", "helper", "common", "base"}
TOP_LEVEL = {
    "Snakefile", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "environment.yml",
    "pyproject.toml", ".gitignore", ".ci", ".github", "workflow", "generation", "shards", "trainer", "eval", "tests",
    "config", "profiles", "docs", "benchmarks",
}  # fmt: skip


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports_of(path: Path) -> set[str]:
    """Absolute names of all modules that a file imports, inside functions too."""
    found = set()
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            prefix = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            found.add(".".join(part for part in (prefix, node.module) if part))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_packages_import_only_what_the_house_allows(path):
    allowed = MAY_IMPORT[path.relative_to(ROOT).parts[0]]
    for module in imports_of(path):
        if module.split(".")[0] in PACKAGES:
            assert any(module == name or module.startswith(f"{name}.") for name in allowed), module


def test_torch_stays_in_the_trainer_and_blender_in_the_renderer():
    for path in SOURCES:
        roots = {module.split(".")[0] for module in imports_of(path)}
        if path.relative_to(ROOT).parts[0] != "trainer":
            assert not roots & {"torch", "torchvision", "lightning"}, path
        if path.relative_to(ROOT).parts[0] != "generation":
            assert not roots & RENDERER_ONLY, path
    assert "torchvision" not in (ROOT / "pyproject.toml").read_text()


def test_the_graph_reads_recipes_without_torch():
    code = "import sys, trainer.config, workflow.plan; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_renderers_side_imports_neither_shards_nor_torch():
    todo, seen = ["render", "assets", "child", "probe", "driving/render"], set()
    while todo:
        name = todo.pop()
        path = ROOT / "generation" / f"{name}.py"
        if name in seen or not path.exists():
            continue
        seen.add(name)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in ("generation", "generation.driving"):
                inside = node.module.removeprefix("generation").replace(".", "/")
                todo += [f"{inside}/{alias.name}".removeprefix("/") for alias in node.names]
        modules = imports_of(path)
        inner = [module.removeprefix("generation.") for module in modules if module.startswith("generation.")]
        todo += [name.replace(".", "/") for name in inner]
        assert not {module.split(".")[0] for module in modules} & {"shards", "torch", "trainer", "eval"}, path
    assert {"render", "assets", "shapes", "driving/stage", "driving/paths"} <= seen


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_and_functions_are_small(path):
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{node.name} has {node.end_lineno - node.lineno + 1} lines"


def test_files_have_a_noun_for_a_name_and_say_what_they_are():
    for path in SOURCES:
        assert path.stem not in BANNED_NAMES, path
        assert path.stem != path.parent.name, f"{path}: a module named like its package"
        assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"
    assert not (ROOT / "trainer" / "logging.py").exists()


def test_public_names_have_docstrings():
    for path in SOURCES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{name_of(path)}: {node.name}"


def test_no_registries_by_decoration_and_no_targets_in_recipes():
    for path in SOURCES:
        assert "abc.ABC" not in path.read_text() and "_target_:" not in path.read_text(), path
    for path in (ROOT / "config").rglob("*.yaml"):
        text = path.read_text()
        assert "_target_" not in text, path
        values = re.sub(r"#.*", "", text)
        assert not re.search(r":\s*-?\d+e-?\d+\s*$", values, re.M), f"{path}: write 1.0e-4, never 1e-4"


def test_top_level_names():
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if not line.startswith("#")]
    names = {path.name for path in ROOT.iterdir()} - {".git"}
    kept = {name for name in names if not any(fnmatch.fnmatch(name, pattern) for pattern in ignored)}
    assert kept <= TOP_LEVEL, kept - TOP_LEVEL


def test_no_path_of_a_machine():
    for path in [*SOURCES, *(ROOT / "workflow").rglob("*.smk"), ROOT / "Snakefile", *(ROOT / "config").rglob("*.yaml")]:
        assert not re.search(r"/(home|Users|work|root)/\w", path.read_text()), path


def test_versions_are_in_pyproject_alone():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, *others = environment["dependencies"]
    major, minor = re.match(r"python=(\d+)\.(\d+)$", python).groups()
    assert project["requires-python"] == f">={major}.{minor},<{major}.{int(minor) + 1}"
    assert others == ["pip", {"pip": ["-e ."]}]
    assert all(re.match(r"[a-z0-9-]+==[\w.]+$", line) for line in project["dependencies"])
    assert "torch==2.13.0" in project["dependencies"]
