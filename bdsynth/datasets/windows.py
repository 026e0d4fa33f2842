"""Windows of motion for training, gathered a whole batch at a time.

A window is ``length + 1`` frames, ``lag`` apart: the network reads frames 0..length-1 and is asked for frames
1..length. Windows stand canonical unless told otherwise: the first pelvis over the origin, the first pose
facing +x; where they stood in the world travels along in the batch. ``compat`` is the original's index logic
(behavior specification 2.4): every frame starts a window, in world coordinates, and windows that would leave
their clip are shifted back into it.
"""

from __future__ import annotations

__all__ = ["Batches", "MotionWindows", "sequence_ids"]

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from bdsynth.datasets.canonical import canonicalize_batch, leg_lengths
from bdsynth.datasets.pose_space import PoseSpace
from bdsynth.datasets.prepared import PreparedDataset
from bdsynth.datasets.window_vectors import window_vectors
from bdsynth.errors import InputError, nearest

MOST_STATISTICS_WINDOWS = 20_000  # start rows are strided above it: the statistics hardly move, the time does
DEBUG_WINDOWS = 100  # of every action, in debug


def sequence_ids(row, n: int, lag: int, start, end) -> np.ndarray:
    """Frames of the window that is asked to start at ``row``, shifted where it would leave its clip.

    Rows row, row + lag, ..., row + n * lag; a window that reaches the end of the clip is shifted so that its
    last frame is ``end``; one that is longer than the clip takes the largest lag that fits (at least 1).

    Arguments:
        row: int or (B,), the anchor.
        n: steps, the window has n + 1 frames.
        lag: frames from one to the next.
        start, end: int or (B,), first and last row of the clip (inclusive).

    Returns:
        (n + 1,) or (B, n + 1) int64. As in the original, a clip of exactly ``n * lag'`` frames for some lag'
        (or of fewer than n + 1) yields rows before ``start``; MotionWindows excludes such clips.
    """
    row, start, end = (np.asarray(value, dtype=np.int64) for value in (row, start, end))
    shifted = row + n * lag + 1 > end
    first = np.where(shifted, end - lag * n, row)
    shorter = shifted & (first < start)
    lags = np.where(shorter, np.maximum(1, (end + 1 - start) // n), lag)
    first = np.where(shorter, end - lags * n, first)
    return first[..., None] + lags[..., None] * np.arange(n + 1)


class MotionWindows:
    """All windows of one split: a random-access set that gathers whole batches.

    Arguments:
        dataset: a prepared dataset; its positions stay memory-mapped.
        split: "train" or "test".
        length: frames a network reads; a window has one more.
        lag: frames of the dataset from one frame of the window to the next.
        canonical: windows stand over the origin and face +x. Default: unless ``compat``.
        mirror: every window also as its mirror image, left and right swapped: the second half of the set.
        representation: "world" or "root_relative", see :class:`PoseSpace`.
        min_length: clips shorter than a window give shorter ones, down to this length; their last frame is
            repeated, and ``length`` in the batch says how many frames count. Default: they are left out.
        statistics: the pose space to use; default: fitted on the training split (also for test windows).
        leg_length: bring every body to this size (metres from hip to ankle), so that what is learned does not
            depend on it. Default: sizes stay as they are.
        compat: the original's index logic in place of "only windows that lie in their clip".
        debug: only the first 100 windows of every action.

    Attributes:
        rows (n,) first frames; clip_numbers (n,) positions of the clips in ``dataset.index``;
        actions (N,) class labels, with N = 2 n when mirrored; space: the pose space; lag, length: as used;
        lengths (n,) how many of its frames count; dropped: how many clips are too short.

    Raises:
        InputError: an unknown split or representation, a skeleton without hips and pelvis, or no clip that
            is long enough.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        split: str = "train",
        length: int = 50,
        lag: int = 2,
        canonical: bool | None = None,
        mirror: bool = False,
        representation: str = "world",
        statistics: PoseSpace | None = None,
        min_length: int | None = None,
        leg_length: float | None = None,
        compat: bool = False,
        debug: bool = False,
    ) -> None:
        if length < 1 or lag < 1:
            raise InputError(f"window of length {length} and frame lag {lag}: both must be at least 1")
        self._shortest = shortest = length if min_length is None or compat else min(min_length, length)
        self.dataset, self.split, self.compat, self.mirror = dataset, split, compat, mirror
        self.skeleton = dataset.skeleton
        self.canonical = not compat if canonical is None else canonical
        self.length, self.lag, self._leg_length = length, lag, leg_length
        self._swap = np.array(self.skeleton.mirror)

        label = {action: i for i, action in enumerate(dataset.actions)}
        chosen = set(dataset.clips(split))
        clips = [(number, clip) for number, clip in enumerate(dataset.index) if clip in chosen]
        self.dropped = 0
        if compat:
            self._shorten(min(clip.n_frames - 1 for _, clip in clips))
        else:
            kept = [(number, clip) for number, clip in clips if clip.n_frames > shortest * lag]
            self.dropped = len(clips) - len(kept)
            clips = kept
        if not clips:
            raise InputError(
                f"{dataset.path}: no {split} clip has the {shortest * lag + 1} frames of a window of length "
                f"{shortest} at frame lag {lag}"
            )
        ranges = []
        for _, clip in clips:  # frames at the end of a clip start no window
            if not np.isfinite(dataset.positions[clip.start : clip.stop].sum(dtype=np.float64)):
                raise InputError(f"{dataset.path}: clip {clip.clip} has a position that is not finite")
            beyond = 0 if compat else self.span if clip.n_frames > self.span else shortest * lag
            ranges.append(np.arange(clip.start, clip.stop - beyond))
        counts = [len(rows) for rows in ranges]
        self.rows = np.concatenate(ranges)  # (n,)
        self._start = np.repeat([clip.start for _, clip in clips], counts)
        self._end = np.repeat([clip.stop - 1 for _, clip in clips], counts)
        self.lengths = np.full(len(self.rows), self.length)  # (n,) of the frames that a network reads
        if not compat:
            self.lengths = np.minimum(self.length, (self._end - self.rows) // lag)
        self.scales = np.ones(len(self.rows), np.float32)  # (n,) size of the body, in those of leg_length
        if leg_length is not None:
            first = dataset.positions[[clip.start for _, clip in clips]]
            self.scales = np.repeat(leg_lengths(first, self.skeleton) / leg_length, counts).astype(np.float32)
        self.clip_numbers = np.repeat([number for number, _ in clips], counts)
        self.actions = np.repeat([label[clip.action] for _, clip in clips], counts)
        if debug:
            self._keep_first(DEBUG_WINDOWS)
        if mirror:
            self.actions = np.tile(self.actions, 2)

        if statistics is None:
            on_train = self if split == "train" and not debug else self._training_twin()
            statistics = PoseSpace.fit(on_train._statistics_batches(), self.skeleton, representation)
        elif statistics.skeleton != self.skeleton or statistics.representation != representation:
            raise InputError(
                f"pose statistics are of {statistics.skeleton.name} in {statistics.representation}, "
                f"the windows of {self.skeleton.name} in {representation}"
            )
        self.space = statistics

    @property
    def span(self) -> int:
        """Frames from the first to the last of a window."""
        return self.length * self.lag

    def __len__(self) -> int:
        return len(self.actions)

    def _shorten(self, room: int) -> None:
        """The original's way with short clips: a smaller lag for all, then shorter windows for all."""
        most = self.length + 1  # its ``seq_length[1]``, the exclusive end of the range that is (50, 51)
        if most * self.lag > room:
            self.lag = max(1, room // most)
        if most * self.lag > room:
            self.length = room // self.lag - 1
            if self.length < 1:
                raise InputError(f"{self.dataset.path}: a {self.split} clip is too short for any window")

    def _keep_first(self, n: int) -> None:
        firsts = [np.flatnonzero(self.actions == action)[:n] for action in np.unique(self.actions)]
        kept = np.sort(np.concatenate(firsts))
        for field in ("rows", "_start", "_end", "lengths", "scales", "clip_numbers", "actions"):
            setattr(self, field, getattr(self, field)[kept])

    def _training_twin(self) -> MotionWindows:
        """The same windows of the whole training split, without statistics of its own."""
        n = 3 * self.skeleton.n_joints
        unit = PoseSpace(self.skeleton, "world", np.zeros(n), np.ones(n))
        return MotionWindows(
            self.dataset, "train", self.length, self.lag, self.canonical, self.mirror, statistics=unit,
            min_length=self._shortest, leg_length=self._leg_length, compat=self.compat,
        )  # fmt: skip

    def _statistics_batches(self) -> Iterator[np.ndarray]:
        """What the statistics are taken over: canonical windows, or the frames themselves where raw.

        In ``compat`` these are all frames of the data set, training and test (specification 2.3, step 5).
        """
        frames = self.dataset.positions
        if self.compat and not self.canonical:
            yield from np.array_split(frames, 1 + len(frames) // 65536)
            return
        if not self.canonical:
            for clip in self.dataset.clips("train"):
                yield frames[clip.start : clip.stop]
                if self.mirror:
                    yield self._mirrored(frames[clip.start : clip.stop].copy())
            return
        used = np.arange(0, len(self.rows), -(-len(self.rows) // MOST_STATISTICS_WINDOWS))
        for block in np.array_split(used, 1 + len(used) // 512):
            for half in range(1 + self.mirror):
                yield self.positions(block + half * len(self.rows))[0]

    # --- Gathering ---

    def frames(self, indices: np.ndarray) -> np.ndarray:
        """Rows of ``dataset.positions``, (B,) -> (B, length + 1); shorter windows repeat their last frame."""
        i = np.asarray(indices) % len(self.rows)
        if not self.compat:
            steps = np.minimum(np.arange(self.length + 1), self.lengths[i, None])  # (B, T + 1)
            return self.rows[i, None] + self.lag * steps
        return sequence_ids(self.rows[i], self.length, self.lag, self._start[i], self._end[i])

    def positions(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Windows in metres (B, length + 1, J, 3), with the origin (B, 2) and heading (B,) they had.

        Where windows are not canonical, origin and heading are zero. Those of a mirrored window are its
        original's: placed there, the mirror image stands where the person stood.
        """
        indices = np.asarray(indices)
        windows = self.dataset.positions[self.frames(indices)]  # (B, T + 1, J, 3), a copy
        if self.canonical:
            windows, origin, heading = canonicalize_batch(windows, self.skeleton)
        else:
            origin = np.zeros((len(indices), 2), np.float32)
            heading = np.zeros(len(indices), np.float32)
        if self._leg_length is not None:
            windows /= self.scales[indices % len(self.rows), None, None, None]
        flipped = indices >= len(self.rows)
        if flipped.all():
            windows = self._mirrored(windows)
        elif flipped.any():
            windows[flipped] = self._mirrored(windows[flipped])
        return windows, origin, heading

    def _mirrored(self, windows: np.ndarray) -> np.ndarray:
        """Left and right swapped: reflected across the way they face (canonical) or at x = 0 (raw)."""
        windows = windows[..., self._swap, :]
        windows[..., 1 if self.canonical else 0] *= -1
        return windows

    def gather(self, indices: np.ndarray) -> dict[str, torch.Tensor]:
        """The windows of these indices as one batch.

        Returns:
            keypoints (B, length + 1, J * 3) normalized; length (B,) int64, how many of the frames that a
            network reads are real (each has its successor); action (B,) int64; mirrored (B,) bool; index (B,)
            int64; origin (B, 2), heading (B,) and scale (B,), which take windows back to the world
            (:func:`bdsynth.datasets.canonical.place_batch`).
        """
        indices = np.asarray(indices, dtype=np.int64)
        i, flipped = indices % len(self.rows), indices >= len(self.rows)
        if self.canonical and not self.compat and self.dataset.positions.dtype == np.float32:
            frames, scales = self.dataset.positions, self.scales[i]
            vectors, origin, heading = window_vectors(frames, self.frames(indices), flipped, scales, self.space)
        else:
            windows, origin, heading = self.positions(indices)
            vectors = self.space.normalize(torch.from_numpy(windows))
        return {
            "keypoints": vectors,
            "length": torch.from_numpy(self.lengths[i]),
            "action": torch.from_numpy(self.actions[indices]),
            "mirrored": torch.from_numpy(flipped),
            "index": torch.from_numpy(indices),
            "origin": torch.from_numpy(np.ascontiguousarray(origin)),
            "heading": torch.from_numpy(heading),
            "scale": torch.from_numpy(self.scales[i]),
        }

    def spread_indices(self, n: int) -> np.ndarray:
        """Indices of at most ``n`` windows, evenly over the split and without mirror images; ascending."""
        return np.unique(np.linspace(0, len(self.rows) - 1, min(n, len(self.rows))).round().astype(int))

    def spread(self, n: int, batch_size: int = 256) -> Iterator[dict[str, torch.Tensor]]:
        """At most ``n`` windows, evenly over the split and without mirror images, in batches."""
        chosen = self.spread_indices(n)
        for first in range(0, len(chosen), batch_size):
            yield self.gather(chosen[first : first + batch_size])

    # --- Pairing ---

    def pairs(self, kind: str, generator: np.random.Generator) -> np.ndarray:
        """A partner for every window, (N,) indices (behavior specification 2.5).

        Arguments:
            kind: "same_action", a permutation within every action, or "different_action", a window drawn
                uniformly from all other actions.
            generator: of its own; :meth:`batches` seeds one from (seed, epoch).

        Raises:
            InputError: another kind, or "different_action" where there is one action only.
        """
        kinds = ("same_action", "different_action")
        if kind not in kinds:
            hint = nearest(kind, kinds)
            raise InputError(f"no pairing is named '{kind}'{hint}, expected {' or '.join(kinds)}")
        by_action = np.argsort(self.actions, kind="stable")
        counts = np.bincount(self.actions, minlength=len(self.dataset.actions))
        stops = np.cumsum(counts)
        partners = np.empty(len(self), dtype=np.int64)
        if kind == "same_action":
            for start, stop in zip(stops - counts, stops, strict=True):
                block = by_action[start:stop]
                partners[block] = generator.permutation(block)
            return partners
        if (counts > 0).sum() < 2:
            raise InputError(
                f"{self.dataset.path}: the {self.split} windows hold one action, none to pair with"
            )
        n_same, first = counts[self.actions], (stops - counts)[self.actions]  # (N,)
        drawn = generator.integers(len(self) - n_same)  # (N,), a place among all but one's own action
        return by_action[np.where(drawn < first, drawn, drawn + n_same)]

    def batches(
        self,
        epoch: int,
        batch_size: int = 64,
        seed: int = 42,
        *,
        paired: bool = False,
        drop_last: bool = True,
        balance: str = "none",
        steps: int | None = None,
    ) -> Batches:
        """The batches of one epoch: a pure function of (seed, epoch).

        Arguments:
            epoch: every epoch has another order and other pairs.
            batch_size: windows a batch.
            seed: of order and pairs.
            paired: also give ``paired_keypoints`` (another action) and ``matched_keypoints`` (the same).
            drop_last: leave out the last batch where it is smaller.
            balance: "none", every window once, or "action", actions equally often, drawn with replacement.
            steps: this many batches instead of once through the windows (the order goes on with further
                permutations).

        Raises:
            InputError: fewer windows than one batch, an unknown balance, or nothing to pair with.
        """
        n = len(self)
        balances = ("none", "action")
        if balance not in balances:
            hint = nearest(balance, balances)
            raise InputError(f"no balance is named '{balance}'{hint}, expected none or action")
        if batch_size < 1 or (drop_last and steps is None and batch_size > n):
            raise InputError(f"{self.dataset.path}: batches of {batch_size} cannot be made of {n} windows")
        order_rng, pair_rng = (np.random.default_rng([seed, epoch, stream]) for stream in (0, 1))
        wanted = n if steps is None else steps * batch_size
        if balance == "action":
            weights = 1.0 / np.bincount(self.actions, minlength=len(self.dataset.actions))[self.actions]
            order = order_rng.choice(n, size=wanted, p=weights / weights.sum())
        else:
            rounds = -(-wanted // n)
            order = np.concatenate([order_rng.permutation(n) for _ in range(rounds)])[:wanted]
        if drop_last:
            order = order[: len(order) // batch_size * batch_size]
        kinds = {"paired_keypoints": "different_action", "matched_keypoints": "same_action"} if paired else {}
        partners = {key: self.pairs(kind, pair_rng) for key, kind in kinds.items()}
        return Batches(self, order, batch_size, partners)


@dataclass
class Batches:
    """The batches of one epoch, from :meth:`MotionWindows.batches`; :meth:`skip` resumes in the middle."""

    windows: MotionWindows
    order: np.ndarray  # (n,) window indices
    batch_size: int
    partners: dict[str, np.ndarray]  # key of the batch -> (N,) window indices
    first: int = 0

    def skip(self, n: int) -> Batches:
        """Without the first n batches (nothing is gathered for them)."""
        self.first += n
        return self

    def __len__(self) -> int:
        return max(0, -(-len(self.order) // self.batch_size) - self.first)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for start in range(self.first * self.batch_size, len(self.order), self.batch_size):
            indices = self.order[start : start + self.batch_size]
            batch = self.windows.gather(indices)
            for key, partners in self.partners.items():
                batch[key] = self.windows.gather(partners[indices])["keypoints"]
            yield batch
