"""A training set in an archive: downloaded with resume and checksum, unpacked whole, packed by the graph."""

import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from shards import ClipStore
from shards.layouts.npy_folder import write_lbm_folders
from tests.conftest import make_clip
from tests.workflow.copies import copy_repository, environment_of
from tests.workflow.test_fetch import leftovers, server  # noqa: F401 (a fixture)
from workflow.archive import NOTE, fetch_folder, main
from workflow.fetch import Wanted
from workflow.plan import Plan

KEYS = ("0000", "0001")


def lbm_files(folder: Path) -> Path:
    write_lbm_folders([make_clip(key, num_frames=3) for key in KEYS], folder)
    return folder


def tar_of(folder: Path, prefix: str = "kubric_lbm", mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        archive.add(folder, prefix)
    return buffer.getvalue()


def zip_of(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, f"data/kubric_lbm/{path.relative_to(folder)}")
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def get(folder: Path, url: str, content: bytes | None = None, **options) -> None:
    wanted = Wanted(path=folder, url=url, sha256=sha256(content) if content else None, is_archive=True)
    fetch_folder(wanted, folder.with_name(f"{folder.name}.json"), pause_seconds=0, **options)


@pytest.fixture
def content(tmp_path):
    return tar_of(lbm_files(tmp_path / "published"))


@pytest.fixture
def downloads(tmp_path):
    (tmp_path / "downloads").mkdir()
    return tmp_path / "downloads"


def same_files(one: Path, other: Path) -> bool:
    found = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name != NOTE}
        for root in (one, other)
    ]
    return found[0] == found[1] != {}


def test_an_interrupted_download_goes_on_in_the_next_run(server, downloads, content):  # noqa: F811
    server.files["kubric.tar.gz"] = content
    server.num_cuts = 1
    with pytest.raises(ValueError, match=r"either unpack kubric\.tar\.gz to .*/lbm by hand"):
        get(downloads / "lbm", server.url("kubric.tar.gz"), content, attempts=1)
    assert not (downloads / "lbm").exists() and not (downloads / "lbm.json").exists()
    get(downloads / "lbm", server.url("kubric.tar.gz"), content)
    assert server.requests == [None, f"bytes={len(content) // 2}-"]
    assert same_files(downloads / "lbm", downloads.parent / "published")
    assert leftovers(downloads) == ["lbm", "lbm.json"]


def test_a_killed_unpacking_downloads_nothing_again(server, downloads, content, monkeypatch):  # noqa: F811
    server.files["kubric.tar.gz"] = content
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tarfile.TarFile, "extract", _interrupted)
        get(downloads / "lbm", server.url("kubric.tar.gz"), content)
    assert not (downloads / "lbm").exists()
    get(downloads / "lbm", server.url("kubric.tar.gz"), content)
    assert len(server.requests) == 1
    assert same_files(downloads / "lbm", downloads.parent / "published")
    assert leftovers(downloads) == ["lbm", "lbm.json"]


def _interrupted(self, member, path, **options):
    (Path(path) / "0000").mkdir()
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "make", [zip_of, lambda folder: tar_of(folder, ".", "w"), lambda folder: tar_of(folder, "a/b")]
)
def test_wrapping_folders_are_left_out(server, downloads, make):  # noqa: F811
    server.files["x"] = make(lbm_files(downloads.parent / "published"))
    get(downloads / "lbm", server.url("x"))
    assert same_files(downloads / "lbm", downloads.parent / "published")


def test_one_sequence_is_no_wrapper(server, downloads, tmp_path):  # noqa: F811
    write_lbm_folders([make_clip("0007", num_frames=3)], tmp_path / "one")
    server.files["x"] = tar_of(tmp_path / "one", "set")
    get(downloads / "lbm", server.url("x"))
    assert leftovers(downloads / "lbm") == [NOTE, "0007"]


def test_a_folder_that_is_there_is_kept_and_another_archive_replaces_it(server, downloads, content, tmp_path):  # noqa: F811
    server.files["x"] = content
    get(downloads / "lbm", server.url("x"), content)
    (downloads / "lbm.json").unlink()  # as Snakemake does before a job
    get(downloads / "lbm", server.url("x"), content)
    assert len(server.requests) == 1 and (downloads / "lbm.json").exists()
    write_lbm_folders([make_clip("0002", num_frames=3)], tmp_path / "second")
    server.files["y"] = tar_of(tmp_path / "second")
    get(downloads / "lbm", server.url("y"))
    assert same_files(downloads / "lbm", tmp_path / "second")
    (downloads / "hand").mkdir()
    with pytest.raises(ValueError, match="hand: was put there by hand"):
        get(downloads / "hand", server.url("y"))
    assert leftovers(downloads / "hand") == []


@pytest.mark.parametrize("harm", ["checksum", "cut", "text", "escape"])
def test_a_damaged_archive_is_one_line_and_leaves_nothing(server, downloads, content, harm, capsys):  # noqa: F811
    server.files["x"] = {"checksum": content, "cut": content[:-900], "text": b"<html>", "escape": _escaping()}[harm]
    words = ["--url", server.url("x"), "--folder", str(downloads / "lbm"), "--out", str(downloads / "lbm.json")]
    assert main(words + (["--sha256", "0" * 64] if harm == "checksum" else [])) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and ("sha256 is" if harm == "checksum" else "is not the archive expected") in line
    assert not (downloads / "lbm").exists() and not (downloads / "lbm.json").exists()
    assert not list(downloads.glob("*.archive")) and not (downloads.parent / "escaped").exists()
    server.files["x"] = content
    assert main(words) == 0
    assert leftovers(downloads) == ["lbm", "lbm.json"]


def _escaping() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../escaped"))
    return buffer.getvalue()


def test_the_graph_downloads_unpacks_and_packs_it(server, content, tmp_path):  # noqa: F811
    server.files["kubric_lbm.tar.gz"] = content
    server.num_cuts = 1
    root = copy_repository(tmp_path / "graph")
    config = yaml.safe_load((root / "config/tiny.yaml").read_text())
    known = {"source": "lbm_folder", "path": "data/kubric_lbm", "sha256": sha256(content)}
    config["datasets"]["kubric_lbm"] = known | {"url": server.url("kubric_lbm.tar.gz")}
    (root / "config/mine.yaml").write_text(yaml.safe_dump(config))
    index = "data/shards/kubric_lbm/index.json"

    def snakemake(*words: str) -> str:
        command = [sys.executable, "-m", "snakemake", index, "--cores", "1", "--configfile", "config/mine.yaml"]
        done = subprocess.run(
            [*command, *words], cwd=root, env=environment_of(root), capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    snakemake()
    assert len(server.requests) == 2, "cut once, resumed once"
    store = ClipStore(root / index)
    assert store.keys == list(KEYS) or tuple(store.keys) == KEYS
    clip = make_clip("0001", num_frames=3)
    np.testing.assert_array_equal(store[1].video, clip.video)
    np.testing.assert_array_equal(store[1].visible, clip.visible)
    assert "Nothing to be done" in snakemake("-n")
    plan = Plan(config, root)
    assert "data/kubric_lbm.json" in plan.downloads()
    assert "fetch_kubric_lbm" in snakemake("-n", "--forceall")


def test_a_folder_put_there_by_hand_is_packed_as_it_is(tmp_path):
    config = yaml.safe_load((Path(__file__).resolve().parents[2] / "config/tiny.yaml").read_text())
    config["datasets"]["set"] = {"source": "lbm_folder", "path": "data/set", "sha256": None}
    config["datasets"]["set"]["url"] = "http://127.0.0.1:9/x.tar"
    plan = Plan(config, tmp_path)
    assert plan.pack_input("set", "000000") == "data/set.json" and not plan.is_available("set")
    (tmp_path / "data/set").mkdir(parents=True)
    plan = Plan(config, tmp_path)
    assert plan.pack_input("set", "000000") == plan.pack_source("set", "000000") == "data/set"
    assert "data/set.json" not in plan.downloads() and plan.is_available("set")
