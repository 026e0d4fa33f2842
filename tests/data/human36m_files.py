"""A tiny Human3.6M download: archives, or the tree they unpack to, of a person who walks in a circle.

``make_raw_h36m(folder)`` writes what the site of Human3.6M gives out, in its own formats (CDF, mp4, tgz) and
names, all of one consistent world: a body of 32 joints that the published cameras look at. Other tests get the
function from the fixture ``raw_h36m_maker``.
"""

from __future__ import annotations

import functools
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

CAMERAS = (54138969, 55011271, 58860488, 60457274)
SIZES = {54138969: (1000, 1002), 55011271: (1000, 1000), 58860488: (1000, 1000), 60457274: (1000, 1002)}


@dataclass
class RawHuman36m:
    """What was made.

    Attributes:
        folder: the datadir.
        bases: the base names of every subject, "Directions 1", "Directions", ….
        world: (subject, base) to (T, 32, 3) float32, mm, z up.
    """

    folder: Path
    bases: tuple[str, ...]
    world: dict[tuple[int, str], np.ndarray] = field(default_factory=dict)


def make_raw_h36m(
    folder: str | Path,
    subjects: Sequence[int] = (1, 9),
    actions: Sequence[str] = ("Directions", "Walking"),
    takes: int = 2,
    frames: int = 12,
    cameras: Sequence[int] = CAMERAS,
    *,
    archives: bool = False,
    videos: bool = True,
    optional: bool = False,
    size: tuple[int, int] | None = None,
    extra_frames: int = 1,
    suffix: str = ".tgz",
) -> RawHuman36m:
    """Write a download of Human3.6M below ``folder``.

    Arguments:
        folder: the datadir; made if missing.
        subjects: their numbers, out of 1, 5, 6, 7, 8, 9, 11.
        actions: as base names begin: "Directions", "Photo", "WalkDog", …. Each is there ``takes`` times, the
            base names being "Directions 1" (subaction 1) and "Directions" (subaction 2).
        takes: 1 or 2.
        frames: T of every take; the motion differs between subjects and takes.
        cameras: which of the four.
        archives: pack it into folder/archives/*.tgz; otherwise folder/extracted/S1/….
        videos: write the mp4 files; frame t (from 0) is plain gray of level ``gray_level(t)``.
        optional: write Poses_D3_Positions (world) and Poses_D2_Positions (pixels) too.
        size: (width, height) of the videos; None: as published, 1000x1002 or 1000x1000.
        extra_frames: how many frames the videos are longer than the poses, as the published ones are.
        suffix: of the archives.

    Returns:
        The folder and the world positions.
    """
    from bdsynth.datasets.human36m import camera as published_camera

    folder = Path(folder)
    bases = tuple(f"{action}{number}" for action in actions for number in (" 1", "")[:takes])
    made = RawHuman36m(folder, bases)
    for subject in subjects:
        for row, base in enumerate(bases):
            world = walking_person(frames, seed=100 * subject + row)
            made.world[subject, base] = world
            tree: dict[str, np.ndarray] = {}
            if optional:
                tree[f"Poses_D3_Positions/{base}.cdf"] = world
            for number in cameras:
                view = published_camera(subject, number)
                meters = world.astype(np.float64) / 1000
                seen = view.to_camera(meters) * 1000
                tree[f"Poses_D3_Positions_mono_universal/{base}.{number}.cdf"] = seen
                if optional:
                    tree[f"Poses_D2_Positions/{base}.{number}.cdf"] = view.project(meters)
            place = folder / "extracted" / f"S{subject}"
            for name, pose in tree.items():
                write_cdf_pose(place / name, pose)
            if videos:
                for number in cameras:
                    path = place / "Videos" / f"{base}.{number}.mp4"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(video_bytes(frames + extra_frames, size or SIZES[number]))
    if archives:
        pack(folder, suffix)
    return made


def pack(folder: Path, suffix: str = ".tgz") -> None:
    """folder/extracted/S1/Videos to folder/archives/Videos_S1.tgz, whose members begin with S1/Videos/."""
    (folder / "archives").mkdir(exist_ok=True)
    for part in sorted((folder / "extracted").glob("*/*")):
        with tarfile.open(folder / "archives" / f"{part.name}_{part.parent.name}{suffix}", "w:gz") as file:
            file.add(part, f"{part.parent.name}/{part.name}")
    for path in sorted((folder / "extracted").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (folder / "extracted").rmdir()


# --- Files -------------------------------------------------------------------------------------------------


def write_cdf_pose(path: Path, pose: np.ndarray, variable: str = "Pose") -> None:
    """(T, 32, D) to a CDF file as Human3.6M has them: one variable of shape (1, T, 32 D)."""
    from cdflib.cdfwrite import CDF

    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # the writer refuses an existing file
    flat = np.asarray(pose, dtype=np.float32).reshape(len(pose), -1)
    file = CDF(str(path), cdf_spec={"Compressed": 6})
    spec = {
        "Variable": variable, "Data_Type": 44, "Num_Elements": 1, "Rec_Vary": True, "Dim_Sizes": list(flat.shape)
    }  # fmt: skip
    file.write_var(spec, var_data=flat[None])
    file.close()


def gray_level(frame: int) -> int:
    """Of every pixel of a frame, counted from 0."""
    return 30 + 15 * (frame % 13)


@functools.cache
def video_bytes(frames: int, size: tuple[int, int]) -> bytes:
    """An mp4 (H.264, 50 fps) of plain gray frames."""
    import imageio_ffmpeg

    width, height = size
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "video.mp4"
        encoder = imageio_ffmpeg.write_frames(
            str(path), size, fps=50, codec="libx264", pix_fmt_out="yuv420p", macro_block_size=2,
            ffmpeg_log_level="error", output_params=["-preset", "ultrafast", "-crf", "10", "-threads", "1"],
        )  # fmt: skip
        encoder.send(None)
        for t in range(frames):
            encoder.send(np.full((height, width, 3), gray_level(t), dtype=np.uint8))
        encoder.close()
        return path.read_bytes()


# --- The person --------------------------------------------------------------------------------------------


def walking_person(frames: int, seed: int = 0, fps: float = 50.0) -> np.ndarray:
    """A person of 1.7 m who walks in a circle around the origin, (T, 32, 3) float32, mm, z up.

    Bones keep their lengths; the joints that Human3.6M has twice (11 = 0, 16 = 24 = 13, 20 = 19, 28 = 27) are
    the same here.
    """
    rng = np.random.default_rng(seed)
    radius, speed = rng.uniform(500, 900), rng.uniform(800, 1200)  # mm, mm/s
    start, turn = rng.uniform(0, 2 * np.pi), rng.choice([-1, 1])
    t = np.arange(frames) / fps
    around = start + turn * speed / radius * t
    stride = 2 * np.pi * 0.9 * t + rng.uniform(0, 2 * np.pi)  # 0.9 double steps per second

    # In the body's own frame: x ahead, y left, z up; limbs swing in the plane of x and z.
    def bone(length: float, angle: np.ndarray) -> np.ndarray:
        """Hanging down, swung ahead by an angle, (T, 3)."""
        return length * np.stack([np.sin(angle), 0 * angle, -np.cos(angle)], axis=-1)

    def fixed(x: float, y: float, z: float) -> np.ndarray:
        return np.tile((x, y, z), (frames, 1)).astype(float)

    p = np.zeros((frames, 32, 3))
    p[:, 0, 2] = 930 + 15 * np.cos(2 * stride)
    p[:, 11] = p[:, 0]
    p[:, 12] = p[:, 0] + fixed(10, 0, 230)
    p[:, 13] = p[:, 12] + fixed(0, 0, 250)
    p[:, 14] = p[:, 13] + fixed(60, 0, 100)
    p[:, 15] = p[:, 14] + fixed(-30, 0, 140)
    for hip, side, phase in ((1, -1, 0.0), (6, 1, np.pi)):  # right, left
        thigh = 0.45 * np.sin(stride + phase)
        shank = thigh - 0.35 * (1 + np.sin(stride + phase - 1.2))
        p[:, hip] = p[:, 0] + fixed(0, 130 * side, 0)
        p[:, hip + 1] = p[:, hip] + bone(440, thigh)
        p[:, hip + 2] = p[:, hip + 1] + bone(420, shank)
        p[:, hip + 3] = p[:, hip + 2] + bone(150, shank + 1.3)
        p[:, hip + 4] = p[:, hip + 3] + bone(70, shank + 1.5)
    for shoulder, side, phase in ((24, -1, np.pi), (16, 1, 0.0)):  # right, left: against the legs
        upper = 0.4 * np.sin(stride + phase)
        lower = upper + 0.4 + 0.2 * np.sin(stride + phase)
        p[:, shoulder] = p[:, 13]
        p[:, shoulder + 1] = p[:, 13] + fixed(0, 170 * side, -20)
        p[:, shoulder + 2] = p[:, shoulder + 1] + bone(280, upper)
        p[:, shoulder + 3] = p[:, shoulder + 2] + bone(250, lower)
        p[:, shoulder + 4] = p[:, shoulder + 3]
        p[:, shoulder + 5] = p[:, shoulder + 3] + bone(60, lower + 0.5)
        p[:, shoulder + 6] = p[:, shoulder + 3] + bone(100, lower)
        p[:, shoulder + 7] = p[:, shoulder + 6]

    heading = around + turn * np.pi / 2
    ahead = np.stack([np.cos(heading), np.sin(heading), 0 * heading], axis=-1)[:, None]
    left = np.stack([-np.sin(heading), np.cos(heading), 0 * heading], axis=-1)[:, None]
    place = radius * np.stack([np.cos(around), np.sin(around), 0 * around], axis=-1)[:, None]
    world = place + p[..., :1] * ahead + p[..., 1:2] * left + p[..., 2:] * (0.0, 0.0, 1.0)
    return world.astype(np.float32)
