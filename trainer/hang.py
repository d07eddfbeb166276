"""A training that stands still ends, and says where: who waits for a process that is stuck waits for ever."""

import faulthandler
import os
import sys
import threading

EXIT_CODE = 74
"""Of a training that stood still: EX_IOERR of sysexits.h."""
SECONDS_TO_SAY_SO = 30


class Watch:
    """Ends this process when too long passes between two steps, with the stacks of all its threads on stderr.

    A context manager. Every rank has its own: the one that is stuck says where, and so do those that wait for it. What
    legitimately takes long, such as a validation, runs between `pause` and the next `step`.
    """

    def __init__(self, minutes: float | None, name: str = "", rank: int = 0):
        """minutes: of one step; None watches nothing. name: of the training, for the message."""
        self.seconds = None if minutes is None else 60 * minutes
        self.name, self.rank = name, rank
        self.done = 0
        self._beat = threading.Event()
        self._is_over, self._is_paused = False, True

    def __enter__(self) -> "Watch":
        if self.seconds is not None:
            threading.Thread(target=self._look, name="watch", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over = True
        self.pause()

    def step(self, done: int) -> None:
        """Say that `done` steps are done and the next one begins."""
        self.done, self._is_paused = done, False
        self._beat.set()
        if self.seconds is not None:
            # Written in C: it also ends a process whose interpreter is stuck, where the thread below cannot speak.
            faulthandler.dump_traceback_later(self.seconds + SECONDS_TO_SAY_SO, exit=True, file=sys.__stderr__)

    def pause(self) -> None:
        """Watch nothing until the next step begins."""
        self._is_paused = True
        self._beat.set()
        if self.seconds is not None:
            faulthandler.cancel_dump_traceback_later()

    def _look(self) -> None:
        while not self._is_over:
            is_alive = self._beat.wait(self.seconds)
            self._beat.clear()
            if not is_alive and not self._is_paused and not self._is_over:
                self._end()

    def _end(self) -> None:
        print(
            f"error (rank {self.rank}): {self.name} stands still: more than {self.seconds / 60:g} minutes since step "
            f"{self.done} (training.max_step_minutes). What this process does now:",
            file=sys.stderr,
            flush=True,
        )
        faulthandler.dump_traceback(file=sys.__stderr__, all_threads=True)
        os._exit(EXIT_CODE)
