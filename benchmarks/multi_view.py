"""How well one person is seen by several calibrated cameras, and lifted from each of them alone.

Films of the same time, one a camera, go through ``bdsynth detect CAMERA.mp4 -o CAMERA.json``; then
``python benchmarks/multi_view.py CAMERA1.json CAMERA2.json … --calibration Calib.qca.txt --fps 60``.

Nobody measured where the joints really are. But bones keep their lengths: the spread of a bone's length over the
frames, in percent of its mean, is noise of the triangulation. What is lifted from a single view is compared with
the triangulated motion after Procrustes alignment of every frame (P-MPJPE, millimetres), on shoulders, elbows,
wrists, hips, knees and ankles in the frames that have all of them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from bdsynth.errors import InputError
from bdsynth.formats.people import choose_people, read_people
from bdsynth.learning.atomic import atomic_write
from bdsynth.lifting.lift import lift
from bdsynth.lifting.metrics import p_mpjpe
from bdsynth.motion import Motion
from bdsynth.perception.calibration import read_calibration
from bdsynth.perception.matching import from_first_frame
from bdsynth.perception.triangulation import reprojection_errors, triangulate

BONES = {"shin": ("knee", "ankle"), "thigh": ("hip", "knee"), "forearm": ("elbow", "wrist")}
JOINTS = [f"{side}_{joint}" for side in ("left", "right")
          for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")]  # fmt: skip


def bone_lengths(motion: Motion, side: str, bone: str) -> np.ndarray:
    """(N,) metres, in the frames that have both ends."""
    ends = [motion.skeleton.index(f"{side}_{joint}") for joint in BONES[bone]]
    points = motion.positions[(motion.confidence[:, ends] > 0).all(1)][:, ends]
    return np.linalg.norm(points[:, 0] - points[:, 1], axis=-1)


def lifting_error(lifted: Motion, start: int, truth: Motion) -> tuple[float, int]:
    """P-MPJPE in millimetres, and of how many frames."""
    joints = [truth.skeleton.index(joint) for joint in JOINTS]
    stop = min(truth.n_frames, start + lifted.n_frames)
    frames = np.arange(start, stop)[(truth.confidence[start:stop][:, joints] > 0).all(1)]
    found = lifted.positions[:, [lifted.skeleton.index(joint) for joint in JOINTS]][frames - start]
    return 1000 * p_mpjpe(found, truth.positions[frames][:, joints]), len(frames)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("views", nargs="+", help="keypoints, named as their cameras are")
    parser.add_argument("--calibration", required=True)
    parser.add_argument("--fps", type=float, default=60.0)
    parser.add_argument("--max-error", type=float, default=40.0)
    parser.add_argument("--json", help="also write the numbers to a file")
    args = parser.parse_args()
    cameras = read_calibration(args.calibration)
    people = {}
    for path in args.views:
        (name,) = [camera for camera in cameras if camera in Path(path).stem]
        (people[name],) = choose_people(read_people(path, args.fps), "longest").values()
    views = {name: from_first_frame(person) for name, person in people.items()}
    motion = triangulate(views, cameras, max_error=args.max_error)
    found = 100 * float((motion.confidence > 0).mean())
    numbers: dict = {"frames": motion.n_frames, "joints found (%)": found, "bones": {}, "views": {}}
    print(f"{motion.n_frames} frames, {found:.1f} % of the joints found\n")

    print("bone      side    mean (mm)  spread (%)")
    for bone in BONES:
        for side in ("left", "right"):
            length = 1000 * bone_lengths(motion, side, bone)
            spread = 100 * length.std() / length.mean()
            numbers["bones"][f"{side} {bone}"] = {"mean": float(length.mean()), "spread": float(spread)}
            print(f"{bone:8}  {side:6}  {length.mean():9.1f}  {spread:10.2f}")

    print("\nview      reprojection (px): median  90 %   lifted alone (P-MPJPE, mm)   frames")
    for name, off in reprojection_errors(motion, views, cameras).items():
        median, high = np.nanpercentile(off, [50, 90])
        lifted = lift(people[name].motion, size=(cameras[name].width, cameras[name].height))
        error, n = lifting_error(lifted, people[name].start, motion)
        numbers["views"][name] = {"median": float(median), "90 %": float(high), "P-MPJPE": error, "frames": n}
        print(f"{name:8}  {median:26.2f}  {high:5.1f}  {error:27.1f}  {n:7d}")
    if args.json:
        atomic_write(args.json, json.dumps(numbers, indent=2))


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        raise SystemExit(f"multi_view: {error}") from None
