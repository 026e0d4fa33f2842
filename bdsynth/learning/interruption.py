"""Ending a long work at a good moment when the user or the system asks for it."""

__all__ = ["Interrupted", "StopRequest"]

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any


class Interrupted(SystemExit):
    """Ends the program as the signal would have: with code 130 (SIGINT) or 143 (SIGTERM)."""


class StopRequest:
    """While in its ``with`` block, the first SIGINT or SIGTERM is noted, the second one kills.

    Attributes:
        code: the exit code that was asked for; None as long as nobody asked.
        at_once: raise `Interrupted` in the middle of what is running, because nothing of it
            has to be kept.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        self.at_once = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # Python allows it only there
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.code is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.code = 128 + number
        with contextlib.suppress(OSError):  # print() must not be called from a handler
            os.write(2, b"\nsaving a checkpoint, then stopping; once more stops at once\n")
        if self.at_once:
            raise Interrupted(self.code)
