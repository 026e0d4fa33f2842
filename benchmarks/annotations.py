"""How fast an annotation file as large as Human3.6M's opens: ``python benchmarks/annotations.py``.

Writes one of 2.1 million rows in a temporary folder (about 1 GB; world positions move, the other columns
stand still and compress to little), and then opens it in processes of their own, whose memory is told.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bdsynth.datasets.human36m import ACTIONS, CAMERA_IDS, SUBJECTS
from bdsynth.formats.h36m_annotations_writer import VideoRows, write_annotations

WORK = {
    "import h5py and numpy": "",
    "open the file": "AnnotationFile.open(path)",
    "64 rows anywhere, 17 joints": "f.take('keypoints_3d_world', rng.integers(len(f), size=64), JOINTS_17)",
    "all motions (open_human36m)": "open_human36m(path)",
}
PROCESS = """
import resource, sys, time
import numpy as np, h5py
from bdsynth.datasets.human36m import JOINTS_17, open_human36m
from bdsynth.formats.h36m_annotations import AnnotationFile
path, rng = sys.argv[1], np.random.default_rng(0)
{before}
start = time.perf_counter()
{work}
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def videos(frames: int) -> Iterator[VideoRows]:
    rng = np.random.default_rng(0)
    moving = rng.normal(scale=5, size=(frames, 32, 3)).cumsum(0)
    still = np.zeros((frames, 32, 3))
    for subject in SUBJECTS:
        for action in ACTIONS:
            for subaction in (1, 2):
                for camera in CAMERA_IDS:
                    folder = f"processed/all/S{subject}/{ACTIONS[action]}-{subaction}/imageSequence/{camera}"
                    yield VideoRows(
                        subject, action, subaction, camera,
                        [f"{folder}/img_{t:06d}.jpg" for t in range(1, frames + 1)], (1000, 1002),
                        np.ones(4), np.ones((3, 4)), still[..., :2], moving, still, still,
                    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=2500, help="of each of the 840 videos")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bdsynth-annotations-") as folder:
        path = Path(folder) / "annot_export.h5"
        start = time.perf_counter()
        n_rows = write_annotations(path, videos(args.frames))
        print(f"{n_rows} rows, {path.stat().st_size / 1e6:.0f} MB, written in {time.perf_counter() - start:.0f} s")
        print(f"{'':32} {'seconds':>8} {'peak MB':>8}")
        for name, work in WORK.items():
            before = "f = AnnotationFile.open(path)" if "f.take" in work else ""
            code = PROCESS.format(before=before, work=work)
            done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
            seconds, memory = map(float, done.stdout.split())
            print(f"{name:32} {seconds:8.2f} {memory:8.0f}")


if __name__ == "__main__":
    main()
