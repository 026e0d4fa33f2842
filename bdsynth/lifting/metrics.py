"""Metrics of lifted motions, as Human3.6M and MPI-INF-3DHP are evaluated, and tables of them.

Poses are (..., J, 3) relative to their root; distances come in the unit of the input. Tables are in millimetres,
and take their positions in metres.

Protocol 2 is the mean over frames everywhere. (P-STMO's own evaluation counts, in a batch with several actions,
the mean of the batch for every frame, which moves its numbers by about 1 %; that is not repeated here.)
"""

from __future__ import annotations

__all__ = [
    "MPI_GROUPS",
    "LiftingEvaluation",
    "SequenceErrors",
    "acceleration_error",
    "auc",
    "joint_errors",
    "measure",
    "measure_mpi",
    "mpi_inf_3dhp",
    "mpjpe",
    "n_mpjpe",
    "p_mpjpe",
    "pck",
    "velocity_error",
]

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bdsynth.errors import InputError
from bdsynth.geometry import procrustes
from bdsynth.skeletons import Skeleton, get_skeleton

# name -> what it is; the order of the columns
MEASURES = {
    "mpjpe": "mm, mean per-joint position error (protocol 1)",
    "p_mpjpe": "mm, after rotation, translation and scale were fitted to every frame (protocol 2)",
    "n_mpjpe": "mm, after the scale was fitted to every frame",
    "velocity": "mm a frame, error of the first difference in time",
    "acceleration": "mm a squared frame, error of the second difference",
    "pck": "%, joints off by less than 150 mm",
    "auc": "%, the same, mean over 0, 5, ..., 150 mm",
}

# What MPI-INF-3DHP counts: fourteen joints; pelvis, spine and the middle of the head are left out.
MPI_GROUPS = {
    "head": ("head",),
    "neck": ("neck",),
    **{group: (f"right_{joint}", f"left_{joint}")
       for group, joint in (("shoulders", "shoulder"), ("elbows", "elbow"), ("wrists", "wrist"), ("hips", "hip"),
                            ("knees", "knee"), ("ankles", "ankle"))},
}  # fmt: skip
PCK_THRESHOLD = 150.0  # mm
AUC_THRESHOLDS = np.arange(0.0, 151.0, 5.0)  # mm; at 0 the share is 0 by definition, and counts


# --- Distances ---------------------------------------------------------------------------------------------


def joint_errors(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distance of every joint from where it is: (..., J, 3) twice -> (..., J).

    Raises:
        InputError: shapes that differ, or are not (..., J, 3) with a frame in it.
    """
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    if predicted.shape != truth.shape or predicted.ndim < 2 or predicted.shape[-1] != 3 or not predicted.size:
        raise InputError(f"metrics: shapes {predicted.shape} and {truth.shape}, expected the same (T, J, 3) twice")
    return np.linalg.norm(predicted - truth, axis=-1)


def mpjpe(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Mean per-joint position error, protocol 1: over all joints, the root among them."""
    return float(joint_errors(predicted, truth).mean())


def p_mpjpe(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Protocol 2: every frame is first moved, turned and scaled onto the truth (without reflection)."""
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    joint_errors(predicted, truth)  # refuses shapes that differ
    return mpjpe(procrustes(predicted, truth), truth)


def n_mpjpe(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Every frame is scaled onto the truth first, ``s = sum p.g / sum p.p`` (Rhodin et al. 2018)."""
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    joint_errors(predicted, truth)
    size = np.square(predicted).sum((-2, -1), keepdims=True)
    scale = (predicted * truth).sum((-2, -1), keepdims=True) / np.where(size > 0, size, 1.0)
    return mpjpe(scale * predicted, truth)


def velocity_error(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Error of the first difference along the frames of one sequence (T, J, 3), unit per frame; T at least 2."""
    return _difference_error(predicted, truth, 1)


def acceleration_error(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Error of the second difference along the frames of one sequence (T, J, 3); T at least 3."""
    return _difference_error(predicted, truth, 2)


def _difference_error(predicted: np.ndarray, truth: np.ndarray, order: int) -> float:
    if len(predicted) <= order:
        raise InputError(f"metrics: {len(predicted)} frames, difference {order} in time takes {order + 1}")
    return mpjpe(np.diff(predicted, order, axis=0), np.diff(truth, order, axis=0))


def pck(predicted: np.ndarray, truth: np.ndarray, threshold: float = PCK_THRESHOLD) -> float:
    """Percentage of joints that are off by less than the threshold (strictly), in the unit of the input: mm."""
    return 100.0 * float((joint_errors(predicted, truth) < threshold).mean())


def auc(predicted: np.ndarray, truth: np.ndarray, thresholds: Sequence[float] = AUC_THRESHOLDS) -> float:
    """Mean of :func:`pck` over the thresholds: the area under the curve, percent.

    Anatomy3D's own code takes 0, 1, ..., 149 mm instead of MPI-INF-3DHP's 0, 5, ..., 150.
    """
    errors = joint_errors(predicted, truth)
    return 100.0 * float(np.mean([(errors < threshold).mean() for threshold in thresholds]))


# --- Protocols ---------------------------------------------------------------------------------------------


def mpi_inf_3dhp(predicted: np.ndarray, truth: np.ndarray, skeleton: Skeleton | None = None) -> dict[str, float]:
    """The numbers of MPI-INF-3DHP's evaluation (Mehta et al. 2017) for poses in millimetres.

    Poses are compared relative to the pelvis. MPJPE is over all joints of the skeleton (17, with the pelvis, whose
    error is 0), PCK and AUC over the fourteen of MPI_GROUPS.

    Arguments:
        predicted, truth: (T, J, 3) mm, valid frames only.
        skeleton: of both; mpi_inf_3dhp_17 by default.

    Returns:
        mpjpe (mm), pck and auc (%) over all, and ``pck_head``, ``auc_head``, ... of each group.
    """
    skeleton = get_skeleton("mpi_inf_3dhp_17") if skeleton is None else skeleton
    root = [skeleton.index("pelvis")]
    predicted, truth = predicted - predicted[..., root, :], truth - truth[..., root, :]
    groups = {group: [skeleton.index(joint) for joint in joints] for group, joints in MPI_GROUPS.items()}
    counted = sum(groups.values(), [])
    values = {"mpjpe": mpjpe(predicted, truth)}
    for name, of in (("pck", pck), ("auc", auc)):
        values[name] = of(predicted[..., counted, :], truth[..., counted, :])
        for group, joints in groups.items():
            values[f"{name}_{group}"] = of(predicted[..., joints, :], truth[..., joints, :])
    return values


@dataclass(frozen=True)
class SequenceErrors:
    """What one sequence was measured at.

    Arguments:
        name: of the sequence, "S9 Walking 1 camera 0".
        action: what its numbers are averaged with.
        frames: how many were measured.
        values: measure -> value.
    """

    name: str
    action: str
    frames: int
    values: dict[str, float]


def measure(
    predicted: np.ndarray,
    truth: np.ndarray,
    name: str,
    action: str,
    *,
    root: int = 0,
    predicted_root: Literal["zeroed", "kept"] = "zeroed",
) -> SequenceErrors:
    """One sequence by Human3.6M's protocols.

    The truth is taken relative to its root. So is the prediction, where ``predicted_root`` is "zeroed" (P-STMO);
    VideoPose3D and Anatomy3D leave what their net says of the root, "kept", which then counts as an error.

    Arguments:
        predicted, truth: (T, J, 3) metres.
        name, action: see :class:`SequenceErrors`; of an action "Walking 1" the class is "Walking".
        root: the joint that poses are relative to.

    Raises:
        InputError: shapes that differ, or fewer than three frames.
    """
    predicted, truth = np.asarray(predicted, np.float64) * 1000, np.asarray(truth, np.float64) * 1000
    joint_errors(predicted, truth)
    truth = truth - truth[:, [root]]
    if predicted_root == "zeroed":
        predicted = predicted - predicted[:, [root]]
    values = {
        "mpjpe": mpjpe(predicted, truth),
        "p_mpjpe": p_mpjpe(predicted, truth),
        "n_mpjpe": n_mpjpe(predicted, truth),
        "velocity": velocity_error(predicted, truth),
        "acceleration": acceleration_error(predicted, truth),
    }
    return SequenceErrors(name, action.split(" ")[0], len(truth), values)


def measure_mpi(
    predicted: np.ndarray, truth: np.ndarray, name: str, skeleton: Skeleton | None = None
) -> SequenceErrors:
    """One sequence by MPI-INF-3DHP's protocol: (T, J, 3) metres, valid frames; see :func:`mpi_inf_3dhp`."""
    values = mpi_inf_3dhp(np.asarray(predicted) * 1000.0, np.asarray(truth) * 1000.0, skeleton)
    return SequenceErrors(name, name, len(truth), values)


# --- Tables ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LiftingEvaluation:
    """Numbers of many sequences with the protocol that made them.

    Arguments:
        rows: one for every sequence.
        protocol: whatever says how they were made.
        average: what the totals are. "actions": every action counts the same, and in an action every frame
            (Human3.6M). "frames": every frame counts the same (P-STMO's totals on MPI-INF-3DHP).
    """

    rows: tuple[SequenceErrors, ...]
    protocol: dict[str, object]
    average: Literal["actions", "frames"] = "actions"

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(self.rows))
        if not self.rows:
            raise InputError("evaluation: there is no sequence to average over")

    @property
    def actions(self) -> dict[str, dict[str, float]]:
        """action -> measure -> value, weighted by frames, in the order in which the actions come."""
        names = dict.fromkeys(row.action for row in self.rows)
        return {name: _by_frames([row for row in self.rows if row.action == name]) for name in names}

    @property
    def totals(self) -> dict[str, float]:
        """measure -> the one number."""
        if self.average == "frames":
            return _by_frames(self.rows)
        actions = list(self.actions.values())
        return {key: float(np.mean([values[key] for values in actions])) for key in actions[0]}

    def table(self) -> str:
        """Actions, or the sequences where these are all different, and the totals; fixed-width text."""
        columns = [key for key in MEASURES if key in self.rows[0].values]
        width = max(len(name) for name in ("total", *self.actions))
        lines = [" ".join([" " * width, *(f"{key:>12}" for key in columns)])]
        for name, values in [*self.actions.items(), ("total", self.totals)]:
            lines.append(" ".join([f"{name:<{width}}", *(f"{values[key]:>12.2f}" for key in columns)]))
        lines += [f"{key}: {MEASURES[key]}" for key in columns]
        protocol = ", ".join(f"{key} {value}" for key, value in self.protocol.items())
        return "\n".join([*lines, f"(total: mean over {self.average}{', ' if protocol else ''}{protocol})"])

    def to_json(self, **more: object) -> str:
        """Everything: totals, actions, sequences and protocol."""
        content = {
            "totals": self.totals,
            "actions": self.actions,
            "sequences": [
                {"name": row.name, "action": row.action, "frames": row.frames, **row.values} for row in self.rows
            ],
            "protocol": {"average": self.average, **self.protocol},
            **more,
        }
        return json.dumps(content, indent=2) + "\n"


def _by_frames(rows: Sequence[SequenceErrors]) -> dict[str, float]:
    frames = [row.frames for row in rows]
    return {key: float(np.average([row.values[key] for row in rows], weights=frames)) for key in rows[0].values}
