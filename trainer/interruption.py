"""SIGUSR1 and SIGTERM: finish the step, save, leave; on Slurm SIGUSR1 also queues the job again.

A scheduler sends SIGUSR1 where it was asked for a warning before the time is up (`#SBATCH --signal=USR1@120`), and
SIGTERM when the job must go.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import torch
import torch.distributed as dist

from trainer.distributed import Process

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""In the order of what they ask for: both to save and leave, the second to be queued again as well."""
EXIT_CODE = 75
"""Of an interrupted training: EX_TEMPFAIL of sysexits.h, "try again later"."""


class Interrupted(Exception):  # noqa: N818 (no error: the training can go on)
    """A training that was asked to stop, and is saved."""


class StopRequest:
    """Whether any process of a training got one of SIGNALS; they all answer after the same step.

    A context manager: outside of it the signals do what they did before.
    """

    def __init__(self, process: Process):
        self.process, self.asked, self.group, self.former = process, 0, None, {}

    def __enter__(self) -> "StopRequest":
        if dist.is_initialized() and dist.get_backend() != "gloo":
            self.group = dist.new_group(backend="gloo")  # on CPU: asking must not wait for a GPU
        self.former = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.former.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        self.asked = max(self.asked, 1 + SIGNALS.index(number))

    def is_agreed(self) -> bool:
        """Whether any process was asked to stop. All of them call it together, after each step, and get the same."""
        if dist.is_initialized():
            asked = torch.tensor(self.asked)
            dist.all_reduce(asked, op=dist.ReduceOp.MAX, group=self.group)
            self.asked = int(asked)
        return self.asked > 0

    @property
    def signal_name(self) -> str:
        """Of the signal that stopped the training."""
        return SIGNALS[self.asked - 1].name

    def requeue(self) -> None:
        """On Slurm, after SIGUSR1: queue the job again; called when the state is saved, for Slurm ends the job then."""
        job = os.environ.get("SLURM_JOB_ID")
        if not (job and self.process.is_main and self.signal_name == "SIGUSR1"):
            return
        try:
            subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True, timeout=60)
            print(f"job {job} is queued again", file=sys.stderr, flush=True)
        except (OSError, subprocess.SubprocessError) as error:
            told = (getattr(error, "stderr", None) or str(error)).strip()
            print(f"warning: `scontrol requeue {job}` failed ({told}); submit it again", file=sys.stderr, flush=True)


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Hold SIGNALS back for a block: processes that start in it never get them, this thread gets them afterwards.

    A scheduler signals a whole process group, and loader processes would die of it in the middle of the step.
    """
    former = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
