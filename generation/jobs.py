"""The renderer's side of `generation.worker`: a process that answers one job after the other."""

import contextlib
import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn


def answer_jobs(answer: Callable[[Path], int]) -> NoReturn:
    """Read paths of jobs from the standard input, a line each, and answer each by a line with an exit code; then end.

    What is printed goes to render.log beside the job. After an exception, which is printed there, the process ends
    with 1 and no answer.
    """
    code = 0
    try:
        _answer_all(answer)
    except Exception:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # Blender's own clean-up at exit was seen to wait for ever; everything is on the disk by now


def _answer_all(answer: Callable[[Path], int]) -> None:
    die_with_parent()
    answers = os.dup(1)
    for line in sys.stdin:
        job = Path(line.rstrip("\n"))
        log = os.open(job.with_name("render.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.close(log)
        code = answer(job)
        sys.stdout.flush()
        os.write(answers, f"{code}\n".encode())


def die_with_parent() -> None:
    """Ask Linux to end this process when its parent ends, even by kill -9."""
    with contextlib.suppress(OSError, AttributeError):  # elsewhere it ends by itself, and its folder is no clip
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
