"""How fast synthetic people are made, stage by stage: ``python benchmarks/synthetic_people.py``.

One core: the ray caster uses no more, and ``OMP_NUM_THREADS=1`` holds NumPy to it. "whole path" is everything
that a picture costs once the actor stands in the studio: poses, bending, normals, rays, shading, copying out.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bdsynth.formats.read import read_motion
from bdsynth.humans.actor import Actor
from bdsynth.humans.clothes import paint
from bdsynth.humans.raycaster import Light, Raycaster, View
from bdsynth.humans.studio import backdrops, cameras, resized
from bdsynth.humans.tailor import dress

CLIP = Path(__file__).parent.parent / "bdsynth" / "assets" / "clips" / "cmu_jumping.npz"


def best_time(work: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of some runs, after one that does not count."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256, help="width and height of the pictures")
    parser.add_argument("--people", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="cpu or cuda:0")
    args = parser.parse_args()
    motion = read_motion(CLIP).resample(50.0)
    rows: dict[str, list[float]] = {}
    rates: dict[str, list[float]] = {}
    for seed in range(args.people):
        actor = Actor.from_seed(seed)
        poses = actor.poses(motion)
        four = [resized(camera, args.size) for camera in cameras(actor.joints(poses), seed)]
        views = [View(camera, image, args.device)
                 for camera, image in zip(four, backdrops(four, "studio", seed), strict=True)]  # fmt: skip
        caster = Raycaster(actor.mesh, actor.texture, args.device)
        bones = poses.bones(slice(None))
        middle = motion.n_frames // 2

        def one_pose(caster=caster, bones=bones, middle=middle) -> None:
            caster.pose(bones[0][middle], bones[1][middle])
            caster.vertices  # noqa: B018 - waits for the device

        stages: dict[str, tuple[Callable[[], object], int]] = {
            "shape": (lambda seed=seed: Actor.from_seed(seed), 1),
            "clothes, geometry": (lambda a=actor: dress(a.body, a.look), 1),
            "clothes, paint": (lambda a=actor: paint(a.body, a.look, a.mesh.vertices), 1),
            "poses of a frame": (lambda a=actor: a.poses(motion), motion.n_frames),
            "bend, normals, refit": (one_pose, 1),
            "rays of a picture": (lambda c=caster, v=views: [c.render(view, Light()) for view in v], 4),
        }
        for name, (work, count) in stages.items():
            rows.setdefault(name, []).append(best_time(work, args.repeats) / count)
        frames = np.linspace(0, motion.n_frames - 1, 40).astype(int)
        for count in (1, 4):
            start = time.perf_counter()
            for _ in actor.film(motion, four[:count], background="studio", frames=frames, device=args.device):
                pass
            rate = len(frames) * count / (time.perf_counter() - start)
            rates.setdefault(f"{count} camera{'s' * (count > 1)}", []).append(rate)
    print(f"{args.people} people, {args.size}x{args.size}, {args.device}, {motion.name}")
    print(f"{'':<24}{'ms':>9}")
    for name, times in rows.items():
        print(f"{name:<24}{1e3 * np.mean(times):>9.2f}")
    print(f"{'whole path':<24}{'images/s':>9}")
    for name, found in rates.items():
        print(f"{name:<24}{np.mean(found):>9.1f}")


if __name__ == "__main__":
    main()
