"""The numbers of an evaluation: what each is, and how they are shown."""

from __future__ import annotations

__all__ = ["MEASURES", "REAL", "Evaluation", "Measure"]

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bdsynth.display.report import Section

REAL = "real clips"  # the row of what was recorded


@dataclass(frozen=True)
class Measure:
    """One number: the table it is in, its column there, and what it is."""

    group: str
    column: str
    text: str


_RECONSTRUCTION = "Reconstruction: each sequence, read and performed from its own start posture"
_FUTURES = "Futures: samples from a start posture"
_BEHAVIOR = "Behavior: what was read, performed from the start posture of another clip"
_MOTION = "Motion: these transfers, as motion"

MEASURES = {
    "reconstruction_ade": Measure(_RECONSTRUCTION, "ADE", "m, mean distance of a joint, over frames"),
    "reconstruction_fde": Measure(_RECONSTRUCTION, "FDE", "m, the same in the last frame"),
    "reconstruction_ade_pose": Measure(
        _RECONSTRUCTION, "ADE pose", "m, distance of pose vectors (all joints flattened, as in the literature)"
    ),
    "reconstruction_fde_pose": Measure(_RECONSTRUCTION, "FDE pose", "m, the same in the last frame"),
    "best_ade": Measure(_FUTURES, "best ADE", "m, of the best sample, mean distance of a joint"),
    "best_fde": Measure(_FUTURES, "best FDE", "m, the same in the last frame"),
    "best_ade_pose": Measure(_FUTURES, "ADE pose", "m, of the best sample, distance of pose vectors"),
    "best_fde_pose": Measure(_FUTURES, "FDE pose", "m, the same in the last frame"),
    "asd": Measure(_FUTURES, "ASD", "m, pose vectors: distance of a sample to its nearest other, over frames"),
    "fsd": Measure(_FUTURES, "FSD", "m, the same in the last frame"),
    "apd": Measure(_FUTURES, "APD", "m, mean distance of two samples, as vectors of all frames"),
    "accuracy_reconstruction": Measure(_BEHAVIOR, "own posture", "share of reconstructions whose action is named"),
    "accuracy_transfer": Measure(_BEHAVIOR, "transfer", "share of transfers whose behavior's action is named"),
    "accuracy_transfer_other": Measure(
        _BEHAVIOR, "other action", "the same, where the posture is of another action"
    ),
    "accuracy_posture": Measure(
        _BEHAVIOR, "posture's", "share of those taken for the action that the posture is from"
    ),
    "posture_start": Measure(
        _BEHAVIOR, "start hidden", "error of the start posture read off the code, in that of the mean posture"
    ),
    "posture_frames": Measure(_BEHAVIOR, "poses hidden", "the same of all frames that the code was read from"),
    "frechet_action_features": Measure(
        _MOTION, "Frechet", "Fréchet distance to the real clips on the features of the action judge"
    ),
    "realism": Measure(_MOTION, "told apart", "share of recorded and made sequences told right; 0.5 is best"),
    "bone_deviation": Measure(_MOTION, "bones", "%, deviation of bone lengths from those of the start posture"),
    "foot_sliding": Measure(_MOTION, "sliding", "cm/s, horizontal speed of feet near the floor"),
    "jitter": Measure(_MOTION, "jitter", "m/s^3, mean jerk of the joints"),
}  # accuracies are means over actions


@dataclass(frozen=True)
class Evaluation:
    """Numbers of what was measured, a row each, with the protocol that made them.

    Arguments:
        rows: name of what was measured -> measure -> value; what does not apply is left out.
        protocol: how.
        errors: name -> mean distance of a joint after each frame of the reconstruction, metres, (T,).
    """

    rows: Mapping[str, Mapping[str, float]]
    protocol: Mapping[str, object]
    errors: Mapping[str, list[float]]

    def table(self) -> str:
        """A table a group of measures, rows as they were measured, and what the columns are."""
        width = 2 + max(map(len, self.rows))
        lines = []
        for group, names in self._groups():
            wide = [max(9, len(MEASURES[name].column) + 2) for name in names]
            heads = (f"{MEASURES[name].column:>{w}}" for name, w in zip(names, wide, strict=True))
            lines += [group, " " * width + "".join(heads)]
            for row, values in self.rows.items():
                cells = (f"{_number(values.get(name)):>{w}}" for name, w in zip(names, wide, strict=True))
                lines.append(f"{row:<{width}}" + "".join(cells))
            lines += [f"  {MEASURES[name].column:<13} {name:<24} {MEASURES[name].text}" for name in names]
            lines.append("")
        protocol = ", ".join(f"{key} {value}" for key, value in self.protocol.items())
        return "\n".join([*lines, f"({protocol})"])

    def to_json(self, **more: object) -> str:
        data = {"rows": self.rows, "protocol": self.protocol, "errors": self.errors, **more}
        return json.dumps(data, indent=2) + "\n"

    def sections(self) -> list[Section]:
        """The tables and the error over time, for :func:`bdsynth.display.report.write_report`."""
        from bdsynth.display.report import Plot, Table, Text

        sections: list[Section] = []
        for group, names in self._groups():
            columns = ["", *(MEASURES[name].column for name in names)]
            rows = [[row, *(values.get(name) for name in names)] for row, values in self.rows.items()]
            title, _, caption = group.partition(": ")
            explained = "; ".join(f"{MEASURES[name].column}: {MEASURES[name].text}" for name in names)
            sections.append(Table(rows, columns, title, f"{caption}. {explained}."))
        if self.errors:
            length = max(map(len, self.errors.values()))
            times = np.arange(1, length + 1) / float(self.protocol["fps"])
            series = {name: np.asarray(values) for name, values in self.errors.items()}
            plot = Plot(series, times, "seconds after the start posture", "m", "Reconstruction over time",
                        "Mean distance of a joint to where it really was.")  # fmt: skip
            sections.append(plot)
        protocol = ", ".join(f"{key} {value}" for key, value in self.protocol.items())
        return [*sections, Text(protocol, "Protocol")]

    def _groups(self) -> list[tuple[str, list[str]]]:
        """Groups with those of their measures that any row has."""
        known = [name for name in MEASURES if any(name in values for values in self.rows.values())]
        groups = dict.fromkeys(MEASURES[name].group for name in known)
        return [(group, [name for name in known if MEASURES[name].group == group]) for group in groups]


def _number(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
