"""The benchmark of loaders runs and says what it promises; its measure of mixing knows good orders from bad ones."""

import sys

from benchmarks import loader


def test_it_prints_its_tables(monkeypatch, capsys, tmp_path):
    small = ["--clips", "1", "--size", "64", "--frames", "3", "--rounds", "1", "--scratch", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["loader", *small])
    loader.main()
    said = capsys.readouterr().out
    assert said.startswith("1 clips of 3 frames 64x64, ")
    for row in ("published", "webdataset", "frameline", "store.read", "replace", "pad, resize, crop, mirror"):
        assert f"| {row} |" in said
    assert not list(tmp_path.iterdir()), "the scratch folder is removed"


def test_mixing_is_measured():
    uniform, buffered, packed = loader.shuffle_quality(4000, 40, 100)
    assert 0.95 < uniform[1] < 1.05 and uniform[2] < 0.05
    assert buffered[2] > 0.8, "a buffer of 2.5 shards leaves neighbours together"
    assert packed[1] < 0.01 and packed[2] > 0.99
