"""Windows of 2D keypoints with the 3D joints they show, gathered a whole batch at a time.

A network reads a window of ``receptive_field`` frames and is asked for the frame in its middle (its last frame,
if it is causal) or for all of them. Windows that reach beyond their sequence repeat its first or last frame, on
both sides. Of motions in the world a window is projected by a camera that is drawn for it, and its keypoints are
what a detector would make of them, both anew in every epoch.
"""

from __future__ import annotations

__all__ = ["LiftingBatches", "LiftingWindows", "mirrored", "whole_sequence"]

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from bdsynth.datasets.lifting import LiftingData, LiftingSequence, WorldSequence
from bdsynth.datasets.projection import CameraRanges, DetectorNoise, detect, random_cameras
from bdsynth.errors import InputError, nearest
from bdsynth.skeletons import Skeleton

TARGETS = ("center", "all")
SPLITS = ("train", "validation", "test")


class LiftingWindows:
    """All windows of one split.

    Windows are numbered sequence by sequence, in the order of time; with ``mirror`` those of a sequence follow
    once more as mirror images. This is VideoPose3D's order.

    Arguments:
        data: the sequences.
        split: "train", "validation" or "test".
        receptive_field: frames that the network reads for one frame of its output, odd.
        causal: it must not read frames after the one it is asked for.
        stride: frames that one window is asked for; it has receptive_field - 1 + stride frames.
        tds: frames of the sequence from one frame of the window to the next (P-STMO's temporal downsampling).
        target: "center", the ``stride`` frames that the network is asked for, or "all" that it reads.
        mirror: every window also as its mirror image.
        n_random: so many other frames of the sequence come along (Anatomy3D measures bones in them).
        cameras, noise: of motions in the world: how cameras stand, and what the detector gets wrong.

    Attributes:
        sequence, start, flipped: (N,) of each window: which sequence, the first frame it is asked for, and
            whether it is mirrored; target_index: where in a window of target "all" that frame is.

    Raises:
        InputError: an unknown split or target, an empty split, or numbers that do not fit together.
    """

    def __init__(
        self,
        data: LiftingData,
        split: str = "train",
        *,
        receptive_field: int,
        causal: bool = False,
        stride: int = 1,
        tds: int = 1,
        target: str = "center",
        mirror: bool = False,
        n_random: int = 0,
        cameras: CameraRanges | None = None,
        noise: DetectorNoise | None = None,
    ) -> None:
        for value, known in ((split, SPLITS), (target, TARGETS)):
            if value not in known:
                raise InputError(f"windows: '{value}'{nearest(value, known)}, expected {' or '.join(known)}")
        if receptive_field < 1 or receptive_field % 2 == 0 or min(stride, tds) < 1 or n_random < 0:
            raise InputError(
                f"windows of {receptive_field} frames, stride {stride}, tds {tds}, {n_random} random frames: "
                "expected an odd number of frames, and stride and tds from 1"
            )
        if stride > 1 and tds > 1:
            raise InputError(f"windows: stride {stride} and tds {tds} cannot both be above 1")
        sequences: Sequence[LiftingSequence | WorldSequence] = getattr(data, split)
        if not sequences:
            raise InputError(f"{data.name}: the {split} split is empty")
        self.data, self.split, self.stride, self.tds, self.target = data, split, stride, tds, target
        self.n_random, self._ranges, self._noise = n_random, cameras, noise
        pad = (receptive_field - 1) // 2
        self.target_index = 2 * pad if causal else pad
        self._reads = (np.arange(2 * pad + stride) - self.target_index) * tds  # (W,) frames, from the start
        self._asked = self._reads if target == "all" else np.arange(stride)

        lengths = np.array([len(sequence) for sequence in sequences])
        self._first, self._last = np.cumsum(lengths) - lengths, np.cumsum(lengths) - 1  # (S,) rows
        self.in_world = isinstance(sequences[0], WorldSequence)
        self._positions = np.concatenate([sequence.positions for sequence in sequences])
        if not self.in_world:
            self._keypoints = np.concatenate([sequence.keypoints for sequence in sequences])
            unknown = np.zeros(9, np.float32)
            lenses = [unknown if s.intrinsic is None else s.intrinsic for s in sequences]
            self._intrinsic = np.stack(lenses)  # (S, 9)
        valid = [getattr(s, "valid", None) for s in sequences]
        valid = [np.ones(n, bool) if v is None else v for v, n in zip(valid, lengths, strict=True)]
        self._valid = np.concatenate(valid)
        self._number(lengths, mirror)

    def _number(self, lengths: np.ndarray, mirror: bool) -> None:
        """Chunks of ``stride`` frames, that share evenly what a sequence is too short for, at both ends."""
        sequence, start, flipped = [], [], []
        for s, n in enumerate(lengths.tolist()):
            chunks = -(-n // self.stride)
            starts = np.arange(chunks) * self.stride - (chunks * self.stride - n) // 2
            asked = self._first[s] + np.clip(starts[:, None] + np.arange(self.stride), 0, n - 1)
            starts = starts[self._valid[asked].any(1)]
            for side in range(1 + mirror):
                sequence.append(np.full(len(starts), s))
                start.append(starts)
                flipped.append(np.full(len(starts), bool(side)))
        self.sequence, self.start, self.flipped = map(np.concatenate, (sequence, start, flipped))
        if not len(self.start):
            raise InputError(f"{self.data.name}: no frame of the {self.split} split is valid")

    def __len__(self) -> int:
        return len(self.start)

    # --- Gathering ---

    def gather(self, numbers: np.ndarray, random: np.random.Generator) -> dict[str, torch.Tensor]:
        """The windows of these numbers as one batch.

        Arguments:
            numbers: (B,) of the windows.
            random: for cameras, noise and random frames; not used where there are none.

        Returns:
            keypoints (B, W, J_in, C) normalized; positions (B, T, J_out, 3) metres relative to the root, which
            is zero; trajectory (B, T, 3), where the root is; valid (B, T) bool; intrinsic (B, 9), zeros where
            it is not known; sequence (B,) and frame (B,) int64, where they come from. T is ``stride``, or W
            for the target "all". With ``n_random`` also random_keypoints (B, R, J_in, C), random_positions
            (B, R, J_out, 3) and random_trajectory (B, R, 3).
        """
        numbers = np.asarray(numbers)
        sequence, start, flipped = self.sequence[numbers], self.start[numbers], self.flipped[numbers]
        reads, asked = (self._rows(sequence, start[:, None] + frames) for frames in (self._reads, self._asked))
        others = self._random_rows(sequence, random)  # (B, R)
        if self.in_world:
            keypoints, positions, intrinsic = self._filmed(reads, asked, others, random)
        else:
            seen = [np.concatenate([reads, others], axis=1), np.concatenate([asked, others], axis=1)]
            keypoints, positions = self._keypoints[seen[0]], self._positions[seen[1]]
            intrinsic = self._intrinsic[sequence]
        keypoints[flipped] = mirrored(keypoints[flipped], self.data.skeleton_in)
        positions[flipped] = mirrored(positions[flipped], self.data.skeleton_out)
        intrinsic[flipped] = _mirrored_lens(intrinsic[flipped])
        trajectory = positions[:, :, self.data.root].copy()
        positions[:, :, self.data.root] = 0
        w, t = reads.shape[1], asked.shape[1]
        batch = {
            "keypoints": keypoints[:, :w], "positions": positions[:, :t], "trajectory": trajectory[:, :t],
            "valid": self._valid[asked], "intrinsic": intrinsic, "sequence": sequence, "frame": start,
        }  # fmt: skip
        if self.n_random:
            batch |= {
                "random_keypoints": keypoints[:, w:], "random_positions": positions[:, t:],
                "random_trajectory": trajectory[:, t:],
            }  # fmt: skip
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in batch.items()}

    def _rows(self, sequence: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Rows of frames (B, n) of sequences (B,); frames beyond an end are the first or last one."""
        first, last = self._first[sequence, None], self._last[sequence, None]
        return np.clip(first + frames, first, last)

    def _random_rows(self, sequence: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """(B, R) rows of other frames, none twice where the sequence has enough (R. W. Floyd's sampling)."""
        length = self._last[sequence] - self._first[sequence] + 1
        chosen = np.full((len(sequence), self.n_random), -1)
        enough = length >= self.n_random
        for r in range(self.n_random):
            top = np.where(enough, length - self.n_random + r, length - 1)
            drawn = random.integers(top + 1)
            twice = enough & (chosen == drawn[:, None]).any(1)
            chosen[:, r] = np.where(twice, top, drawn)
        return self._first[sequence, None] + (random.permuted(chosen, axis=1) if self.n_random else chosen)

    def _filmed(
        self, reads: np.ndarray, asked: np.ndarray, others: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What one camera for each window sees: keypoints (B, W + R, ...), positions (B, T + R, ...), lenses."""
        skeleton, n_features = self.data.skeleton_in, self.data.n_features
        bodies = self._positions[np.concatenate([reads, others], axis=1)]
        cameras = random_cameras(bodies, random, self._ranges)
        points, w = cameras.to_camera(bodies), reads.shape[1]
        keypoints = detect(points[:, :w], cameras, skeleton, n_features, self._noise, random, self.tds)
        if self.n_random:  # frames that do not follow each other
            apart = max(1, round(np.mean(self._last - self._first) / self.n_random))
            far = detect(points[:, w:], cameras, skeleton, n_features, self._noise, random, apart)
            keypoints = np.concatenate([keypoints, far], axis=1)
        if self.target == "center":
            middle = points[:, self.target_index : self.target_index + self.stride]
            points = np.concatenate([middle, points[:, w:]], axis=1)
        body = points[:, :, : self.data.skeleton_out.n_joints]
        positions = body - body[:, :, self.data.root, None]
        positions[:, :, self.data.root] = body[:, :, self.data.root]
        return keypoints, positions, cameras.intrinsic

    # --- Epochs ---

    def batches(
        self,
        epoch: int,
        batch_size: int = 1024,
        seed: int = 0,
        *,
        shuffle: bool = True,
        drop_last: bool = False,
        steps: int | None = None,
        workers: int = 0,
        compat: bool = False,
    ) -> LiftingBatches:
        """The batches of one epoch: a function of (seed, epoch).

        Arguments:
            epoch: from 0.
            batch_size: windows a batch.
            seed: of order, cameras, noise and random frames.
            shuffle: in a random order; else as they are numbered.
            drop_last: leave out the last batch where it is smaller.
            steps: this many batches in place of once through the windows.
            workers: threads that make the next batches meanwhile.
            compat: VideoPose3D's order: the permutations of one RandomState(seed), epoch after epoch.

        Raises:
            InputError: fewer windows than one batch, with ``drop_last``.
        """
        n = len(self)
        if batch_size < 1 or (drop_last and steps is None and batch_size > n):
            raise InputError(f"{self.data.name}: batches of {batch_size} cannot be made of {n} windows")
        wanted = n if steps is None else steps * batch_size
        rounds = -(-wanted // n)
        if not shuffle:
            order = np.tile(np.arange(n), rounds)
        elif compat:
            old = np.random.RandomState(seed)
            permutations = [old.permutation(n) for _ in range(epoch + 1)]
            order = np.tile(permutations[-1], rounds)
        else:
            random = np.random.default_rng([seed, epoch, 0])
            order = np.concatenate([random.permutation(n) for _ in range(rounds)])
        order = order[: wanted // batch_size * batch_size if drop_last else wanted]
        return LiftingBatches(self, order, batch_size, (seed, epoch), workers)


@dataclass(eq=False)
class LiftingBatches:
    """Batches by number, from :meth:`LiftingWindows.batches`; ``workers`` make the next ones meanwhile."""

    windows: LiftingWindows
    order: np.ndarray  # (n,) numbers of windows
    batch_size: int
    key: tuple[int, int]  # seed, epoch
    workers: int = 0
    first: int = 0
    _threads: ThreadPoolExecutor | None = field(default=None, repr=False)
    _coming: dict[int, Future] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return max(0, -(-len(self.order) // self.batch_size) - self.first)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        """Batch i, counted after those skipped; see :meth:`LiftingWindows.gather`."""
        if not 0 <= i < len(self):
            raise IndexError(f"batch {i} of {len(self)}")
        if not self.workers:
            return self._make(i)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="windows")
        wanted = range(i, min(len(self), i + self.workers + 1))
        for gone in set(self._coming) - set(wanted):
            self._coming.pop(gone).cancel()
        for number in wanted:
            if number not in self._coming:
                self._coming[number] = self._threads.submit(self._make, number)
        return self._coming.pop(i).result()

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        return (self[i] for i in range(len(self)))

    def skip(self, n: int) -> LiftingBatches:
        """The same batches without the next n (nothing is gathered for them)."""
        return replace(self, first=self.first + n, _threads=None, _coming={})

    def _make(self, i: int) -> dict[str, torch.Tensor]:
        number = self.first + i
        part = slice(number * self.batch_size, (number + 1) * self.batch_size)
        return self.windows.gather(self.order[part], np.random.default_rng([*self.key, 1, number]))


# --- Whole sequences and mirror images ---------------------------------------------------------------------


def whole_sequence(
    sequence: LiftingSequence, data: LiftingData, receptive_field: int, causal: bool = False, mirror: bool = False
) -> dict[str, torch.Tensor]:
    """A sequence as one batch, its ends repeated so that a network gives as many frames as it has.

    Returns:
        keypoints (B, T + receptive_field - 1, J_in, C), positions (B, T, J_out, 3) with a zero root, trajectory
        (B, T, 3), intrinsic (B, 9), valid (B, T); B is 1, or 2 with the mirror image second.
    """
    pad = (receptive_field - 1) // 2
    before = 2 * pad if causal else pad
    rows = np.clip(np.arange(len(sequence) + 2 * pad) - before, 0, len(sequence) - 1)
    lens = np.zeros(9, np.float32) if sequence.intrinsic is None else sequence.intrinsic
    valid = np.ones(len(sequence), bool) if sequence.valid is None else sequence.valid
    keypoints, positions = sequence.keypoints[rows], sequence.positions.copy()
    copies = [(keypoints, positions, lens)]
    if mirror:
        flipped = mirrored(keypoints, data.skeleton_in), mirrored(positions, data.skeleton_out)
        copies.append((*flipped, _mirrored_lens(lens)))
    keypoints, positions, lenses = map(np.stack, zip(*copies, strict=True))
    trajectory = positions[:, :, data.root].copy()
    positions[:, :, data.root] = 0
    batch = {
        "keypoints": keypoints, "positions": positions, "trajectory": trajectory, "intrinsic": lenses,
        "valid": np.stack([valid] * len(copies)),
    }  # fmt: skip
    return {name: torch.from_numpy(array) for name, array in batch.items()}


def mirrored(points: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(..., J, C) before a mirror: x turned over, left and right exchanged."""
    points = points[..., list(skeleton.mirror), :]
    points[..., 0] *= -1
    return points


def _mirrored_lens(intrinsic: np.ndarray) -> np.ndarray:
    """(..., 9): the principal point's x and the first tangential coefficient are of the other sign."""
    intrinsic = intrinsic.copy()
    intrinsic[..., [2, 7]] *= -1
    return intrinsic
