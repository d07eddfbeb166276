"""Videos of a world model by the command line: tiny random weights, whose answers depend on what they are told."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from shards.files import sha256_of
from tests.shards.driving.drives import drive_clip
from tests.trainer.driving.worlds import LATENTS, write_world
from trainer.driving.making import carried_of, generator_of
from trainer.models.vista.objective import ObjectiveConfig
from trainer.sample import main
from trainer.video import open_video, write_video


@pytest.fixture(scope="module")
def folder(drives, tmp_path_factory):
    folder = tmp_path_factory.mktemp("worlds")
    write_world(drives, folder / "pixels.safetensors")
    picture = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "road.png"), picture)
    return folder


@pytest.fixture(scope="module")
def of_latents(drives, folder):
    """The same folder, with a model of latents."""
    write_world(drives, folder / "latents.safetensors", *LATENTS)
    return folder


def make(folder, out, *words: str, weights: str = "pixels", image: str = "road.png") -> int:
    arguments = ["--weights", str(folder / f"{weights}.safetensors"), "--image", str(folder / image), "--steps", "2"]
    return main([*arguments, "--threads", "1", "--device", "cpu", "--out", str(out), *words])


def frames_of(path) -> np.ndarray:
    with open_video(path) as video:
        return np.stack(list(video.frames))


def settings_of(path) -> dict:
    return json.loads(path.with_suffix(".settings.json").read_text())


def test_a_film_begins_with_the_picture_and_says_how_it_was_made(folder, tmp_path, capsys):
    out = tmp_path / "out.mp4"
    assert make(folder, out, "--actions", "command=turn_left", "--seed", "3") == 0
    told = capsys.readouterr().out
    assert "24x32; as in training the middle 16x32 is taken and resized to 8x16" in told
    assert "1 round of 4 frames, 1 carried over: 4 frames at 10/s" in told
    assert "the motion of frames is not told" in told
    assert frames_of(out).shape == (4, 8, 16, 3)
    settings = settings_of(out)
    assert settings["weights_sha256"] == sha256_of(folder / "pixels.safetensors") and settings["seed"] == 3
    assert settings["rounds"][0]["command"] == "turn_left" and settings["reward"] is None
    assert (settings["num_steps"], settings["guidance"], settings["schedule"]) == (2, 2.5, "constant")


def test_what_is_told_decides_what_is_made(folder, tmp_path):
    def gif(name: str, *words: str) -> bytes:
        assert make(folder, tmp_path / f"{name}.gif", *words) == 0
        return (tmp_path / f"{name}.gif").read_bytes()

    left = "trajectory=-1,4;-3,7;-6,9;-9,10"
    made = gif("left", "--actions", left)
    assert made == gif("again", "--actions", left)
    others = [
        gif("right", "--actions", "trajectory=1,4;3,7;6,9;9,10"), gif("none"),
        gif("seed", "--actions", left, "--seed", "1"), gif("led", "--actions", left, "--guidance", "1"),
    ]  # fmt: skip
    assert len({made, *others}) == 5


def test_rounds_are_told_each_its_own(folder, tmp_path, capsys):
    words = ["--actions", "speed=1,1,1,1", "--actions", "speed=9,9,9,9", "--actions", "none"]
    assert make(folder, tmp_path / "three.mp4", *words) == 0
    assert "3 rounds of 4 frames, 1 carried over: 10 frames" in capsys.readouterr().out
    assert frames_of(tmp_path / "three.mp4").shape[0] == 10
    assert settings_of(tmp_path / "three.mp4")["schedule"] == "triangle"
    assert make(folder, tmp_path / "same.mp4", "--actions", "command=stop", "--rounds", "2", "--num-samples", "2") == 0
    assert "the same is told in all 2 rounds: command=stop" in capsys.readouterr().out
    assert frames_of(tmp_path / "same.mp4").shape == (7, 116, 388, 3)
    motion = tmp_path / "motion.csv"
    motion.write_text("forward_m,turn_left_rad\n" + "0.5,0.1\n" * 7)
    assert make(folder, tmp_path / "moved.png", "--motion", str(motion), "--rounds", "2") == 0
    assert make(folder, tmp_path / "moved.png", "--motion", str(motion), "--rounds", "3") == 2
    assert "7 rows, expected 10" in capsys.readouterr().err


def test_a_model_of_latents_takes_up_to_three_first_frames_of_a_video(of_latents, tmp_path, capsys):
    clip = drive_clip(num_frames=12)
    write_video(iter(clip.video), 20, of_latents / "drive.mp4")
    words = ["--given", "3", "--actions", "goal=0.3,0.5", "--rounds", "2"]
    assert make(of_latents, tmp_path / "out.png", *words, weights="latents", image="drive.mp4") == 0
    assert "2 rounds of 5 frames, 3 carried over: 7 frames" in capsys.readouterr().out
    width, height = Image.open(tmp_path / "out.png").size
    assert height > 96 and width > 7 * 192
    assert make(of_latents, tmp_path / "out.png", "--given", "4", weights="latents", image="drive.mp4") == 2
    assert "--given 4: these weights were trained with at most 3 given" in capsys.readouterr().err
    assert make(of_latents, tmp_path / "out.png", "--given", "2") == 2
    assert "at most 1 given of 4 frames" in capsys.readouterr().err
    assert make(of_latents, tmp_path / "out.png", "--given", "2", weights="latents") == 2
    assert "has 1 frames" in capsys.readouterr().err


def test_a_reward_is_printed_and_kept(folder, tmp_path, capsys):
    assert make(folder, tmp_path / "out.png", "--reward", "--num-samples", "3") == 0
    settings = settings_of(tmp_path / "out.png")
    assert 0 < settings["reward"] < 1 and settings["num_samples"] == 3
    assert f"reward {settings['reward']:.4f}: exp(-variance) of 3 samples" in capsys.readouterr().out
    with pytest.raises(ValueError, match="a reward needs at least 2"):
        from trainer.sample import parse_arguments

        parse_arguments(["--weights", "w", "--image", "i", "--out", "o.png", "--reward", "--num-samples", "1"])


def test_mistakes_are_named(folder, tmp_path, capsys):
    for words, message in (
        (["--actions", "command=turn_lef"], "unknown command 'turn_lef', did you mean 'turn_left'"),
        (["--actions", "speed=1,2"], "2 numbers, expected 4"),
        (["--steps", "-1"], "--steps -1 must be at least 1"),
        (["--guidance", "0.5"], "--guidance 0.5 must be at least 1"),
        (["--rounds", "0"], "--rounds 0 must be at least 1"),
        (["--device", "abacus"], "--device abacus: not available here"),
        (["--fps", "0"], "--fps 0.0"),
    ):
        assert make(folder, tmp_path / "out.mp4", *words) == 2
        assert message in capsys.readouterr().err
    assert make(folder, tmp_path / "out.webm") == 2
    assert "must end in .mp4, .gif, .png" in capsys.readouterr().err
    assert make(folder, folder / "road.png") == 2
    assert "this is the picture itself" in capsys.readouterr().err
    assert make(folder, tmp_path / "out.mp4", image="street.png") == 2
    assert "street.png: no such file" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_weights_of_a_tracker_are_refused(folder, tmp_path, capsys):
    from trainer.checkpoint import save_weights
    from trainer.config import compose_launch
    from trainer.models import TASKS

    small = ["model=lbm_small", "model.dim=32", "model.num_layers=2", "model.backbone_width=8"]
    recipe, _ = compose_launch("lbm", small)
    save_weights(folder / "lbm.safetensors", TASKS["lbm"].build(recipe.model), recipe)
    assert make(folder, tmp_path / "out.mp4", weights="lbm") == 2
    assert "stage lbm is no world model; use python -m trainer.predict" in capsys.readouterr().err


def test_rounds_carry_what_training_gave():
    for weights, carried in (((1, 2, 4, 8), 3), ((0, 1), 1), ((1, 1, 1), 2), ((0, 1, 1, 0), 2)):
        assert carried_of(ObjectiveConfig(condition_weights=weights), 25) == carried
    assert carried_of(ObjectiveConfig(), 3) == 2


def test_a_samples_noise_is_a_function_of_seed_name_and_number():
    seeds = {generator_of(*words).initial_seed() for words in ((0, "a"), (1, "a"), (0, "b"), (0, "a", 1))}
    assert len(seeds) == 4 and generator_of(0, "a").initial_seed() in seeds
