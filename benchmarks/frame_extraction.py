"""Whether ``python -m data.process`` is as fast as ffmpeg: ``python -m benchmarks.frame_extraction``.

Synthetic videos in the size of Human3.6M's are extracted twice, as many at a time as there are cores: by bare
ffmpeg commands, and by data.process with all that it does besides (reading pose files, checking, renaming). Both
run alternately, and the best of some runs counts; the processor time shows the cost where other work disturbs.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from bdsynth.datasets.human36m import CAMERA_IDS
from data.frames import frames_in
from data.h36m_views import find_views
from data.jobs import cores
from data.process import process


def write_video(path: Path, frames: int, seed: int) -> None:
    """1000x1002 at 50 fps: a grainy wall, and a bright square that moves in front of it."""
    rng = np.random.default_rng(seed)
    background = rng.integers(60, 120, (126, 125, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)[:1002]
    encoder = imageio_ffmpeg.write_frames(
        str(path), (1000, 1002), fps=50, codec="libx264", pix_fmt_out="yuv420p", macro_block_size=2,
        ffmpeg_log_level="error", output_params=["-preset", "veryfast", "-b:v", "3M"],
    )  # fmt: skip
    encoder.send(None)
    for t in range(frames):
        picture = background + rng.integers(0, 9, (1002, 1, 3), dtype=np.uint8)  # the grain of every frame
        x = (3 * t + 100 * seed) % 700
        picture[300:700, x : x + 200] = 230
        encoder.send(picture)
    encoder.close()


def write_download(datadir: Path, videos: int, frames: int) -> None:
    from cdflib.cdfwrite import CDF

    pose = np.random.default_rng(0).normal(0, 500, (frames, 96)).astype(np.float32)
    pose[:, 2::3] += 5000  # in front of the camera
    parts = [datadir / "extracted/S1" / part for part in ("Poses_D3_Positions_mono_universal", "Videos")]
    for part in parts:
        part.mkdir(parents=True)
    for n in range(videos):
        name = f"{('Directions 1', 'Directions', 'Eating 1', 'Eating')[n // 4 % 4]}.{CAMERA_IDS[n % 4]}"
        file = CDF(str(parts[0] / f"{name}.cdf"), cdf_spec={"Compressed": 6})
        spec = {"Variable": "Pose", "Data_Type": 44, "Num_Elements": 1, "Rec_Vary": True}
        spec["Dim_Sizes"] = [frames, 96]
        file.write_var(spec, var_data=pose[None])
        file.close()
        write_video(parts[1] / f"{name}.mp4", frames, n)


def bare(datadir: Path, jobs: int) -> None:
    """Nothing but ffmpeg."""
    views, _ = find_views(datadir)

    def one(view) -> None:
        folder = datadir / view.frames
        folder.mkdir(parents=True)
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-threads", "1"]
        command += ["-i", str(view.video), "-qscale:v", "3", "-threads", "1", str(folder / "img_%06d.jpg")]
        subprocess.run(command, check=True)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, views))


def with_process(datadir: Path, jobs: int) -> None:
    # Their own annotation file stands there: frames only are measured.
    annotations = datadir / "processed/all/annot_export.h5"
    annotations.parent.mkdir(parents=True)
    annotations.touch()
    process(datadir, jobs=jobs, say=lambda line: None)


def measure(
    work: Callable[[Path, int], None], datadir: Path, jobs: int, videos: int, frames: int
) -> tuple[float, float]:
    """Seconds on the clock, and of the processor (all cores, ffmpeg included)."""
    shutil.rmtree(datadir / "processed", ignore_errors=True)
    before, start = os.times(), time.perf_counter()
    work(datadir, jobs)
    clock, after = time.perf_counter() - start, os.times()
    done = [frames_in(datadir / view.frames) for view in find_views(datadir)[0] if view.video]
    assert done == [frames] * videos, done
    return clock, sum(after[:4]) - sum(before[:4])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.frame_extraction", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--videos", type=int, default=6, choices=range(1, 17), metavar="1..16")
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--jobs", type=int, default=cores())
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    works = {"ffmpeg alone": bare, "data.process": with_process}
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    with tempfile.TemporaryDirectory(prefix="bdsynth-frames-") as scratch:
        datadir = Path(scratch)
        write_download(datadir, args.videos, args.frames)
        size = sum(p.stat().st_size for p in datadir.rglob("*.mp4")) / args.videos
        for _ in range(args.repeats):
            for name, work in works.items():
                runs[name].append(measure(work, datadir, args.jobs, args.videos, args.frames))
    print(f"{args.videos} videos of {args.frames} frames, {size / 1e6:.1f} MB each, {args.jobs} at a time")
    print(f"{'':<14}{'frames/s':>10}{'of ffmpeg':>11}{'processor s':>13}{'of ffmpeg':>11}")
    best = {name: np.min(found, axis=0) for name, found in runs.items()}
    for name, (clock, processor) in best.items():
        rate, (first_clock, first_processor) = args.videos * args.frames / clock, best["ffmpeg alone"]
        print(
            f"{name:<14}{rate:>10.0f}{first_clock / clock:>11.2f}"
            f"{processor:>13.2f}{first_processor / processor:>11.2f}"
        )


if __name__ == "__main__":
    main()
