"""Motion: the one currency of bdsynth."""

from __future__ import annotations

__all__ = ["UNITS", "Motion"]

import dataclasses
from dataclasses import dataclass

import numpy as np

from bdsynth.errors import InputError, nearest
from bdsynth.skeletons import Skeleton, convert_positions, get_skeleton

UNITS = ("m", "px", "normalized")
_SLOWEST, _FASTEST = 1e-3, 1e6  # frames per second
_FARTHEST = 1e9  # from the origin, in any unit
_MOST_FRAMES = 10_000_000  # days of motion


@dataclass(frozen=True, eq=False)
class Motion:
    """The joints of one person over time. Immutable; validated on creation.

    Arguments:
        positions: (T, J, 3) in metres, z up, or (T, J, 2) in pixels (y down) or normalized.
        skeleton: what the J joints are.
        fps: frames per second, > 0.
        unit: "m", "px" or "normalized".
        confidence: (T, J) in [0, 1] or None. Zero masks a joint, whose position may then be NaN.
        name: for captions and file names.

    Raises:
        InputError: wrong shape, joint count or unit, no frame, not a positive frame rate, or a position
            that is not finite and not masked.
    """

    positions: np.ndarray
    skeleton: Skeleton
    fps: float
    unit: str = "m"
    confidence: np.ndarray | None = None
    name: str = ""

    def __post_init__(self) -> None:
        who = f"motion '{self.name}'" if self.name else "motion"
        positions = _frozen(self.positions)
        if positions.ndim != 3 or positions.shape[-1] not in (2, 3):
            raise InputError(f"{who}: positions have shape {positions.shape}, expected (T, J, 2 or 3)")
        if positions.shape[0] == 0:
            raise InputError(f"{who}: has no frame")
        if positions.shape[1] != self.skeleton.n_joints:
            raise InputError(
                f"{who}: {positions.shape[1]} joints, but skeleton {self.skeleton.name} has "
                f"{self.skeleton.n_joints}"
            )
        fps = float(self.fps)
        if not _SLOWEST <= fps <= _FASTEST:
            raise InputError(
                f"{who}: fps is {self.fps}, expected a positive number from {_SLOWEST:g} to {_FASTEST:g}"
            )
        if self.unit not in UNITS:
            raise InputError(f"{who}: unit '{self.unit}'{nearest(self.unit, UNITS)}, expected {UNITS}")
        if self.unit == "m" and positions.shape[-1] != 3:
            raise InputError(f"{who}: unit 'm' is for 3D positions, these are 2D")
        seen = np.ones(positions.shape[:2], dtype=bool)
        if self.confidence is not None:
            confidence = _frozen(self.confidence)
            if confidence.shape != positions.shape[:2]:
                raise InputError(
                    f"{who}: confidence has shape {confidence.shape}, expected {positions.shape[:2]}"
                )
            if not ((confidence >= 0) & (confidence <= 1)).all():
                raise InputError(f"{who}: confidence outside [0, 1]")
            object.__setattr__(self, "confidence", confidence)
            seen = confidence > 0
        bad = ~np.isfinite(positions).all(-1) & seen  # (T, J)
        if bad.any():
            t, j = np.argwhere(bad)[0]
            raise InputError(f"{who}: joint {self.skeleton.joints[j]} is not finite in frame {t}")
        far = (np.abs(positions) > _FARTHEST).any(-1) & seen  # squares of them would be infinite
        if far.any():
            t, j = np.argwhere(far)[0]
            raise InputError(
                f"{who}: joint {self.skeleton.joints[j]} is farther away than {_FARTHEST:g} in frame {t}"
            )
        object.__setattr__(self, "positions", positions)
        object.__setattr__(self, "fps", fps)

    def __repr__(self) -> str:
        named = f"'{self.name}', " if self.name else ""
        return (
            f"Motion({named}{self.n_frames} frames, {self.skeleton.name}, {self.fps:g} fps, {self.unit})"
        )

    @property
    def n_frames(self) -> int:
        return self.positions.shape[0]

    @property
    def n_joints(self) -> int:
        return self.positions.shape[1]

    @property
    def dims(self) -> int:
        return self.positions.shape[2]

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the last."""
        return (self.n_frames - 1) / self.fps

    @property
    def seen(self) -> np.ndarray:
        """(T, J) bool: the joints that are not masked."""
        return np.ones(self.positions.shape[:2], bool) if self.confidence is None else self.confidence > 0

    @property
    def is_complete(self) -> bool:
        """No joint of any frame is masked."""
        return bool(self.seen.all())

    def replace(self, **fields) -> Motion:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **fields)

    def with_positions(self, positions: np.ndarray, confidence: np.ndarray | None = None) -> Motion:
        """The same person, skeleton, rate and unit with other positions."""
        return self.replace(positions=positions, confidence=confidence)

    def slice(self, start: int, stop: int) -> Motion:
        """Frames start..stop-1; raises InputError outside the motion."""
        if not 0 <= start < stop <= self.n_frames:
            raise InputError(f"frames {start}:{stop} lie outside motion '{self.name}' of {self.n_frames}")
        confidence = None if self.confidence is None else self.confidence[start:stop]
        return self.with_positions(self.positions[start:stop], confidence)

    def to_skeleton(self, skeleton: Skeleton | str) -> Motion:
        """On another skeleton, by joint name; raises InputError naming the joints that cannot be had."""
        target = get_skeleton(skeleton) if isinstance(skeleton, str) else skeleton
        if target == self.skeleton:
            return self
        positions = convert_positions(self.positions, self.skeleton, target)
        confidence = None
        if self.confidence is not None:  # a joint made of several is as sure as the least of them
            seen = np.where(self.confidence > 0, 1.0, np.nan)[..., None]
            made = np.isfinite(convert_positions(seen, self.skeleton, target))[..., 0]
            mixed = convert_positions(self.confidence[..., None], self.skeleton, target)[..., 0]
            confidence = np.clip(np.where(made, mixed, 0.0), 0.0, 1.0)
        return self.replace(positions=positions, skeleton=target, confidence=confidence)

    def resample(self, fps: float) -> Motion:
        """At another frame rate, from the first frame on.

        Positions come from the cubic spline through the frames (linear below four frames). A new frame
        next to a masked one is masked.

        Raises:
            InputError: fps not positive, or more frames than anybody could want.
        """
        if not _SLOWEST <= fps <= _FASTEST or self.duration * fps > _MOST_FRAMES:
            raise InputError(f"motion '{self.name}': cannot resample to {fps} fps")
        if fps == self.fps or self.n_frames == 1:
            return self.replace(fps=fps)
        from scipy.interpolate import CubicSpline

        old = np.arange(self.n_frames) / self.fps
        new = np.arange(int(np.floor(self.duration * fps + 1e-6)) + 1) / fps
        new = np.minimum(new, old[-1])
        positions, confidence = self.positions.astype(np.float64), None
        if self.confidence is not None:
            below = np.clip(np.floor(new * self.fps + 1e-6).astype(int), 0, self.n_frames - 1)
            above = np.minimum(below + 1, self.n_frames - 1)
            above = np.where(np.abs(new * self.fps - below) < 1e-6, below, above)
            confidence = np.minimum(self.confidence[below], self.confidence[above])
            positions = self.bridged().positions  # only to let a spline pass through
        if self.n_frames >= 4:
            resampled = CubicSpline(old, positions)(new)
        else:
            left = np.clip(np.searchsorted(old, new, side="right") - 1, 0, self.n_frames - 2)
            w = ((new - old[left]) * self.fps)[:, None, None]
            resampled = (1 - w) * positions[left] + w * positions[left + 1]
        return self.replace(positions=resampled, fps=fps, confidence=confidence)

    def bridged(self, hold: bool = False) -> Motion:
        """Every masked joint on the straight line between where it is seen before and after, still masked.

        Where it is not seen before, it stays where it is seen first, and the other way round; one that is never
        seen is at the origin.

        Arguments:
            hold: it stays where it was seen last, in place of the straight line.
        """
        seen, frames = self.seen, np.arange(self.n_frames)
        positions = np.where(seen[..., None], self.positions, 0)
        for j in np.flatnonzero(seen.any(0) & ~seen.all(0)):
            known = np.flatnonzero(seen[:, j])
            x = self.positions[known, j]  # (N, D)
            if hold:
                positions[:, j] = x[np.searchsorted(known, frames, side="right").clip(1) - 1]
            else:
                positions[:, j] = np.stack([np.interp(frames, known, values) for values in x.T], axis=-1)
        return self.with_positions(positions, self.confidence)

    def mirrored(self) -> Motion:
        """Left and right swapped: reflected at x = 0 (3D world) or at the vertical (2D), joints exchanged."""
        swap = list(self.skeleton.mirror)
        positions = self.positions[:, swap] * np.array([-1.0, 1.0, 1.0])[: self.dims]
        return self.with_positions(positions, None if self.confidence is None else self.confidence[:, swap])


def _frozen(values: np.ndarray) -> np.ndarray:
    """A read-only float32 copy."""
    try:
        with np.errstate(over="ignore"):  # becomes infinite, and is named as that
            array = np.array(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"motion: values are not numbers ({error})") from None
    array.flags.writeable = False
    return array
