"""Feet: where they point, when they stand, and how far the body is above the floor.

Motions without toes leave the direction of a foot open: it is led by the shank while the foot is in the air and
lies flat where the ankle is low. With toes, the slope that the foot of the motion's skeleton has when it stands
is measured and taken out, because skeletons put ankle and toe at different heights.
"""

from __future__ import annotations

__all__ = ["Feet", "feet"]

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from bdsynth.humans.rotations import about, between, smoothstep, swing, unit

USUAL_SLOPE = np.radians(-25)  # from ankle to the ball of the foot, where the motion never stands
USUAL_ANKLE = 0.1  # above the floor, of leg length
TOES_BEND = np.radians(50)


@dataclass(frozen=True, eq=False)
class Feet:
    """What is known of both feet, T frames.

    Arguments:
        vectors: per side (T, 3) from ankle to toe, or None.
        slope: of that vector when the foot is flat, radians, negative.
        stands: per side (T,) how surely the whole sole is on the floor, 0 to 1.
        low: per side (T,) how surely the ball of the foot is on the floor.
        clearance: (T,) metres of the motion between the lower foot and the floor.
    """

    vectors: dict[str, np.ndarray | None]
    slope: float
    stands: dict[str, np.ndarray]
    low: dict[str, np.ndarray]
    clearance: np.ndarray

    def direction(self, side: str) -> np.ndarray | None:
        """(T, 3) unit vectors from ankle to toe; None where the motion has no toes."""
        vectors = self.vectors[side]
        return None if vectors is None else unit(vectors)

    def rotations(self, side: str, shank: np.ndarray, heading: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(T, 3, 3) of the foot and of its toes.

        Arguments:
            shank: (T, 3, 3).
            heading: (3,) where the foot points at rest, horizontal.
        """
        foot = shank
        direction = self.direction(side)
        if direction is not None:
            sloped = np.cos(self.slope) * heading + np.sin(self.slope) * np.array([0.0, 0.0, 1.0])
            foot = swing(np.einsum("tij,j->ti", shank, sloped), direction) @ shank
        flat = self._flat(foot, heading)
        foot = between(foot, flat, self.stands[side])
        pointing = np.einsum("tij,j->ti", foot, heading)
        down = -np.arcsin(np.clip(pointing[:, 2], -1, 1))
        bend = self.low[side] * np.clip(down, 0.0, TOES_BEND)
        across = np.cross(heading, np.array([0.0, 0.0, 1.0]))
        return foot, foot @ about(across, bend)

    @staticmethod
    def _flat(foot: np.ndarray, heading: np.ndarray) -> np.ndarray:
        """Turned about the vertical only, as far as the foot is."""
        pointing = np.einsum("tij,j->ti", foot, heading)
        up = np.einsum("tij,j->ti", foot, np.array([0.0, 0.0, 1.0]))
        steep = smoothstep(0.75, 1.0, np.abs(pointing[:, 2]))[:, None]  # then the instep says where it points
        ahead = (1 - steep) * pointing - steep * np.sign(pointing[:, 2:]) * up
        angle = np.arctan2(ahead[:, 1], ahead[:, 0]) - np.arctan2(heading[1], heading[0])
        return about(np.array([0.0, 0.0, 1.0]), angle)


def feet(joints: dict[str, np.ndarray], leg: float, fps: float) -> Feet:
    """Of the joints (T, 3) of a motion whose legs are ``leg`` metres long."""
    sides = ("left", "right")
    size = leg / 0.85  # thresholds are those of a leg of 0.85 m
    ankle = np.stack([joints[f"{side}_ankle"] for side in sides], axis=1)  # (T, 2, 3)
    has_toes = all(f"{side}_toe" in joints for side in sides)
    above = (ankle[..., 2] - _floor(ankle[..., 2], USUAL_ANKLE * leg, leg)) / size
    speed = np.linalg.norm(np.gradient(ankle, axis=0) if len(ankle) > 1 else 0 * ankle, axis=-1) * fps / size
    slow = smoothstep(1.6, 0.5, speed)
    slope = USUAL_SLOPE
    vectors: dict[str, np.ndarray | None] = dict.fromkeys(sides)
    if has_toes:
        toe = np.stack([joints[f"{side}_toe"] for side in sides], axis=1)
        toe_above = (toe[..., 2] - _floor(toe[..., 2], 0.02 * leg, leg)) / size
        vectors = {side: toe[:, s] - ankle[:, s] for s, side in enumerate(sides)}
        flat = (above < 0.03) & (toe_above < 0.03)
        if flat.any():
            vector = (toe - ankle)[flat]
            slope = float(np.median(np.arcsin(np.clip(unit(vector)[:, 2], -1, 1))))
        stands = smoothstep(0.06, 0.025, above) * smoothstep(0.06, 0.025, toe_above) * slow
        low = smoothstep(0.08, 0.02, toe_above)
        clearance = np.minimum(above, toe_above).min(axis=1)
    else:
        stands = smoothstep(0.12, 0.02, above) * np.maximum(slow, smoothstep(0.05, 0.01, above))
        low = smoothstep(0.2, 0.05, above)
        clearance = above.min(axis=1) - 0.06  # the heel leaves the floor that much before the toes do
    stands = gaussian_filter1d(stands, 0.04 * fps, axis=0, mode="nearest")
    low = gaussian_filter1d(low, 0.03 * fps, axis=0, mode="nearest")
    return Feet(
        vectors=vectors,
        slope=slope,
        stands={side: stands[:, s] for s, side in enumerate(sides)},
        low={side: low[:, s] for s, side in enumerate(sides)},
        clearance=np.maximum(clearance, 0.0) * size,
    )


def _floor(heights: np.ndarray, usual: float, leg: float) -> float:
    """The height of a joint when the foot stands: the lowest it often is, unless it never comes down."""
    lowest = float(np.percentile(heights.min(axis=1), 5))
    return usual if lowest > usual + 0.15 * leg else lowest
