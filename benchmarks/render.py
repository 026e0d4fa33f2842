"""How fast and in how much memory a person is rendered: ``python benchmarks/render.py``.

The naive way, once the stickman of a frame is there, is one call of the net a frame, which reads the person's
appearance anew each time. Weights are random, of the published size: what they are does not change the time. Both
ways draw the stickmen of one clip and give pictures of bytes; they take turns, and the fastest run of each counts.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from bdsynth.appearance.figure import as_body, joints_in_picture
from bdsynth.appearance.framing import place_camera
from bdsynth.appearance.model import AppearanceModel
from bdsynth.appearance.network import ShapePostureNet, Sizes
from bdsynth.appearance.people import Person, appearance_input
from bdsynth.appearance.render import PRECISIONS, render
from bdsynth.datasets.stickman import draw_stickmen
from bdsynth.formats.read import read_motion
from bdsynth.motion import Motion

CLIP = Path(__file__).parent.parent / "bdsynth" / "assets" / "clips" / "cmu_walking.npz"
INPUTS = {"picture": False, "part crops": True}


def scene(inplane: bool, size: int, device: str) -> tuple[AppearanceModel, Motion, Person]:
    torch.manual_seed(0)
    net = ShapePostureNet(Sizes.of(size, inplane=inplane))
    model = AppearanceModel(net, "human36m", "random weights").to(device).frozen()
    body = as_body(read_motion(CLIP))
    camera, _ = place_camera(body.slice(0, 1), "front", size)
    picture = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    joints = joints_in_picture(body.positions[:1], camera, model.joint_model)[0]
    return model, body, Person(picture, joints, body.skeleton, framed=True)


@torch.no_grad()
def naive(motion: Motion, person: Person, model: AppearanceModel) -> Iterator[np.ndarray]:
    """Frame by frame: read the person, draw them."""
    size = model.sizes.spatial_size
    camera, path = place_camera(motion, "follow", size)
    appearance = appearance_input(person, model).to(model.device)
    for positions in motion.positions - path[:, None]:
        joints = joints_in_picture(positions[None], camera, model.joint_model)
        stickman = torch.from_numpy(draw_stickmen(joints, model.joint_model, size, (size, size)))
        stickman = stickman.to(model.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        picture, _ = model.net(appearance, stickman)
        yield ((picture[0].clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()


def endless(make: Callable[[], Iterator[np.ndarray]]) -> Iterator[np.ndarray]:
    while True:
        yield from make()


def speed(args: argparse.Namespace) -> None:
    print(f"{args.size}x{args.size}, {args.device}, {torch.get_num_threads()} threads; ms a frame")
    print(f"{'appearance from':<16}{'naive':>8}" + "".join(f"{p:>12}{'ratio':>7}" for p in PRECISIONS))
    for name, inplane in INPUTS.items():
        model, motion, person = scene(inplane, args.size, args.device)
        ways = {"naive": lambda m=motion, p=person, n=model: naive(m, p, n)}
        for precision in PRECISIONS:
            ways[precision] = lambda m=motion, p=person, n=model, how=precision: render(
                m, p, model=n, camera="follow", fit_proportions=False, precision=how
            )
        running = {way: endless(make) for way, make in ways.items()}
        for frames in running.values():
            next(frames)  # preparations are not of a frame
        best = dict.fromkeys(ways, np.inf)
        for _ in range(args.repeats):
            for way, frames in running.items():
                start = time.perf_counter()
                for _ in range(args.frames):
                    next(frames)
                best[way] = min(best[way], 1000 * (time.perf_counter() - start) / args.frames)
        rest = "".join(f"{best[p]:>12.1f}{best[p] / best['naive']:>7.2f}" for p in PRECISIONS)
        print(f"{name:<16}{best['naive']:>8.1f}{rest}")


def memory(args: argparse.Namespace) -> None:
    """Each length in a process of its own, for its peak."""
    for frames in args.memory:
        command = [sys.executable, __file__, "--peak", str(frames), "--memory-size", str(args.memory_size)]
        peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        print(f"peak memory of {frames} frames at {args.memory_size}x{args.memory_size}: {float(peak):.0f} MB")


def peak(frames: int, size: int) -> None:
    model, motion, person = scene(False, size, "cpu")
    turns = np.arange(frames) % motion.n_frames
    drawn = render(motion.with_positions(motion.positions[turns]), person, model=model, camera="follow")
    assert sum(1 for _ in drawn) == frames
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256, help="width and height of the pictures")
    parser.add_argument("--frames", type=int, default=4, help="that one run draws")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="cpu or cuda:0")
    parser.add_argument("--memory", type=int, nargs="*", default=[50, 500], help="measure it for so many frames")
    parser.add_argument("--memory-size", type=int, default=256, help="width and height of their pictures")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        peak(args.peak, args.memory_size)
        return
    speed(args)
    memory(args)


if __name__ == "__main__":
    main()
