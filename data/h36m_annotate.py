"""Human3.6M: ``annot_export.h5`` from the download itself, for those who do not have the authors' file.

The download always has ``Poses_D3_Positions_mono_universal``: poses as a camera sees them, of a body whose limbs
have the same lengths for everybody. World positions come from ``Poses_D3_Positions`` (the person's own limbs)
where the user has them too, else the universal poses are taken back to the world by the published cameras.
Joints in pixels come from ``Poses_D2_Positions``, else world positions are projected.
"""

from __future__ import annotations

__all__ = ["make_annotations"]

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bdsynth.camera import Camera
from bdsynth.datasets.human36m import camera
from bdsynth.errors import InputError
from bdsynth.formats.cdf import read_cdf_pose
from bdsynth.formats.h36m_annotations_writer import VideoRows, write_annotations
from data.h36m_views import View

# Where joints in pixels and in space disagree by more (median), one of them is of another camera or take. The
# universal body's limbs differ from the person's by some centimetres, and a centimetre is about 2 pixels.
MOST_PIXELS, MOST_PIXELS_UNIVERSAL = 5.0, 25.0


def make_annotations(
    datadir: str | Path, views: Sequence[View], sizes: Mapping[View, tuple[int, int]], output: str | Path
) -> list[str]:
    """Write the annotation file, view by view, whole or not at all.

    Arguments:
        datadir: the root of Human3.6M; paths of pictures in the file are relative to it.
        views: what to take, in the order of the rows.
        sizes: (width, height) of the pictures of a view; of those it lacks, the published size.
        output: the file to write.

    Returns:
        One line for every view that was left out as bad, or whose joints in pixels and in space disagree, and
        a last one that says what was written.

    Raises:
        InputError: every view is bad, or the file cannot be written.
    """
    lines: list[str] = []
    poses = _Poses(lines)
    n_rows = write_annotations(output, poses.read(Path(datadir), views, sizes))
    lines.append(f"{output}: {n_rows} rows of {poses.n_good} views; {poses.summary()}")
    return lines


class _Poses:
    """Reads views one after another and keeps count."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.n_good = self.n_measured = self.n_universal = 0
        self.errors: list[float] = []

    def read(
        self, datadir: Path, views: Sequence[View], sizes: Mapping[View, tuple[int, int]]
    ) -> Iterator[VideoRows]:
        from tqdm import tqdm

        bad = []
        for view in tqdm(views, desc="annotations", unit="view", disable=not sys.stderr.isatty(), leave=False):
            try:
                video = self._read_view(view, sizes.get(view))
            except InputError as error:
                bad.append(f"left out: {view.name}: {error}")
                self.lines.append(bad[-1])
                continue
            self.n_good += 1
            yield video
        if bad and not self.n_good:
            raise InputError("\n".join([*bad, f"{datadir}: no view is left for the annotation file"]))

    def _read_view(self, view: View, size: tuple[int, int] | None) -> VideoRows:
        lens = camera(view.subject, view.camera)
        joints = _read_joints(view, lens)
        error, limit = joints.disagreement(lens)
        if error is not None:
            self.errors.append(error)
            if error > limit:
                self.lines.append(
                    f"{view.name}: joints in pixels and in space disagree by {error:.1f} px (median, expected "
                    f"at most {limit:g}); is it another camera's or take's?"
                )
        self.n_universal += not joints.own_limbs
        self.n_measured += joints.measured
        extrinsics = np.concatenate([lens.rotation, 1000 * lens.translation[:, None]], axis=1)  # (3, 4) mm
        return VideoRows(
            subject=view.subject,
            action=view.action,
            subaction=view.subaction,
            camera=view.camera,
            image_paths=[f"{view.frames.as_posix()}/img_{t:06d}.jpg" for t in range(1, len(joints.world) + 1)],
            image_size=size or (lens.width, lens.height),
            intrinsics=fit_intrinsics(joints.pixels, joints.universal, lens),
            extrinsics=extrinsics,
            pixels=joints.pixels,
            world=joints.world,
            camera_space=1000 * lens.to_camera(joints.world / 1000),
            universal=joints.universal,
        )

    def summary(self) -> str:
        """Where the numbers came from, and how well they agree."""
        texts = [
            f"world positions of {self.n_good - self.n_universal} from Poses_D3_Positions, of {self.n_universal} "
            "from the universal poses",
            f"pixels of {self.n_measured} from Poses_D2_Positions, of {self.n_good - self.n_measured} projected",
        ]
        if self.errors:
            texts.append(f"they disagree by {np.median(self.errors):.2f} px (median of {len(self.errors)} views)")
        return "; ".join(texts)


@dataclass(frozen=True, eq=False)
class _Joints:
    """Of one view: world and universal (T, 32, 3) mm, pixels (T, 32, 2), and whether these were in files."""

    world: np.ndarray
    universal: np.ndarray
    pixels: np.ndarray
    own_limbs: bool  # world is Poses_D3_Positions
    measured: bool  # pixels are Poses_D2_Positions

    def disagreement(self, lens: Camera) -> tuple[float | None, float]:
        """Median distance in pixels of what comes from different files (None if all comes from one), and the
        most that is to be expected."""
        found, limit = [], MOST_PIXELS
        if self.measured:
            found.append(lens.project(self.world / 1000))
        if self.own_limbs:
            found.append(lens.project(lens.to_world(self.universal / 1000)))
        if not found:
            return None, limit
        errors = [float(np.nanmedian(np.linalg.norm(seen - self.pixels, axis=-1))) for seen in found]
        limits = [MOST_PIXELS if self.measured and self.own_limbs else MOST_PIXELS_UNIVERSAL]
        limits += [MOST_PIXELS_UNIVERSAL] * (len(errors) - 1)
        worst = max(range(len(errors)), key=lambda i: errors[i] / limits[i])
        return errors[worst], limits[worst]


def _read_joints(view: View, lens: Camera) -> _Joints:
    if view.universal is None:
        raise InputError("has no Poses_D3_Positions_mono_universal")
    universal = _read(view.universal, 3).astype(np.float64)
    if view.world is not None:
        world = _read(view.world, 3, len(universal)).astype(np.float64)
    else:
        world = 1000 * lens.to_world(universal / 1000)
    if view.pixels is not None:
        pixels = _read(view.pixels, 2, len(universal)).astype(np.float64)
    else:
        pixels = lens.project(world / 1000)
        if not np.isfinite(pixels).all():
            raise InputError("a joint is behind the camera")
    return _Joints(world, universal, pixels, view.world is not None, view.pixels is not None)


def _read(path: Path, dims: int, n_frames: int | None = None) -> np.ndarray:
    pose = read_cdf_pose(path)
    if pose.shape[-1] != dims:
        raise InputError(f"{path}: has {pose.shape[-1]} numbers a joint, expected {dims}")
    if n_frames not in (None, len(pose)):
        raise InputError(f"{path}: has {len(pose)} frames, the universal poses have {n_frames}")
    return pose


def fit_intrinsics(pixels: np.ndarray, points: np.ndarray, lens: Camera) -> np.ndarray:
    """The linear camera that explains a video best: u Z = fx X + x0 Z and v Z = fy Y + y0 Z, least squares.

    Arguments:
        pixels: (T, 32, 2).
        points: (T, 32, 3) in the camera, any unit.
        lens: its own focal lengths and center are taken where the joints do not determine any.

    Returns:
        (4,) fx, x0, fy, y0 in pixels (behavior specification 2.1).
    """
    points, pixels = points.reshape(-1, 3), pixels.reshape(-1, 2)
    depth = points[:, 2]
    found = []
    for axis in (0, 1):
        matrix = np.stack([points[:, axis], depth], axis=1)  # (n, 2)
        solution, _, rank, scale = np.linalg.lstsq(matrix, pixels[:, axis] * depth, rcond=None)
        if rank < 2 or scale[1] < 1e-4 * scale[0] or solution[0] <= 0:
            return np.array([lens.fx, lens.cx, lens.fy, lens.cy])
        found += solution.tolist()
    return np.array(found)
