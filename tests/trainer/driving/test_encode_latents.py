"""Latents made once: what is encoded, that trainings with them learn the same and run no frozen network, mistakes."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from shards import ClipStore
from shards.driving.frames import fit_frames
from shards.driving.latents import LatentStore
from tests.trainer.driving.worlds import LATENTS, write_published
from trainer import loop
from trainer.checkpoint import load_weights
from trainer.config import DataConfig
from trainer.driving.config import DrivingData
from trainer.driving.samples import make_drive_sample
from trainer.encode_latents import main as encode
from trainer.launch import main
from trainer.models.vista import encoders as frozen
from trainer.models.vista.latents import LATENT_SCALE, draw_latents, encode_frames, scale_frames
from trainer.models.vista.model import Vista

for package in ("diffusers", "transformers"):
    pytest.importorskip(package, reason="Vista's networks need the extra `vista`")

SIZE = ["--height", "32", "--width", "64"]
DATA = DrivingData(height=32, width=64, num_frames=5, one_kind=True)


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    return write_published(tmp_path_factory.mktemp("published") / "svd.safetensors")


@pytest.fixture(scope="module")
def folder(drives, published, tmp_path_factory) -> Path:
    """The folder of latents of all drives, float32."""
    out = tmp_path_factory.mktemp("latents")
    words = ["--clips", str(drives.index), "--published", str(published), "--frozen", "tiny", "--dtype", "float32"]
    assert encode([*words, *SIZE, "--out", str(out / "drives")]) == 0
    return out


def words_of(drives, place: Path, published: Path, *more: str) -> list[str]:
    """A first phase on latents of tiny frozen networks from a published file."""
    words = [word for word in drives.words("vista_phase1", place) if not word.startswith("model")]
    own = ["data.mixture=null", "model.unet.with_actions=false", "data.driving.flip=false"]
    return [*words, *LATENTS, *own, f"model.published={published}", "model.published_unet=false", *more]


def losses_of(place: Path) -> list[float]:
    rows = [json.loads(line) for line in (place / "out" / "metrics.jsonl").read_text().splitlines()]
    return [row["diffusion_loss"] for row in rows if "diffusion_loss" in row]


def weights_of(place: Path) -> dict[str, torch.Tensor]:
    return load_weights(place / "out" / "weights.safetensors")[0]


def test_each_frame_is_encoded_as_training_sees_it(drives, published, folder):
    store = ClipStore(drives.index)
    latents = LatentStore(folder, store, (32, 64))
    encoders = frozen.read_published_encoders(published, "tiny")
    assert latents.encoders_sha256 == encoders.sha256 and latents.latent == [4, 4, 8] and latents.token == 24
    video = fit_frames(store.read(1).video, 32, 64)[5:12:3]
    frames = scale_frames(torch.from_numpy(video.transpose(0, 3, 1, 2).copy()))
    moments, token = latents.read(store.keys[1], slice(5, 12, 3))
    expected, tokens = encoders.encode(frames)
    np.testing.assert_allclose(moments, expected, atol=1e-5)
    np.testing.assert_allclose(token, tokens[0], atol=1e-5)
    drawn, again = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    with torch.no_grad():
        now = encode_frames(encoders.autoencoder, frames[None], drawn, num_together=2)
    then = draw_latents(torch.from_numpy(moments)[None], again)
    torch.testing.assert_close(then, now, atol=1e-5, rtol=0)
    deviation = (then[0] / LATENT_SCALE - expected[:, 0]) / (expected[:, 1] / 2).exp()
    assert deviation.std().item() == pytest.approx(1, abs=0.1)


def test_a_sample_has_the_same_window_with_latents(drives, folder):
    store = ClipStore(drives.index)
    config = DataConfig(dataset="drives", driving=replace(DATA, frame_step=2, is_balanced=True))
    cached = replace(config, driving=replace(config.driving, latents=str(folder)))
    latents = LatentStore(folder, store, (32, 64))
    for seed in range(6):
        seen = make_drive_sample(store, seed, config, np.random.default_rng(seed))
        told = make_drive_sample(store, seed, cached, np.random.default_rng(seed))
        assert told.keys() == seen.keys() - {"frames"} | {"moments", "token"}
        for name in seen.keys() & told.keys():
            np.testing.assert_array_equal(seen[name], told[name])
        assert told["moments"].shape == (5, 2, 4, 4, 8) and told["token"].shape == (24,)
        stored = [latents.read(key, slice(0, 31))[0] for key in store.keys]
        assert any((told["moments"] == clip[first : first + 9 : 2]).all() for clip in stored for first in range(23))


def test_losses_are_those_without_the_cache_and_frozen_networks_stay_unasked(
    drives, published, folder, tmp_path, monkeypatch
):
    assert main(words_of(drives, tmp_path / "frames", published)) == 0

    def refuse(*_, **__):
        raise AssertionError("a frozen network was run")

    for name in ("encode_frames", "encode_condition", "encode_pictures"):
        monkeypatch.setattr(sys.modules[Vista.__module__], name, refuse)
    assert main(words_of(drives, tmp_path / "latents", published, f"data.driving.latents={folder}")) == 0
    np.testing.assert_allclose(losses_of(tmp_path / "latents"), losses_of(tmp_path / "frames"), rtol=1e-5)
    one, two = weights_of(tmp_path / "frames"), weights_of(tmp_path / "latents")
    assert one.keys() == two.keys() and "autoencoder.encoder.conv_in.weight" in two
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-4, rtol=1e-4, msg=name)


def test_a_resumed_training_on_latents_gives_the_same_bytes(drives, published, folder, tmp_path, monkeypatch):
    more, save = [f"data.driving.latents={folder}", "training.save_every=2"], loop.save
    more += ["validation.dataset=drives", "validation.num_videos=1", "validation.sampling_steps=1"]  # made of frames
    assert main(words_of(drives, tmp_path / "calm", published, *more)) == 0
    words = words_of(drives, tmp_path / "killed", published, *more, "data.num_workers=1")

    def stop(*settings):
        save(*settings)
        raise ValueError("stop")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save", stop)
        assert main(words) == 2
    assert main(words) == 0
    one, two = weights_of(tmp_path / "calm"), weights_of(tmp_path / "killed")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_shard_alone_and_weights_of_a_training_give_the_same(drives, published, folder, tmp_path, capsys):
    assert main(words_of(drives, tmp_path, published, "training.num_steps=1")) == 0
    weights = ["--weights", str(tmp_path / "out" / "weights.safetensors"), *SIZE]
    shard = drives.index.with_name("shard-000000.json")
    common = [*weights, "--dtype", "float32", "--out", str(tmp_path / "drives")]
    assert encode(["--clips", str(shard), *common]) == 0
    name = "shard-000000.json"
    assert (tmp_path / "drives" / name).read_bytes() == (folder / "drives" / name).read_bytes()
    half = ["--clips", str(drives.index), "--shard", "shard-000000", "--batch", "4", "--out", str(tmp_path / "half")]
    assert encode([*half, *weights]) == 0
    one, two = (json.loads((place / name).read_text()) for place in (tmp_path / "drives", tmp_path / "half"))
    assert (two["dtype"], two["encoders_sha256"]) == ("float16", one["encoders_sha256"])
    assert two["bytes"] < 0.6 * one["bytes"] and "186 frames" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["data.driving.flip=true"], "data.driving.flip=true with latents: a mirrored latent is none"),
        (["data.driving.height=48"], "latents of frames of 32x64, asked for are 48x64; name another folder"),
        (["data.driving.latents=elsewhere"], "elsewhere/drives/shard-000000.json: latents are missing; encode them"),
        (["model.published=null", "training.seed=5"], "latents of other networks (sha256"),
    ],
)
def test_latents_that_do_not_fit_a_training_are_refused(drives, published, folder, tmp_path, capsys, more, message):
    assert main(words_of(drives, tmp_path, published, f"data.driving.latents={folder}", *more)) == 2
    told = capsys.readouterr().err
    assert message in told and told.startswith("error: ") and not (tmp_path / "out").exists()


def test_latents_are_of_no_model_of_pixels(drives, folder, tmp_path, capsys):
    words = [*drives.words("vista_phase1", tmp_path), "data.driving.height=32", "data.driving.width=64"]
    assert main([*words, "data.driving.flip=false", f"data.driving.latents={folder}"]) == 2
    assert "data.driving.latents is for model.space=latents" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--height", "36"], "frames of 36x64: this autoencoder takes sides that are multiples of 8"),
        (["--shard", "shard-000009"], "no shard 'shard-000009'; it has shard-000000"),
        (["--batch", "0"], "--batch 0 must be at least 1"),
        (["--published", "nowhere.safetensors"], "--published nowhere.safetensors is not there"),
    ],
)
def test_mistakes_in_the_command_are_one_line(drives, published, tmp_path, capsys, more, message):
    words = ["--clips", str(drives.index), "--published", str(published), "--frozen", "tiny", *SIZE]
    assert encode([*words, "--out", str(tmp_path / "drives"), *more]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and message in told and told.count("\n") == 1
    assert not (tmp_path / "drives").exists()
