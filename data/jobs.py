"""Several files at a time: how the commands of this folder run, show how far they are, and stop."""

from __future__ import annotations

__all__ = ["Meter", "cores", "end_cleanly", "exit_code", "in_parallel", "positive"]

import argparse
import concurrent.futures
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from bdsynth.errors import InputError

T = TypeVar("T")
R = TypeVar("R")


class _Stopped(Exception):
    """Ends a job in the middle, because the command is to end."""


class Meter:
    """A progress bar that several jobs move; on a terminal only.

    Arguments:
        total: what all jobs together come to, in ``unit``.
        unit: "B" is shown in powers of 1024.
    """

    def __init__(self, total: int, unit: str, label: str) -> None:
        from tqdm import tqdm

        self._bar = tqdm(
            total=total, unit=unit, desc=label, leave=False, disable=not sys.stderr.isatty(),
            unit_scale=unit == "B", unit_divisor=1024,
        )  # fmt: skip
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def job(self, size: int) -> Callable[[int], None]:
        """The ``progress`` of one job: to be called with what is done of its ``size`` so far."""
        done = 0

        def progress(now: int) -> None:
            nonlocal done
            if self._stop.is_set():
                raise _Stopped
            now = min(max(now, done), size)
            with self._lock:
                self._bar.update(now - done)
            done = now

        return progress

    def stop(self) -> None:
        """The next report of every job ends it."""
        self._stop.set()

    def close(self) -> None:
        self._bar.close()


def positive(text: str) -> int:
    """The value of --jobs."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return int(text)


def cores() -> int:
    """How many of the processor's cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def in_parallel(
    tasks: Sequence[T], work: Callable[[T], R], jobs: int, meter: Meter, give_up: str = ""
) -> list[R | InputError | None]:
    """``work`` of every task, some at a time; threads, as all of it waits for zlib, the disk or ffmpeg.

    Arguments:
        tasks: what to do.
        work: does one; an InputError is its result.
        jobs: how many at a time.
        meter: stopped and closed when an interrupt ends it all.
        give_up: an error with these words in it ends all that has not begun.

    Returns:
        Result or error of every task in their order; None for those that were given up.
    """
    hopeless = threading.Event()

    def one(task: T) -> R | InputError | None:
        if hopeless.is_set():
            return None
        try:
            return work(task)
        except InputError as error:
            if give_up and give_up in str(error):
                hopeless.set()
            return error

    pool = concurrent.futures.ThreadPoolExecutor(jobs)
    try:
        futures = [pool.submit(one, task) for task in tasks]
        return [future.result() for future in futures]
    finally:
        meter.stop()
        pool.shutdown(wait=True, cancel_futures=True)
        meter.close()


@contextlib.contextmanager
def end_cleanly() -> Iterator[None]:
    """SIGTERM in here ends the program as Ctrl-C does: what is half done is taken away."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = None
    if threading.current_thread() is threading.main_thread():  # Python allows it only there
        before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        raise SystemExit(130) from None
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def exit_code(work: Callable[[], object]) -> int:
    """Of a command that does this: 2 with the errors on standard error where input is bad, else 0."""
    try:
        with end_cleanly():
            work()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
