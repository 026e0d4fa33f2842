"""What a training tells while it runs: a progress bar or plain lines, TensorBoard, JSON lines."""

__all__ = ["Progress", "Report"]

import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bdsynth.learning.atomic import atomic_write

Values = dict[str, float]


class Report:
    """TensorBoard events and ``metrics.jsonl`` in the log folder of a run.

    ``metrics.jsonl`` has one object per epoch: stage, epoch, step, the averages over the epoch
    (``train``), the learning rates and the validation.

    Args:
        folder: the log folder.
        stage: the name of the stage.
        epoch, step: where the training takes up; what was reported of later is dropped, since
            it is about to happen again.
    """

    def __init__(self, folder: Path, stage: str, epoch: int, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._stage = stage
        self._file = folder / "metrics.jsonl"
        self._keep_before(epoch)
        self._events = SummaryWriter(folder / stage, purge_step=step)

    def _keep_before(self, epoch: int) -> None:
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        kept = [line for line in lines if self._is_before(line, epoch)]
        if kept != lines:
            atomic_write(self._file, "".join(line + "\n" for line in kept))

    def _is_before(self, line: str, epoch: int) -> bool:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            return False  # the line that a killed process did not finish
        return entry["stage"] != self._stage or entry["epoch"] < epoch

    def step(self, step: int, values: Values) -> None:
        """The values of one step, for the curves."""
        for name, value in values.items():
            self._events.add_scalar(f"step/{name}", value, step)

    def epoch(
        self, epoch: int, step: int, rates: Values, train: Values, validation: Values
    ) -> None:
        """The averages over a finished epoch, and its validation."""
        groups = {"learning_rate": rates, "train": train, "validation": validation}
        entry: dict[str, Any] = {"stage": self._stage, "epoch": epoch, "step": step}
        for group, values in groups.items():
            # JSON has no NaN
            entry[group] = {k: v if math.isfinite(v) else None for k, v in values.items()}
            for name, value in values.items():
                self._events.add_scalar(f"{group}/{name}", value, step)
        with open(self._file, "a") as file:
            file.write(json.dumps(entry) + "\n")
        self._events.flush()

    def pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Pictures by name, each (H, W, 3) uint8."""
        for name, picture in pictures.items():
            self._events.add_image(name, picture, step, dataformats="HWC")
        self._events.flush()

    def close(self) -> None:
        self._events.close()


class Progress:
    """A bar with the losses and the time left on a terminal, a line per epoch elsewhere.

    Args:
        name: the name of the stage.
        epochs: how many there will be.
        shown: False says nothing.
    """

    def __init__(self, name: str, epochs: int, shown: bool) -> None:
        self._name, self._epochs = name, epochs
        self._lines = shown and not sys.stderr.isatty()
        self._start = self._epoch_start = self._refreshed = time.monotonic()
        self._steps = self._done = 0
        self._first: int | None = None
        self._bar: Any = None
        if shown and not self._lines:
            from tqdm import tqdm

            self._bar = tqdm(desc=name, unit="step", dynamic_ncols=True)

    def begin(self, done: int, steps: int) -> None:
        """An epoch begins: ``done`` of the ``steps`` of the whole stage are behind."""
        self._done, self._steps = done, steps
        if self._bar is not None:
            if self._first is None:
                self._bar.initial = self._bar.n = done
            self._bar.total = steps
        if self._first is None:
            self._first = done

    def step(self, averages: Callable[[], Values]) -> None:
        """One step more; ``averages`` is called only when the bar is drawn anew."""
        self._done += 1
        if self._bar is None:
            return
        now = time.monotonic()
        if now - self._refreshed > 0.5:  # reading values makes a GPU wait
            self._refreshed = now
            self._bar.set_postfix_str(_text(averages()), refresh=False)
        self._bar.update()

    def epoch(self, epoch: int, values: Values) -> None:
        """Epoch ``epoch`` (counted from 0) is over."""
        if self._lines:
            now = time.monotonic()
            rate = (now - self._start) / max(self._done - self._first, 1)
            left = rate * max(self._steps - self._done, 0)
            taken, self._epoch_start = now - self._epoch_start, now
            print(
                f"{self._name}  epoch {epoch + 1}/{self._epochs}  {taken:.1f} s  "
                f"{_duration(left)} left  {_text(values)}",
                file=sys.stderr,
                flush=True,
            )
        elif self._bar is not None:
            self._bar.set_description(f"{self._name} {epoch + 1}/{self._epochs}", refresh=False)
            self._bar.set_postfix_str(_text(values))

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _text(values: Values) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
