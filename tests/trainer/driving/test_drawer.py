"""Samples during a training: when, where, and that the training does not notice."""

import pytest
from PIL import Image

from tests.trainer.driving.test_vista_training import PHASE_1
from tests.trainer.many_processes import launch_all
from trainer.config import compose_launch
from trainer.driving.drawer import DriveDrawer
from trainer.launch import main
from trainer.video import open_video


def words_of(drives, folder, *more: str) -> list[str]:
    validated = ["validation.dataset=drives", "validation.num_videos=1", "validation.every_steps=4"]
    return drives.words("vista_phase1", folder, *PHASE_1, *validated, "validation.sampling_steps=2", *more)


def test_samples_are_written_and_change_no_weight(drives, tmp_path):
    assert main(words_of(drives, tmp_path / "without")) == 0
    assert main(words_of(drives, tmp_path / "with", "logging.sample_every=3")) == 0
    (folder,) = (tmp_path / "with" / "runs").glob("*/*/samples")
    assert sorted(path.name for path in folder.iterdir()) == [
        f"step-{step:08}.{kind}" for step in (1, 2, 3) for kind in ("mp4", "png")
    ]
    one, other = ((tmp_path / name / "out" / "weights.safetensors").read_bytes() for name in ("without", "with"))
    assert one == other and not list((tmp_path / "without").rglob("samples"))
    sheet = Image.open(folder / "step-00000001.png")
    assert sheet.width > 4 * 192 and sheet.height > 3 * 96
    with open_video(folder / "step-00000003.mp4") as video:
        assert [frame.shape for frame in video.frames] == [(116, 388, 3)] * 4
    first, last = ((folder / f"step-0000000{step}.png").read_bytes() for step in (1, 3))
    assert first != last, "the model has learned in between"


@pytest.mark.parametrize(("every", "steps"), [(3, [1, 2, 3, 6, 9]), (8, [1, 2, 4, 8]), (1, list(range(1, 11)))])
def test_samples_are_due_at_powers_of_two_and_then_every_so_many_steps(every, steps):
    drawer = object.__new__(DriveDrawer)
    drawer.every = every
    assert [step for step in range(1, 11) if drawer.is_due(step)] == steps


def test_one_of_several_processes_that_share_the_weights_draws(drives, tmp_path):
    words = words_of(drives, tmp_path, "logging.sample_every=2", "training.strategy=fsdp", "training.batch_size=1")
    ended = launch_all([[*words, "training.num_steps=2"]], processes=2)
    assert [code for code, _ in ended] == [0, 0], ended[0][1][-3000:]
    (folder,) = (tmp_path / "runs").glob("*/*/samples")
    assert len(list(folder.iterdir())) == 4


def test_what_cannot_be_sampled_is_said_before_training(drives, tmp_path, capsys):
    words = drives.words("vista_phase1", tmp_path, *PHASE_1, "logging.sample_every=3")
    assert main(words) == 2
    assert "logging.sample_every needs a clip to make: set validation.dataset" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"logging\.sample_every=0 must be at least 1"):
        compose_launch("vista_phase1", words_of(drives, tmp_path, "logging.sample_every=0")[1:])
