"""Batches of pictures for the shape-and-posture net (behavior specification 2.7 and 2.11).

A sample is a picture, its stickman, a picture of the same person that says what the person looks like, and
some pictures with their joints for the regressor. A batch is made whole: each picture is read once and taken
apart once, however often the batch uses it. Which samples a batch has and what is drawn for it is a pure
function of (seed, epoch, number of the batch).
"""

from __future__ import annotations

__all__ = ["ImageBatches", "ImageSet"]

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from PIL import Image

from bdsynth.datasets.augmentation import AUGMENTATIONS
from bdsynth.datasets.crops import square_crop
from bdsynth.datasets.images import Pictures, read_pictures
from bdsynth.datasets.parts import crop_each, part_matrices
from bdsynth.datasets.stickman import draw_stickmen
from bdsynth.errors import InputError, nearest

SPLITS = ("train", "test")
SAMPLINGS = ("pid", "none", "body", "full")
PAIRS = ("person", "action", "any", "identity")
DIRECTIONS = 180  # from which the width of a posture is looked at; its outline is then exact to 1e-4


class ImageSet:
    """The samples of one split.

    Arguments:
        pictures: where they come from.
        split: "train" or "test".
        size: S, of the square pictures. Default: the pictures' own.
        box_factor: part crops have the side s = S / 2**box_factor.
        inplane: appearance is given as ten part crops (30 channels) in place of a picture.
        regressor_images: how many pictures with joints each sample has for the regressor: itself and others.
        crop_app: cut the picture of appearance to the square around the person.
        augment: without part crops, also give the picture itself moved about at random.

    Attributes:
        rows: (n,) rows of ``pictures`` that are of the split.

    Raises:
        InputError: an unknown or empty split, options that exclude each other, or fewer pictures than one
            sample needs.
    """

    def __init__(
        self,
        pictures: Pictures,
        split: str = "train",
        size: int | None = None,
        box_factor: int = 2,
        inplane: bool = True,
        regressor_images: int = 0,
        crop_app: bool = False,
        augment: bool = False,
    ) -> None:
        if split not in SPLITS:
            raise InputError(f"no split is named '{split}'{nearest(split, SPLITS)}, expected train or test")
        if inplane and (crop_app or augment):
            raise InputError("crop_app and augment change whole pictures: they need inplane_normalize off")
        if augment and pictures.name not in AUGMENTATIONS:
            raise InputError(f"there is no augmentation for pictures of {pictures.name}")
        self.pictures, self.split = pictures, split
        self.size = pictures.size if size is None else size
        self.part_size = self.size // 2**box_factor
        if self.part_size < 1:
            raise InputError(f"box_factor {box_factor} leaves nothing of pictures of {self.size} pixels")
        self.inplane, self.regressor_images = inplane, regressor_images
        self.crop_app, self.augment = crop_app, augment
        self.rows = np.flatnonzero(getattr(pictures, split))
        if len(self.rows) < max(1, regressor_images):
            raise InputError(
                f"the {split} split of {pictures.name} has {len(self.rows)} pictures, expected at least "
                f"{max(1, regressor_images)}"
            )
        self._weights: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.rows)

    # --- Gathering ---

    def gather(self, rows: np.ndarray, rng: np.random.Generator, partners: np.ndarray) -> dict[str, torch.Tensor]:
        """One batch.

        Arguments:
            rows: (B,) rows of the pictures.
            rng: draws the regressor's other pictures and the augmentation.
            partners: (B,) rows of the pictures that say what the persons look like.

        Returns:
            What :data:`bdsynth.datasets.fields.FIELDS_IMAGES` lists; pictures in [-1, 1].

        Raises:
            InputError: names all pictures that cannot be read.
        """
        rows, partners = np.asarray(rows, dtype=np.int64), np.asarray(partners, dtype=np.int64)
        regressor = self._regressor_rows(rows, rng)  # (B, R)
        used, place = np.unique(np.concatenate([rows, partners, regressor.ravel()]), return_inverse=True)
        own, partner, others = np.split(place, [len(rows), 2 * len(rows)])  # places in `used`
        arrays = read_pictures(self.pictures.path(int(row)) for row in used)
        sizes = np.array([array.shape[1::-1] for array in arrays])  # (U, 2) width, height
        joints = self.pictures.fractions(used) * sizes[:, None]  # (U, K, 2) pixels
        keypoints = torch.from_numpy(self.pictures.keypoints(used)).float()  # (U, K, 2)

        # whole pictures where something shows them whole, one by one
        whole: dict[int, np.ndarray] = {}

        def resized(i: int) -> np.ndarray:
            if i not in whole:
                whole[i] = _resize(arrays[i], self.size)
            return whole[i]

        batch = {
            "pose_img": _to_tensor([resized(i) for i in own]),
            "stickman": _to_tensor(draw_stickmen(joints[own], self.pictures.model, self.size, sizes[own])),
        }
        if self.inplane:
            matrices, valid = part_matrices(joints, self.pictures.model, self.part_size, sizes[:, 1])
            crops = crop_each(arrays, matrices, valid, self.part_size)
            batch["app_img"], batch["pose_img_inplane"], shown = _put(
                crops, [partner, own, others], (3 * len(self.pictures.model.parts), self.part_size, self.part_size)
            )
        elif self.crop_app:
            cropped = [_resize(square_crop(arrays[i], joints[i]), self.size) for i in partner]
            batch["app_img"] = _to_tensor(cropped)
        else:
            batch["app_img"] = _to_tensor([resized(i) for i in partner])
        if self.augment:
            change = AUGMENTATIONS[self.pictures.name]
            batch["pose_img_inplane"] = _to_tensor([change(arrays[i], self.size, rng) for i in own])
        if self.regressor_images:
            shape = len(rows), self.regressor_images
            if not self.inplane:
                shown = _to_tensor([resized(i) for i in others])
            batch["reg_imgs"] = shown.view(*shape, *shown.shape[1:])
            batch["reg_targets"] = keypoints[others].view(*shape, *keypoints.shape[1:])
        batch["keypoints"] = keypoints[own]
        batch["sample_ids"] = torch.from_numpy(rows)[:, None]
        batch["person"] = torch.from_numpy(self.pictures.persons[rows].astype(np.int64))
        return batch

    def _regressor_rows(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(B, R): each row itself, then other rows of the split, none twice."""
        if not self.regressor_images:
            return np.empty((len(rows), 0), dtype=np.int64)
        others = np.empty((len(rows), self.regressor_images), dtype=np.int64)
        for sample, row in enumerate(rows):
            itself = np.searchsorted(self.rows, row)
            drawn = rng.choice(len(self.rows) - 1, size=self.regressor_images - 1, replace=False)
            others[sample] = self.rows[[itself, *np.where(drawn < itself, drawn, drawn + 1)]]
        return others

    # --- Pairing and sampling ---

    def pairs(self, kind: str, rng: np.random.Generator) -> np.ndarray:
        """A partner for every picture of the split, who says what the person looks like.

        Arguments:
            kind: "person", a permutation among each person's pictures; "action", among those of each action;
                "any", among all; "identity", the picture itself (reconstruction).
            rng: of its own; :meth:`batches` makes one from (seed, epoch).

        Returns:
            (n,) rows of the pictures, in the order of ``self.rows``.

        Raises:
            InputError: another kind, or "action" where none is known.
        """
        if kind not in PAIRS:
            raise InputError(f"no pairing is named '{kind}'{nearest(kind, PAIRS)}, expected {', '.join(PAIRS)}")
        if kind == "identity":
            return self.rows.copy()
        if kind == "any":
            return rng.permutation(self.rows)
        labels = self.pictures.persons if kind == "person" else self.pictures.actions
        if labels is None:
            raise InputError(f"pictures of {self.pictures.name} are of no known action, none can be paired by it")
        labels = labels[self.rows]
        order = np.argsort(labels, kind="stable")
        borders = np.flatnonzero(np.diff(labels[order])) + 1
        partners = np.empty(len(self), dtype=np.int64)
        for block in np.split(order, borders):
            partners[block] = self.rows[rng.permutation(block)]
        return partners

    def weights(self, sampling: str) -> np.ndarray:
        """(n,) how likely each picture is drawn: "pid", persons alike; "body" and "full", inversely to the
        length of the outline around the joints of the body or around all that are there."""
        if sampling not in self._weights:
            if sampling == "pid":
                _, person, counts = np.unique(
                    self.pictures.persons[self.rows], return_inverse=True, return_counts=True
                )
                weights = 1.0 / counts[person]
            else:
                body = list(self.pictures.model.body) if sampling == "body" else slice(None)
                weights = 1.0 / np.maximum(_outline(self.pictures.fractions(self.rows)[:, body]), 1e-6)
            self._weights[sampling] = weights / weights.sum()
        return self._weights[sampling]

    def batches(
        self,
        epoch: int,
        batch_size: int = 12,
        seed: int = 42,
        *,
        sampling: str = "pid",
        pairs: str | None = None,
        steps: int | None = None,
        workers: int = 0,
    ) -> ImageBatches:
        """The full batches of one epoch: a pure function of (seed, epoch).

        Arguments:
            epoch: every epoch has another order and other partners.
            batch_size: B, samples a batch.
            seed: of all that is drawn.
            sampling: "none", every picture once; otherwise drawn with replacement, see :meth:`weights`.
            pairs: see :meth:`pairs`. Default: "person" in training; in test "action", or "any" where no
                action is known.
            steps: this many batches in place of as many as there are pictures.
            workers: threads that make the next batches while one is used.

        Raises:
            InputError: an unknown sampling or pairing, or fewer pictures than one batch.
        """
        if sampling not in SAMPLINGS:
            hint = nearest(sampling, SAMPLINGS)
            raise InputError(f"no sampling is named '{sampling}'{hint}, expected {', '.join(SAMPLINGS)}")
        n = len(self)
        if batch_size < 1 or (steps is None and batch_size > n):
            raise InputError(
                f"batches of {batch_size} cannot be made of the {n} {self.split} pictures of {self.pictures.name}"
            )
        order_rng, pair_rng = (np.random.default_rng([seed, epoch, stream]) for stream in (0, 1))
        wanted = (n // batch_size if steps is None else steps) * batch_size
        if sampling == "none":
            rounds = -(-wanted // n)
            order = np.concatenate([order_rng.permutation(n) for _ in range(rounds)])[:wanted]
        else:
            order = order_rng.choice(n, size=wanted, p=self.weights(sampling))
        partners = self.pairs(pairs or self._usual_pairs(), pair_rng)
        return ImageBatches(self, self.rows[order], partners[order], batch_size, (seed, epoch), workers)

    def fixed(
        self,
        batch_size: int = 8,
        seed: int = 42,
        *,
        n: int | None = None,
        pairs: str | None = None,
        workers: int = 0,
    ) -> ImageBatches:
        """The same batches every time, for evaluation: pictures in their order, each once.

        Arguments:
            n: at most so many pictures, evenly over the split. Default: all.
            batch_size, seed, pairs, workers: as in :meth:`batches`; the last batch may be smaller.
        """
        if batch_size < 1:
            raise InputError(f"a batch of {batch_size} pictures cannot be made")
        n = len(self) if n is None else min(n, len(self))
        chosen = np.unique(np.linspace(0, len(self) - 1, n).round().astype(int))
        partners = self.pairs(pairs or self._usual_pairs(), np.random.default_rng([seed, 0, 1]))
        return ImageBatches(self, self.rows[chosen], partners[chosen], batch_size, (seed, 0), workers)

    def _usual_pairs(self) -> str:
        if self.split == "train":
            return "person"
        return "any" if self.pictures.actions is None else "action"


@dataclass(eq=False)
class ImageBatches:
    """Batches by number, from :meth:`ImageSet.batches`; with ``workers`` the next ones are made meanwhile."""

    images: ImageSet
    rows: np.ndarray  # (n,) of the pictures
    partners: np.ndarray  # (n,) of the pictures
    batch_size: int
    key: tuple[int, int]  # seed, epoch
    workers: int = 0
    first: int = 0
    _threads: ThreadPoolExecutor | None = field(default=None, repr=False)
    _coming: dict[int, Future] = field(default_factory=dict, repr=False)
    _last: int | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return max(0, -(-len(self.rows) // self.batch_size) - self.first)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        """Batch i, counted after those skipped. Threads go on in the steps in which batches were asked for."""
        if not 0 <= i < len(self):
            raise IndexError(f"batch {i} of {len(self)}")
        if not self.workers:
            return self._make(i)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="pictures")
        step = max(1, i - self._last) if self._last is not None else 1
        self._last = i
        wanted = range(i, min(len(self), i + (self.workers + 1) * step), step)
        for gone in set(self._coming) - set(wanted):
            self._coming.pop(gone).cancel()
        for number in wanted:
            if number not in self._coming:
                self._coming[number] = self._threads.submit(self._make, number)
        return self._coming.pop(i).result()

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        return (self[i] for i in range(len(self)))

    def skip(self, n: int) -> ImageBatches:
        """The same batches without the next n (nothing is read for them)."""
        return replace(self, first=self.first + n, _threads=None, _coming={}, _last=None)

    def _make(self, i: int) -> dict[str, torch.Tensor]:
        number = self.first + i
        part = slice(number * self.batch_size, (number + 1) * self.batch_size)
        rng = np.random.default_rng([*self.key, 2, number])
        return self.images.gather(self.rows[part], rng, self.partners[part])


def _outline(points: np.ndarray) -> np.ndarray:
    """(n,) perimeters of the convex hulls of points (n, K, 2), those that are not negative.

    By Cauchy's formula: the perimeter is the integral of the width over all directions.
    """
    angles = (np.arange(DIRECTIONS) + 0.5) * np.pi / DIRECTIONS
    directions = np.stack([np.cos(angles), np.sin(angles)])  # (2, D)
    perimeters = [np.zeros(0)]
    for block in np.array_split(points, 1 + len(points) // 2048):
        there = (block >= 0).all(-1, keepdims=True)
        along = np.where(there, block, 0) @ directions  # (n, K, D)
        high = np.where(there, along, -np.inf).max(1, initial=-np.inf)
        low = np.where(there, along, np.inf).min(1, initial=np.inf)
        perimeters.append(np.maximum(high - low, 0).sum(1) * np.pi / DIRECTIONS)
    return np.concatenate(perimeters)


def _put(
    crops: Iterable[torch.Tensor], places: list[np.ndarray], shape: tuple[int, ...]
) -> list[torch.Tensor]:
    """Gray levels of picture 0, 1, ... to everywhere they are wanted, in [-1, 1]; each is written once there.

    Arguments:
        crops: of one picture after the other, of as many numbers as ``shape`` has.
        places: for each result the numbers of the pictures that it holds, (n,).
    """
    results = [torch.empty(len(numbers), *shape) for numbers in places]
    for number, crop in enumerate(crops):
        crop = crop.div_(127.5).sub_(1)
        for result, numbers in zip(results, places, strict=True):
            for i in np.flatnonzero(numbers == number):
                result[i].view(crop.shape).copy_(crop)
    return results


def _resize(picture: np.ndarray, size: int) -> np.ndarray:
    if picture.shape[:2] == (size, size):
        return picture
    return np.array(Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC))


def _to_tensor(pictures: list[np.ndarray] | np.ndarray) -> torch.Tensor:
    """Pictures (B, S, S, 3) uint8 to (B, 3, S, S) float32 in [-1, 1]."""
    return _scale(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous())


def _scale(pictures: torch.Tensor) -> torch.Tensor:
    """(B, ...) uint8 to float32 in [-1, 1]; one by one, so that each stays in the processor's cache."""
    scaled = torch.empty(pictures.shape, dtype=torch.float32)
    for picture, gray in zip(scaled, pictures, strict=True):
        picture.copy_(gray).div_(127.5).sub_(1)
    return scaled
