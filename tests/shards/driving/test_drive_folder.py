"""Rendered drives as clips: the list of a rendering is read without annotation, and every byte is checked."""

import hashlib
import json

import numpy as np
import pytest

from generation.driving.config import DriveConfig
from generation.driving.render import describe
from generation.driving.street import make_rng, plan_street
from generation.folder import write_images, write_manifest
from shards.__main__ import main
from shards.layouts.drive_folder import read_drive_folders
from shards.store import ClipStore


def write_drives(root, seeds=(1, 2), **changes):
    """Folders as the renderer writes them, with noise for frames; returns the list."""
    config = DriveConfig(width=24, height=16, num_frames=30, **changes)
    rows = []
    for seed in seeds:
        folder = root / f"drives-{seed:06d}"
        noise = np.random.default_rng(seed).integers(0, 256, (30, 16, 24, 3), np.uint8)
        write_images(folder / "frames", noise)
        plan = plan_street(config, ["mug"], make_rng(config, seed, 0))
        metadata = {"seed": seed, "attempt": 0, "recipe": {"name": "driving"}} | describe(config, plan)
        (folder / "metadata.json").write_text(json.dumps(metadata))
        write_manifest(folder, "digest")
        sha256 = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
        rows.append({"key": folder.name, "path": folder.name, "manifest_sha256": sha256})
    listing = root / "shard-000000.json"
    listing.write_text(json.dumps({"format": "frameline-clips/1", "dataset": "drives", "clips": rows}))
    return listing


def test_a_rendered_drive_is_a_clip_with_its_drive(tmp_path):
    one, _ = read_drive_folders(write_drives(tmp_path))
    assert one.key == "drives-000001" and one.video.shape == (30, 16, 24, 3) and one.tracks.shape == (30, 0, 2)
    drive = one.drive
    assert drive.times_s[1] == pytest.approx(0.1) and drive.steering_deg is not None
    assert len(drive.commands) == 30 and drive.commands[0] is not None and drive.commands[-1] is None
    assert np.isnan(drive.goal[-1]).all() and "drive" not in one.metadata
    assert "front_" in json.dumps(one.metadata["instances"])


def test_packed_drives_have_all_five_actions(tmp_path):
    listing = write_drives(tmp_path, range(12), weight_cruise=0.0, weight_stop=0.0, weight_stop_and_go=0.0)
    prefix, index = tmp_path / "shard-000000", tmp_path / "index.json"
    assert main(["pack", "--source", "drive_folder", str(listing), "--out", str(tmp_path / "out" / prefix.name)]) == 0
    assert main(["index", str(tmp_path / "out/shard-000000.json"), "--dataset", "d", "--out", str(index)]) == 0
    store = ClipStore(index)
    assert len(store) == 12 and store.row(0)["num_tracks"] == 0 and "mug" in store.row(0)["assets"]
    from shards.driving.window import actions_of_window

    present = np.array([actions_of_window(store.read_drive(n), 5).present for n in range(12)])
    assert present[:, :4].all(), "command, trajectory, speed and angle"
    assert present[:, 4].any(), "a goal, where it is seen"


def test_damage_and_lists_of_other_things_are_named(tmp_path):
    listing = write_drives(tmp_path)
    (tmp_path / "drives-000002/frames/003.png").write_bytes(b"no png")
    with pytest.raises(ValueError, match=r"003\.png: missing or damaged; delete the folder"):
        list(read_drive_folders(listing))
    content = json.loads(listing.read_text())
    listing.write_text(json.dumps(content | {"format": "frameline-tracks/1"}))
    with pytest.raises(ValueError, match="format 'frameline-tracks/1', expected 'frameline-clips/1'"):
        list(read_drive_folders(listing))


def test_clips_that_are_no_drives_are_to_be_annotated(tmp_path):
    listing = write_drives(tmp_path, [1])
    folder = tmp_path / "drives-000001"
    metadata = json.loads((folder / "metadata.json").read_text())
    del metadata["drive"]
    (folder / "metadata.json").write_text(json.dumps(metadata))
    write_manifest(folder, "digest")
    content = json.loads(listing.read_text())
    content["clips"][0]["manifest_sha256"] = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    listing.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"is no drive; annotate the list"):
        list(read_drive_folders(listing))


def test_a_drive_is_not_annotated(tmp_path, capsys):
    from generation.__main__ import main as generate

    write_drives(tmp_path, [1])
    assert generate(["annotate", str(tmp_path / "drives-000001"), "--out", str(tmp_path / "tracks")]) == 2
    assert "has no passes to follow points through" in capsys.readouterr().err
