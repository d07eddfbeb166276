"""A renderer's process that makes clip after clip, so that Blender and kubric are loaded once a shard."""

import shutil
import subprocess
from pathlib import Path
from types import TracebackType

from generation import environment

CLIPS_PER_PROCESS = 32
"""Then a fresh process is started: whatever Blender does not give back ends with it."""


class RenderWorker:
    """The child's process, started at need: for the first clip, after it died, after CLIPS_PER_PROCESS clips.

    It reads the paths of jobs from its standard input, a line each, and answers each with an exit code (see jobs.py).
    It writes what Blender says to render.log beside the job.
    """

    def __init__(self, renderer: Path, temporary: Path, threads: int, module: str = "render"):
        """`temporary` is a folder for Blender's own files, deleted at the end; `module` of generation answers."""
        self._command = environment.renderer_command(renderer.absolute(), module, str(temporary.absolute()))
        self._environment = environment.renderer_environment(threads) | {"TMPDIR": str(temporary.absolute())}
        self._temporary = temporary
        self._process: subprocess.Popen[bytes] | None = None
        self._num_clips = 0

    def __enter__(self) -> "RenderWorker":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def run(self, job: Path) -> int:
        """Make the clip of a job file; returns its exit code, or -N where the process was killed by signal N."""
        if self._process is None or self._num_clips == CLIPS_PER_PROCESS:
            self._stop()
            self._start(job.with_name("render.log"))
        self._num_clips += 1
        try:
            self._process.stdin.write(f"{job.absolute()}\n".encode())
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = b""
        except BaseException:
            self._stop()  # before the caller deletes the folder that it writes into
            raise
        if answer:
            return int(answer)
        with self._process as process:
            self._process = None
            return process.wait() or 1  # it ended with no answer: whatever it says, this clip is not made

    def _start(self, log: Path) -> None:
        self._temporary.mkdir(exist_ok=True)
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                self._command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file,
                env=self._environment,
            )  # fmt: skip
        self._num_clips = 0

    def _stop(self) -> None:
        if self._process is not None:
            with self._process as process:
                self._process = None
                process.kill()  # an answer comes when the clip's files are all there: nothing is cut short
        shutil.rmtree(self._temporary, ignore_errors=True)
