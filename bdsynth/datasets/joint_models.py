"""How the joints of a picture become a stickman and ten part crops, per data set (behavior specification 2.8)."""

from __future__ import annotations

__all__ = ["DEEPFASHION", "HUMAN36M", "JOINT_MODELS", "MARKET", "JointModel", "PARTS"]

from dataclasses import dataclass

Lines = tuple[tuple[int, int], ...]

PARTS = (
    "body", "head",
    "right_upper_arm", "right_lower_arm", "left_upper_arm", "left_lower_arm",
    "right_upper_leg", "right_lower_leg", "left_upper_leg", "left_lower_leg",
)  # fmt: skip


@dataclass(frozen=True)
class JointModel:
    """Which joints are what; all numbers are indices into the joints of ``skeleton``.

    Arguments:
        name: of the data set.
        skeleton: the named skeleton (``bdsynth.skeletons``) whose joint order it is.
        body: corners of the polygon that is filled.
        right_lines, left_lines: limbs of either side.
        head_lines: lines of neck and head; none: one line from between the shoulders to ``headup``.
        face: lines between nose, eyes and ears.
        right_shoulder, left_shoulder, headup: where the head is.
        parts: the ten crops in their order: four joints are a quadrilateral (upper left, then clockwise, as
            it comes to lie in the crop), three are left shoulder, right shoulder and headup, two are a limb.
    """

    name: str
    skeleton: str
    body: tuple[int, ...]
    right_lines: Lines
    left_lines: Lines
    head_lines: Lines
    face: Lines
    right_shoulder: int
    left_shoulder: int
    headup: int
    parts: tuple[tuple[int, ...], ...]


DEEPFASHION = JointModel(
    name="deepfashion",
    skeleton="openpose_18",
    body=(8, 2, 5, 11),
    right_lines=((10, 9), (9, 8), (2, 3), (3, 4)),
    left_lines=((13, 12), (12, 11), (5, 6), (6, 7)),
    head_lines=(),
    face=((0, 14), (0, 15), (14, 16), (15, 17)),
    right_shoulder=2,
    left_shoulder=5,
    headup=0,
    parts=((8, 2, 5, 11), (5, 2, 0), (2, 3), (3, 4), (5, 6), (6, 7), (8, 9), (9, 10), (11, 12), (12, 13)),
)

# Its limbs come in the order of their indices, legs first: PARTS names DeepFashion's order. The published nets
# for Market were trained so.
MARKET = JointModel(
    name="market",
    skeleton="market_18",
    body=(8, 9, 3, 2),
    right_lines=((0, 1), (1, 2), (6, 7), (7, 8)),
    left_lines=((3, 4), (4, 5), (9, 10), (10, 11)),
    head_lines=(),
    face=((13, 14), (13, 15), (14, 16), (15, 17)),
    right_shoulder=8,
    left_shoulder=9,
    headup=13,
    parts=((8, 9, 3, 2), (9, 8, 13), (0, 1), (1, 2), (6, 7), (7, 8), (3, 4), (4, 5), (9, 10), (10, 11)),
)

# The original's parts for Human3.6M mix the numbers of 17 and of 32 joints, and nothing uses its crops. These
# are the parts of DeepFashion, joint for joint, on the 17 joints.
HUMAN36M = JointModel(
    name="human36m",
    skeleton="h36m_17_compvis",
    body=(0, 14, 8, 11, 3),
    right_lines=((0, 1), (1, 2), (0, 14), (14, 15), (15, 16)),
    left_lines=((3, 4), (4, 5), (3, 11), (11, 12), (12, 13)),
    head_lines=((8, 9), (9, 10)),
    face=(),
    right_shoulder=14,
    left_shoulder=11,
    headup=10,
    parts=((0, 14, 11, 3), (11, 14, 10), (14, 15), (15, 16), (11, 12), (12, 13), (0, 1), (1, 2), (3, 4), (4, 5)),
)

# People's own pictures carry the joints of DeepFashion.
JOINT_MODELS = {"deepfashion": DEEPFASHION, "market": MARKET, "human36m": HUMAN36M, "people": DEEPFASHION}
