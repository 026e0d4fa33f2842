"""How fast picture batches are made on one core: ``python benchmarks/image_batches.py``.

Beside ImageSet stands a reference that works as the original loader is described (behavior specification, 2.7
to 2.11): sample by sample; every use of a picture reads it again; ten crops are warped and turned into tensors
one by one. Its warps and lines are those of OpenCV where that can be imported, otherwise Pillow's, which also
are compiled code. Both make the same batches of the same JPEG pictures, and take turns.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from bdsynth.datasets.image_batches import ImageSet
from bdsynth.datasets.images import IndexPictures, read_pictures
from bdsynth.datasets.parts import crop_parts, part_matrices
from bdsynth.datasets.stickman import draw_stickmen
from bdsynth.formats.people_index import PeopleIndex

SIZE, REGRESSOR = 256, 5
PAD = 64  # pixels around a picture for Pillow, which knows no repeated border
STANDING = np.array([
    (.50, .12), (.50, .24), (.40, .24), (.35, .38), (.31, .51), (.60, .24), (.65, .38), (.69, .51), (.43, .51),
    (.42, .70), (.41, .90), (.57, .51), (.58, .70), (.59, .90), (.48, .10), (.52, .10), (.45, .11), (.55, .11),
])  # fmt: skip


def make_pictures(folder: Path, n: int) -> IndexPictures:
    """JPEG pictures of smooth noise and a few shapes, each with a person's joints."""
    rng = np.random.default_rng(0)
    for i in range(n):
        noise = Image.fromarray(rng.integers(256, size=(24, 24, 3), dtype=np.uint8))
        picture = noise.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(picture)
        for _ in range(12):
            x, y, width, height = rng.integers([0, 0, 10, 10], [SIZE, SIZE, 90, 90]).tolist()
            color = tuple(rng.integers(256, size=3).tolist())
            draw.ellipse((x - width, y - height, x + width, y + height), fill=color)
        grain = rng.normal(scale=4, size=(SIZE, SIZE, 3))
        pixels = np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.jpg", quality=90)
    joints = STANDING + rng.normal(scale=0.02, size=(n, 18, 2))
    index = PeopleIndex(tuple(f"{i}.jpg" for i in range(n)), joints, np.ones(n, bool))
    return IndexPictures(index, folder, "deepfashion")


class Reference:
    """Batches sample by sample, each use of a picture on its own."""

    def __init__(self, pictures: IndexPictures, cv2) -> None:
        self.pictures, self.model, self.cv2 = pictures, pictures.model, cv2
        self.joints = pictures.fractions(np.arange(len(pictures))) * SIZE

    def batch(self, rows: np.ndarray, partners: np.ndarray, rng: np.random.Generator) -> dict:
        samples = [self.sample(int(row), int(partner), rng) for row, partner in zip(rows, partners, strict=True)]
        return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}

    def sample(self, row: int, partner: int, rng: np.random.Generator) -> dict:
        others = [row, *rng.choice(len(self.pictures), REGRESSOR - 1, replace=False).tolist()]
        picture = Image.fromarray(self.read(row)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        return {
            "pose_img": self.tensor(picture),
            "stickman": self.tensor(Image.fromarray(self.stickman(self.joints[row]))),
            "app_img": self.parts(partner),
            "pose_img_inplane": self.parts(row),
            "reg_imgs": torch.stack([self.parts(other) for other in others]),
            "reg_targets": torch.tensor(self.joints[others] / SIZE),
            "keypoints": torch.tensor(self.joints[row] / SIZE),
        }

    def read(self, row: int) -> np.ndarray:
        path = self.pictures.path(row)
        if self.cv2:
            return self.cv2.cvtColor(self.cv2.imread(str(path)), self.cv2.COLOR_BGR2RGB)
        return np.array(Image.open(path).convert("RGB"))

    def tensor(self, picture: Image.Image) -> torch.Tensor:
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().float() / 255 * 2 - 1

    def parts(self, row: int) -> torch.Tensor:
        picture, joints, size = self.read(row), self.joints[row], SIZE // 4
        if not self.cv2:
            padded = Image.fromarray(np.pad(picture, ((PAD, PAD), (PAD, PAD), (0, 0)), mode="edge"))
        crops = []
        for part in self.model.parts:
            source, target = self.corners(joints, part, size)
            if self.cv2:
                matrix = self.cv2.getPerspectiveTransform(source.astype(np.float32), target.astype(np.float32))
                crop = self.cv2.warpPerspective(
                    picture, matrix, (size, size), borderMode=self.cv2.BORDER_REPLICATE
                )
                crop = Image.fromarray(crop)
            else:
                coefficients = homography(target, source + PAD)
                bilinear = Image.Resampling.BILINEAR
                crop = padded.transform((size, size), Image.Transform.PERSPECTIVE, coefficients, bilinear)
            crops.append(self.tensor(crop))
        return torch.cat(crops)

    def corners(self, joints: np.ndarray, part: tuple[int, ...], size: int) -> tuple[np.ndarray, np.ndarray]:
        points = joints[list(part)]
        if len(part) == 4:
            return points, np.array([[0, 0], [size, 0], [size, size], [0, size]])
        target = np.array([[0, 0], [0, size], [size, size], [size, 0]])
        if len(part) == 3:
            below = (points[0] + points[1]) / 2
            above = below + 2 * (points[2] - below)
            axis = below - above
            across = np.array([-axis[1], axis[0]]) / 2
            return np.stack([above - across, below - across, below + across, above + across]), target
        above, below = points
        axis = below - above
        across = np.array([-axis[1], axis[0]]) / 4
        return np.stack([above + across, above - across, below - across, below + across]), target - 1

    def stickman(self, joints: np.ndarray) -> np.ndarray:
        points = [(int(x), int(y)) for x, y in joints]
        middle = tuple(((joints[2] + joints[5]) / 2).astype(int).tolist())
        head = [(middle, points[0]), *((points[a], points[b]) for a, b in self.model.face)]
        lines = {
            1: [(points[a], points[b]) for a, b in self.model.right_lines],
            0: [(points[a], points[b]) for a, b in self.model.left_lines],
        }
        channels = []
        for channel in range(3):
            body = [points[i] for i in self.model.body]
            value = (0, 127, 255)[channel]
            drawn = [*((line, 255) for line in lines.get(channel, ()))]
            drawn += [*((line, 127) for line in head)] if channel < 2 else []
            if self.cv2:
                canvas = np.zeros((SIZE, SIZE), np.uint8)
                self.cv2.fillPoly(canvas, [np.array(body)], value)
                for (start, end), value in drawn:
                    self.cv2.line(canvas, start, end, value, 1)
            else:
                canvas = Image.new("L", (SIZE, SIZE))
                draw = ImageDraw.Draw(canvas)
                draw.polygon(body, fill=value)
                for line, value in drawn:
                    draw.line(line, fill=value)
            channels.append(np.asarray(canvas))
        return np.stack(channels, axis=-1)


def homography(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The eight coefficients that take four points to four others."""
    rows = []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [(x, y, 1, 0, 0, 0, -u * x, -u * y), (0, 0, 0, x, y, 1, -v * x, -v * y)]
    return np.linalg.solve(np.array(rows, dtype=np.float64), target.ravel().astype(np.float64))


def best_times(works: list[Callable[[], object]], repeats: int) -> list[float]:
    """Seconds of the fastest run of each; they take turns, after a first round that does not count."""
    best = [float("inf")] * len(works)
    for turn in range(repeats + 1):
        for i, work in enumerate(works):
            start = time.perf_counter()
            work()
            if turn:
                best[i] = min(best[i], time.perf_counter() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--pictures", type=int, default=64, help="in the folder; the more, the fewer come twice")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--pillow", action="store_true", help="the reference without OpenCV, even if it is there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    try:
        cv2 = None if args.pillow else __import__("cv2")
    except ImportError:
        cv2 = None
    if cv2:
        cv2.setNumThreads(1)

    with tempfile.TemporaryDirectory() as folder:
        pictures = make_pictures(Path(folder), args.pictures)
        images = ImageSet(pictures, "train", SIZE, regressor_images=REGRESSOR)
        reference = Reference(pictures, cv2)
        rng = np.random.default_rng(0)
        batches = images.batches(0, args.batch, steps=100_000 // args.batch)
        rows, partners = batches.rows[: args.batch], batches.partners[: args.batch]
        number = iter(range(len(batches)))
        ours, theirs = best_times(
            [lambda: batches[next(number)], lambda: reference.batch(rows, partners, rng)], args.repeats
        )

        # where our time goes: the steps of one batch on their own
        used = rng.permutation(args.pictures)[:64]
        paths = [pictures.path(int(row)) for row in used]
        arrays, joints = read_pictures(paths), pictures.joints(used)
        own = joints[: args.batch]
        steps = {
            "read": (lambda: read_pictures(paths), len(used)),
            "part crops": (
                lambda: crop_parts(arrays, *part_matrices(joints, pictures.model, SIZE // 4, SIZE), SIZE // 4),
                len(used),
            ),
            "stickman": (lambda: draw_stickmen(own, pictures.model, SIZE, (SIZE, SIZE)), args.batch),
        }
        times = best_times([work for work, _ in steps.values()], args.repeats)

    kind = f"OpenCV {cv2.__version__}" if cv2 else "Pillow"
    print(f"{args.pictures} JPEG of {SIZE} x {SIZE}, ten part crops, {REGRESSOR} regressor images,")
    print(f"batches of {args.batch}, one core")
    print(f"{'ImageSet':<24}{args.batch / ours:>8.1f} samples/s")
    print(f"{f'reference ({kind})':<24}{args.batch / theirs:>8.1f} samples/s")
    print(f"{'ratio':<24}{theirs / ours:>8.2f}")
    print("of ImageSet, per picture:")
    for name, seconds, (_, n) in zip(steps, times, steps.values(), strict=True):
        print(f"  {name:<22}{seconds / n * 1e3:>8.2f} ms")
    n_read = np.mean([_pictures_of(batches, i) for i in range(8)])
    share = n_read * times[0] / len(used) / ours
    print(f"a batch reads {n_read:.0f} pictures: {share:.0%} of its time is decoding")


def _pictures_of(batches, i: int) -> int:
    """How many different pictures batch i needs."""
    part = slice(i * batches.batch_size, (i + 1) * batches.batch_size)
    rng = np.random.default_rng([*batches.key, 2, i])
    regressor = batches.images._regressor_rows(batches.rows[part], rng)
    return len(np.unique(np.concatenate([batches.rows[part], batches.partners[part], regressor.ravel()])))


if __name__ == "__main__":
    main()
