"""SIGUSR1 and SIGTERM: the step is finished, the state saved, the job queued again; a resume ends alike."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.trainer.test_training import REPOSITORY, TINY, VALIDATED, command, events_of, sha256_of, steps_done
from trainer.interruption import EXIT_CODE, SIGNALS, StopRequest, signals_held

SCONTROL = """#!/bin/sh
echo "$@" >> {folder}/asked
ls {folder}/runs/lbm/*/checkpoint-*.pt >> {folder}/saved
exit {code}
"""


def slurm(folder: Path, code: int = 0) -> dict[str, str]:
    """An environment with Slurm's job number and a scontrol that writes down what it was asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scontrol").write_text(SCONTROL.format(folder=folder, code=code))
    (folder / "scontrol").chmod(0o755)
    return {"SLURM_JOB_ID": "123", "PATH": f"{folder}:{os.environ['PATH']}"}


def start(words: list[str], environment: dict[str, str] | None = None) -> subprocess.Popen:
    everything = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
    everything |= {"OMP_NUM_THREADS": "1"} | (environment or {})
    pipe = subprocess.PIPE
    return subprocess.Popen(words, cwd=REPOSITORY, env=everything, stderr=pipe, text=True, start_new_session=True)


def wait_for_steps(process: subprocess.Popen, folder: Path, number: int) -> None:
    deadline = time.monotonic() + 180
    while steps_done(folder) < number and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


def workers_of(torchrun: int) -> list[int]:
    """Processes of a torchrun, in the order of their ranks."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rsplit(")", 1)[1].split()[1])
            environment = (status.parent / "environ").read_bytes().split(b"\0")
        except (OSError, ProcessLookupError):
            continue
        ranks = [int(word[5:]) for word in environment if word.startswith(b"RANK=")]
        if parent == torchrun and ranks:
            found[ranks[0]] = int(status.parent.name)
    return [found[rank] for rank in sorted(found)]


def alone(folder: Path, *overrides: str) -> list[str]:
    """The launch in one process, without torchrun."""
    words = command(folder, *overrides)
    return [sys.executable, *words[words.index("-m", words.index("-m") + 1) :]]


@pytest.mark.slow
def test_sigusr1_on_one_of_two_ranks_then_again_gives_the_same_weights(tmp_path, dataset):
    dataset(num_clips=6)
    dataset("seen", num_clips=3, num_points=9)
    stopped, calm = tmp_path / "stopped", tmp_path / "calm"
    for folder in (stopped, calm):
        folder.mkdir()
        (folder / "shards").symlink_to(tmp_path / "shards")
    words = [*VALIDATED, "training.save_every=100", "training.keep_checkpoints=2"]
    process = start(command(stopped, *words))
    wait_for_steps(process, stopped, 5)
    os.kill(workers_of(process.pid)[1], signal.SIGUSR1)  # rank 1, which writes nothing
    told = process.communicate(timeout=180)[1]
    assert process.returncode != 0 and "SIGUSR1 after step" in told and "the same command goes on there" in told
    assert not (stopped / "out" / "weights.safetensors").exists()
    again = start(command(stopped, *words))
    told = again.communicate(timeout=180)[1]
    assert again.returncode == 0 and "resuming at step" in told, told
    undisturbed = start(command(calm, *words))
    assert undisturbed.wait(timeout=180) == 0
    for name in ("weights.safetensors", "best.safetensors", "recipe.yaml"):
        assert sha256_of(stopped / "out" / name) == sha256_of(calm / "out" / name), name
    validated = [[(event["step"], event["delta_avg"]) for event in events_of(folder / "out" / "metrics.jsonl")]
                 for folder in (stopped, calm)]  # fmt: skip
    assert validated[0] == validated[1] and len(validated[0]) == 3


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_to_the_whole_group_saves_and_asks_slurm_for_sigusr1_only(tmp_path, dataset, number):
    """As Slurm signals: loader processes get it too, and must not die of it before the step is done."""
    dataset(num_clips=6)
    environment = slurm(tmp_path)
    words = alone(tmp_path, "data.num_workers=1", "training.num_steps=1000", "training.save_every=1000")
    process = start(words, environment)
    wait_for_steps(process, tmp_path, 2)
    os.killpg(process.pid, number)
    told = process.communicate(timeout=120)[1]
    assert process.returncode == EXIT_CODE, told
    assert f"lbm: {number.name} after step" in told and "error" not in told
    (checkpoint,) = (tmp_path / "runs").rglob("checkpoint-*.pt")
    assert int(checkpoint.stem.split("-")[1]) == steps_done(tmp_path)
    if number == signal.SIGUSR1:
        assert (tmp_path / "asked").read_text() == "requeue 123\n"
        assert (tmp_path / "saved").read_text() == f"{checkpoint}\n", "queued again before it was saved"
        assert "job 123 is queued again" in told
    else:
        assert not (tmp_path / "asked").exists()


def test_a_slurm_that_refuses_is_told(tmp_path, dataset, capfd):
    from trainer.distributed import Process

    request = StopRequest(Process(rank=0, world_size=1, local_rank=0, device=None))
    with request, pytest.MonkeyPatch.context() as patch:
        for name, value in slurm(tmp_path, code=1).items():
            patch.setenv(name, value)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert request.is_agreed() and request.signal_name == "SIGUSR1"
        request.requeue()
    assert "warning: `scontrol requeue 123` failed" in capfd.readouterr().err


def test_outside_of_the_training_the_signals_do_what_they_did(monkeypatch):
    before = [signal.getsignal(number) for number in SIGNALS]
    with StopRequest(None) as request:
        assert not request.is_agreed()
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.is_agreed() and request.signal_name == "SIGUSR1", "the one that asks for more counts"
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_held_signals_come_afterwards_and_children_never_get_them():
    with StopRequest(None) as request:
        with signals_held():
            child = subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"],
                                     stdout=subprocess.PIPE)  # fmt: skip
            child.stdout.readline()
            for number in SIGNALS:
                child.send_signal(number)
                signal.pthread_kill(threading.get_ident(), number)  # another thread would take it at once
            assert not request.is_agreed()
        assert request.is_agreed()
        time.sleep(0.1)
        assert child.poll() is None
        child.kill()
        child.wait()


def test_the_last_step_is_no_interruption(tmp_path, dataset):
    """A signal that comes in the last step finds a finished training."""
    dataset(num_clips=6)
    from trainer.launch import main

    paths = [f"paths.shards_root={tmp_path / 'shards'}", f"paths.run_root={tmp_path / 'runs'}"]
    words = [*TINY, *paths, f"paths.output_dir={tmp_path / 'out'}", "training.num_steps=1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StopRequest, "is_agreed", lambda self: True)
        assert main(words) == 0
        assert main([*words[:-1], "training.num_steps=2"]) == EXIT_CODE
    assert (tmp_path / "out" / "weights.safetensors").exists()
    rows = (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [1]
