"""`python -m generation body`, `body-packages` and `people`: what they write and what they refuse."""

import hashlib
import json
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from generation.__main__ import main
from generation.people.packages import available, install
from shards import ClipStore, write_index
from shards.__main__ import main as shards
from shards.people.body import read_body
from tests.generation.people.test_smplx import write
from tests.shards.people_clips import BODY


@pytest.fixture
def toy(tmp_path):
    """A body file of the capsule man."""
    assert main(["body", "toy", "--out", str(tmp_path / "bodies" / "toy.npz")]) == 0
    return tmp_path / "bodies" / "toy.npz"


def test_a_body_file_is_written_and_described(tmp_path, capsys):
    assert main(["body", "toy", "--out", str(tmp_path / "toy.npz")]) == 0
    assert read_body(tmp_path / "toy.npz").digest == BODY.digest
    told = capsys.readouterr().out
    assert f"toy.npz: toy, 364 vertices, 624 faces, 22 joints, 2 shape coefficients, digest {BODY.digest}" in told


def test_a_users_file_becomes_a_body_file(tmp_path, capsys):
    out = tmp_path / "smplx.npz"
    assert main(["body", "smplx", "--model", str(write(tmp_path)), "--shapes", "7", "--out", str(out)]) == 0
    assert read_body(out).num_shapes == 7 and read_body(out).name == "smplx-SMPLX_NEUTRAL"
    assert "22 joints, 7 shape coefficients" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["smplx"], "body smplx needs --model SMPLX_NEUTRAL.npz; its files are licensed: https://smpl-x.is.tue.mpg.de"),
        (["smplx", "--model", "none.npz"], "none.npz: there is no such file; SMPL-X is licensed"),
        (["anny", "--topology", "fine"], "topology=fine: known are anny, notoes_collapse10pc, notoes_collapse5pc"),
        (["anny", "--people", "10"], "--people 10: more than the 10 shape coefficients"),
        (["toy", "--shapes", "0"], "--shapes 0: from 1 to 400"),
    ],
)
def test_what_cannot_be_made_is_one_line(words, told, tmp_path, capsys):
    assert main(["body", *words, "--out", str(tmp_path / "body.npz")]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and errors[0].startswith("error: ") and told in errors[0]
    assert not (tmp_path / "body.npz").exists()


def test_anny_that_is_not_installed_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "anny", None)
    assert main(["body", "anny", "--out", str(tmp_path / "body.npz")]) == 2
    assert "error: Anny is not installed here" in capsys.readouterr().err


def test_shards_of_people_are_drawn_indexed_and_whole(toy, tmp_path, capsys):
    words = ["--body", str(toy), "--dataset", "persons", "resolution=32", "num_frames=3"]
    prefixes = [tmp_path / "persons" / f"shard-{number:06d}" for number in range(2)]
    for number, prefix in enumerate(prefixes):
        assert main(["people", "--seeds", f"{10 + 2 * number}:{12 + 2 * number}", "--out", str(prefix), *words]) == 0
    assert "shard-000001.tar: 2 clips of 3 pictures," in capsys.readouterr().out
    index = tmp_path / "persons" / "index.json"
    write_index([prefix.with_suffix(".json") for prefix in prefixes], "persons", index)
    store = ClipStore(index)
    assert [store.read(number).key for number in range(4)] == [f"persons-{seed:06d}" for seed in range(10, 14)]
    assert store.read(0).person.body == BODY.digest and store.read(2).video.shape == (3, 32, 32, 3)
    recipe = json.loads(index.read_text())["recipe"]
    assert recipe["body"]["digest"] == BODY.digest and recipe["people"]["resolution"] == 32
    assert shards(["verify", "--deep", str(index)]) == 0


def test_shards_do_not_depend_on_what_is_drawn_beside_them(toy, tmp_path):
    """A clip is a function of its seed alone."""
    words = ["--body", str(toy), "resolution=32", "num_frames=2"]
    assert main(["people", "--seeds", "0:3", "--out", str(tmp_path / "all" / "shard-000000"), *words]) == 0
    assert main(["people", "--seeds", "2:3", "--out", str(tmp_path / "one" / "shard-000000"), *words]) == 0
    stores = []
    for name in ("all", "one"):
        write_index([tmp_path / name / "shard-000000.json"], "people", tmp_path / name / "index.json")
        stores.append(ClipStore(tmp_path / name / "index.json"))
    whole, single = stores[0].read(2), stores[1].read(0)
    np.testing.assert_array_equal(whole.video, single.video)
    np.testing.assert_array_equal(whole.depth_m, single.depth_m)
    np.testing.assert_array_equal(whole.person.rotations, single.person.rotations)


def test_mistakes_in_a_recipe_and_a_missing_body_are_one_line(toy, tmp_path, capsys):
    out = ["--seeds", "0:2", "--out", str(tmp_path / "shard-000000")]
    capsys.readouterr()
    for words, told in (
        (["--body", str(toy), "resolutoin=64"], "error: unknown key 'resolutoin', did you mean 'resolution'?"),
        (
            ["--body", str(tmp_path / "no.npz")],
            "there is no body file; make it again (snakemake data/bodies/NAME.npz, or",
        ),
        (["--body", str(toy), "min_joints=22", "focal_mm=300"], "cameras in a row show fewer than 22 joints"),
        (["--body", str(toy), "--codec", "gif"], "gif"),
    ):
        assert main(["people", *out, *words]) == 2
        errors = capsys.readouterr().err.splitlines()
        assert len(errors) == 1 and told in errors[0]
    assert not list(tmp_path.glob("shard-000000*"))


def test_packages_are_installed_whole_or_not_at_all(tmp_path):
    """From a folder without a network: pip installs a package that is made here."""
    wheel = make_wheel(tmp_path)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    requirements = tmp_path / "body.txt"
    requirements.write_text(f"framelinetoy @ {wheel.as_uri()} --hash=sha256:{digest}\n")
    install(tmp_path / "there", tmp_path / "there.json", requirements)
    marker = json.loads((tmp_path / "there.json").read_text())
    assert marker["versions"] == {"framelinetoy": "1.0"} and len(marker["requirements_sha256"]) == 64
    with available(tmp_path / "there"):
        import framelinetoy

        assert framelinetoy.ANSWER == 42
    assert str(tmp_path / "there") not in sys.path
    requirements.write_text(f"framelinetoy @ {wheel.as_uri()} --hash=sha256:{'0' * 64}\n")
    with pytest.raises(RuntimeError, match=r"pip could not install body\.txt"):
        install(tmp_path / "again", tmp_path / "again.json", requirements)
    assert not (tmp_path / "again").exists() and not (tmp_path / "again.json").exists()


def make_wheel(folder):
    """A wheel of one module."""
    wheel, info = folder / "framelinetoy-1.0-py3-none-any.whl", "framelinetoy-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("framelinetoy.py", "ANSWER = 42\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: framelinetoy\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "framelinetoy.py,,\n")
    return wheel


def test_what_anny_computes_goes_away_afterwards(monkeypatch):
    monkeypatch.delenv("ANNY_CACHE_DIR", raising=False)
    with pytest.raises(KeyError), available(None):
        cache = Path(os.environ["ANNY_CACHE_DIR"])
        assert cache.is_dir()
        raise KeyError
    assert "ANNY_CACHE_DIR" not in os.environ and not cache.exists()
    monkeypatch.setenv("ANNY_CACHE_DIR", "mine")
    with available(None):
        assert os.environ["ANNY_CACHE_DIR"] == "mine", "a user's own is kept"
    assert os.environ["ANNY_CACHE_DIR"] == "mine"
