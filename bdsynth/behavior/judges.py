"""Small networks that are trained to measure: what is done, how bodies stood, and whether it was recorded.

They are trained anew in each evaluation, on recorded sequences of clips that are not measured, and know nothing
of the networks that they judge. All of it follows from the seed.
"""

from __future__ import annotations

__all__ = ["ActionJudge", "describe", "mirrored_actions", "postures", "posture_content", "realism"]

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bdsynth.behavior.metrics import balanced_accuracy
from bdsynth.behavior.recorded import Recorded
from bdsynth.datasets.canonical import canonicalize_batch, leg_lengths
from bdsynth.skeletons import Skeleton

BATCH = 64
ACTION_STEPS, REALISM_STEPS, POSTURE_STEPS = 900, 100, 400  # at most
MOST_EPOCHS = 40  # of small data: fewer steps
HELD_OUT = 0.15  # share of the clips of an action by which the training is stopped
LEAST_CLIPS = 4  # actions of fewer clips hold out none


# --- What judges see ---------------------------------------------------------------------------------------


def postures(motion: Tensor, skeleton: Skeleton) -> Tensor:
    """How bodies stand in each frame, wherever and whichever way: (S, T, J, 3) in the world -> (S, T, J * 3).

    Joints relative to the pelvis, of a pose that faces +x; in place of the pelvis itself its height. In leg
    lengths of the first frame.
    """
    frames = canonicalize_batch(motion.numpy().reshape(-1, 1, *motion.shape[2:]), skeleton)[0]
    poses = _relative(torch.from_numpy(frames).reshape(motion.shape), skeleton)
    return poses.flatten(-2) / _legs(motion, skeleton)[..., 0]


def describe(motion: Tensor, skeleton: Skeleton) -> Tensor:
    """What a judge sees of sequences: (S, 1 + T, J, 3) in the world, the start posture first -> (S, T, 6 J).

    Of each frame after the start the joints relative to the pelvis, with its height in its place, and how far
    each joint moved since the frame before; over the origin and facing +x at the start; in leg lengths of
    the start posture.
    """
    placed = torch.from_numpy(canonicalize_batch(motion.numpy(), skeleton)[0]) / _legs(motion, skeleton)
    poses, steps = _relative(placed, skeleton)[:, 1:], placed.diff(dim=1)  # (S, T, J, 3)
    return torch.cat([poses.flatten(-2), steps.flatten(-2)], dim=-1)


def scrutinize(motion: Tensor, skeleton: Skeleton) -> Tensor:
    """What a judge of realism sees: :func:`describe`, and what gives made motion away, (S, T, 7 J + bones).

    Those are the sizes of the second differences of each joint, as jitter shows in them, and how far the
    length of each bone is from that in the start posture, relative to it.
    """
    (children, parents), start = zip(*skeleton.bones, strict=True), _legs(motion, skeleton)[..., 0]
    bends = (motion / start[..., None]).diff(n=2, dim=1).norm(dim=-1)  # (S, T - 1, J)
    bends = torch.cat([bends, bends[:, -1:]], 1)
    lengths = (motion[:, :, list(children)] - motion[:, :, list(parents)]).norm(dim=-1)  # (S, 1 + T, bones)
    stretch = (lengths[:, 1:] - lengths[:, :1]).abs() / lengths[:, :1].clamp(min=1e-3)
    return torch.cat([describe(motion, skeleton), bends, stretch], dim=-1)


def _relative(positions: Tensor, skeleton: Skeleton) -> Tensor:
    pelvis = skeleton.index("pelvis")
    relative = positions - positions[..., pelvis : pelvis + 1, :]
    relative[..., pelvis, 2] = positions[..., pelvis, 2]
    return relative


def _legs(motion: Tensor, skeleton: Skeleton) -> Tensor:
    """Leg lengths of the first frames, (S, 1, 1, 1)."""
    return torch.from_numpy(leg_lengths(motion[:, 0].numpy(), skeleton)).float()[:, None, None, None]


def mirrored_actions(actions: Sequence[str]) -> tuple[int, ...] | None:
    """The action that the mirror image of each shows: "raise-left-hand" for "raise-right-hand".

    None where a label names a side and no label names the other: mirror images then have no label.
    """
    other = {"left": "right", "right": "left"}
    swapped = [re.sub(r"(?<![a-z])(left|right)(?![a-z])", lambda found: other[found[0]], name) for name in actions]
    if not set(swapped) <= set(actions):
        return None
    return tuple(actions.index(name) for name in swapped)


def _mirror_image(motion: Tensor, skeleton: Skeleton) -> Tensor:
    return motion[..., list(skeleton.mirror), :] * motion.new_tensor([1.0, -1.0, 1.0])


# --- Networks and their training ---------------------------------------------------------------------------


class SequenceNet(nn.Module):
    """Convolutions over time, their mean and maximum, and features of those.

    Nothing normalizes in between: how large a movement is says much about what it is.

    Arguments:
        examples: (S, T, C); inputs are brought to mean 0 and standard deviation 1 over them, and what is far
            from them nearer (to the logarithm of its distance).
        n_outputs: number of classes.
        width: channels of the convolutions.
    """

    def __init__(self, examples: Tensor, n_outputs: int, width: int) -> None:
        super().__init__()
        flat = examples.flatten(0, 1)
        self.register_buffer("mean", flat.mean(0))
        self.register_buffer("std", flat.std(0) + 1e-3)
        layers: list[nn.Module] = []
        for before, stride in ((flat.shape[1], 2), (width, 2), (width, 1)):
            layers += [nn.Conv1d(before, width, 5, stride, padding=2), nn.ReLU(), nn.Dropout(0.1)]
        self.blind = nn.Dropout1d(0.2)  # to whole channels, so that it learns by heart no few of them
        self.convolutions = nn.Sequential(*layers)
        self.pooled = nn.Linear(2 * width, 32)
        self.head = nn.Linear(32, n_outputs)
        self.dropout = nn.Dropout(0.2)

    def features(self, x: Tensor) -> Tensor:
        """What the decision is made from: (B, T, C) -> (B, 32)."""
        x = torch.asinh((x - self.mean) / self.std).transpose(1, 2)
        h = self.convolutions(self.blind(x))  # (B, width, about T / 4)
        return F.relu(self.pooled(self.dropout(torch.cat([h.mean(-1), h.amax(-1)], 1))))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> logits (B, n_outputs)."""
        return self.head(self.features(x))


def _fit(
    net: nn.Module,
    loss_of: Callable[[], Tensor],
    steps: int,
    rate: float,
    score: Callable[[], float] | None = None,
) -> None:
    """Trains with a rate that falls to 0 along a half cosine; keeps the state of the best score, or the last."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.01)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, kept = float("inf"), None
    for step in range(1, steps + 1):
        net.train()
        optimizer.zero_grad()
        loss_of().backward()
        optimizer.step()
        falling.step()
        if score is not None and (step % max(1, steps // 10) == 0 or step == steps):
            net.eval()
            with torch.no_grad():
                found = score()
            if found < best:
                best, kept = found, copy.deepcopy(net.state_dict())
    if kept is not None:
        net.load_state_dict(kept)
    net.eval().requires_grad_(False)


def _steps(most: int, examples: int, batch: int) -> int:
    return min(most, MOST_EPOCHS * -(-examples // batch))


def _in_parts(work: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return torch.cat([work(part) for part in x.split(256)])


def held_out(recorded: Recorded, seed: int) -> Tensor:
    """Sequences that stop the training and take no other part in it, (S,) bool: whole clips of every action."""
    rng = np.random.default_rng(seed)
    action, clip = recorded.action.numpy(), recorded.clip.numpy()
    chosen: list[int] = []
    for label in np.unique(action):
        clips = np.unique(clip[action == label])
        if len(clips) >= LEAST_CLIPS:
            chosen += list(rng.permutation(clips)[: max(1, round(HELD_OUT * len(clips)))])
    return torch.from_numpy(np.isin(clip, chosen))


# --- What is done ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ActionJudge:
    """Names the action of a sequence; trained by :meth:`train`."""

    net: SequenceNet
    skeleton: Skeleton

    @classmethod
    def train(cls, recorded: Recorded, skeleton: Skeleton, actions: Sequence[str], seed: int) -> ActionJudge:
        """Learns from recorded sequences, actions drawn evenly, and where labels allow from mirror images too.

        Arguments:
            recorded: of clips that are not measured.
            actions: names of the class labels.
        """
        motion, label = recorded.motion, recorded.action
        apart = held_out(recorded, seed)
        x, y = describe(motion[~apart], skeleton), label[~apart]
        there = label[apart]
        x_apart = describe(motion[apart], skeleton) if len(there) else None
        other_side = mirrored_actions(actions)
        if other_side is not None:
            x = torch.cat([x, describe(_mirror_image(motion[~apart], skeleton), skeleton)])
            y = torch.cat([y, torch.tensor(other_side)[y]])
        drawn = torch.Generator().manual_seed(seed)
        weights = 1.0 / torch.bincount(y, minlength=len(actions))[y]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = SequenceNet(x, len(actions), 96)

            def loss_of() -> Tensor:
                i = torch.multinomial(weights, BATCH, replacement=True, generator=drawn)
                return F.cross_entropy(net(x[i]), y[i], label_smoothing=0.05)

            def score() -> float:
                logits = _in_parts(net, x_apart)
                each = F.cross_entropy(logits, there, reduction="none")
                return float(torch.stack([each[there == c].mean() for c in there.unique()]).mean())

            _fit(net, loss_of, _steps(ACTION_STEPS, len(x), BATCH), 2e-3, None if x_apart is None else score)
        return cls(net, skeleton)

    @torch.no_grad()
    def name(self, motion: Tensor) -> Tensor:
        """Class labels of sequences (S, 1 + T, J, 3) in the world -> (S,)."""
        return _in_parts(self.net, describe(motion, self.skeleton)).argmax(-1)

    @torch.no_grad()
    def features(self, motion: Tensor) -> Tensor:
        """What the names are decided from, (S, 1 + T, J, 3) -> (S, 32)."""
        return _in_parts(self.net.features, describe(motion, self.skeleton))


# --- How bodies stood --------------------------------------------------------------------------------------


class PostureNet(nn.Module):
    """Reads the posture of any frame off a code; before training it knows the mean of each frame.

    Arguments:
        codes: (S, D) examples, brought to mean 0 and standard deviation 1.
        means: mean posture of each frame, (T, N).
    """

    def __init__(self, codes: Tensor, means: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", codes.mean(0))
        self.register_buffer("std", codes.std(0) + 1e-6)
        self.register_buffer("means", means)
        self.code = nn.Linear(codes.shape[1], 256)
        self.frame = nn.Embedding(len(means), 256)
        self.hidden = nn.Linear(256, 256)
        self.out = nn.Linear(256, means.shape[1])
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, codes: Tensor, frame: Tensor) -> Tensor:
        """(B, D), (B,) -> (B, N)."""
        h = F.relu(self.code((codes - self.mean) / self.std) + self.frame(frame))
        return self.means[frame] + self.out(F.relu(self.hidden(h)))


def posture_content(
    codes: Tensor,
    recorded: Recorded,
    other_codes: Tensor,
    other: Recorded,
    skeleton: Skeleton,
    seed: int,
) -> tuple[float, float]:
    """How much of the posture is not in a code: 1 is nothing of it, 0 all.

    A small network learns to read the posture of the start and of random frames off the codes of some clips.
    Its squared error on those of other clips is divided by that of the mean posture of each frame. A part of
    its own clips stops its training.

    Arguments:
        codes: (S, D) of ``recorded``, which it learns from.
        other_codes: (R, D) of ``other``, sequences of other clips.

    Returns:
        The share of the error that is left, of start postures and of all frames that the code was read from.
    """
    poses, truth = (postures(each.motion[:, :-1], skeleton) for each in (recorded, other))  # (S, T, N)
    std = poses.std((0, 1)) + 1e-6
    poses, truth = poses / std, truth / std
    apart = held_out(recorded, seed)
    seen, seen_codes = poses[~apart], codes[~apart]
    n, frames = seen.shape[:2]
    drawn = torch.Generator().manual_seed(seed)

    def errors(net: PostureNet, codes: Tensor, poses: Tensor) -> Tensor:
        """Mean squared error of each frame, (T,)."""
        found = [net(codes, torch.full((len(codes),), frame)) for frame in range(frames)]
        return (torch.stack(found, 1) - poses).square().mean((0, 2))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = PostureNet(seen_codes, seen.mean(0))

        def loss_of() -> Tensor:
            i = torch.randint(n, (4 * BATCH,), generator=drawn)
            frame = torch.randint(frames, (4 * BATCH,), generator=drawn)
            frame[: 2 * BATCH] = 0
            return F.mse_loss(net(seen_codes[i], frame), seen[i, frame])

        def score() -> float:
            error = errors(net, codes[apart], poses[apart])
            return float(error[0] + error.mean())

        _fit(net, loss_of, _steps(POSTURE_STEPS, n, BATCH), 1e-3, score if apart.any() else None)
    with torch.no_grad():
        error = errors(net, other_codes, truth)
    guess = (seen.mean(0) - truth).square().mean((0, 2))  # (T,)
    return float(error[0] / guess[0]), float(error.mean() / guess.mean())


# --- Whether it was recorded -------------------------------------------------------------------------------


def realism(
    real: Tensor, real_half: Tensor, made: Tensor, made_half: Tensor, skeleton: Skeleton, seed: int
) -> float:
    """How well a judge tells made sequences from recorded ones: 0.5 is a coin's share, and the best.

    It learns from one half of the clips and is asked about the other, then the other way round.

    Arguments:
        real: (S, 1 + T, J, 3) in the world.
        real_half: which half each is in, (S,) bool.
        made: (R, 1 + T, J, 3); made_half: (R,) bool. Clips that one was made from are in its half.

    Returns:
        Share told right, mean of both kinds and both ways; NaN where a half holds none of a kind.
    """
    x, half = [scrutinize(motion, skeleton) for motion in (real, made)], (real_half, made_half)
    if any(part.all() or not part.any() for part in half):
        return float("nan")
    shares = []
    for learned in (False, True):
        drawn = torch.Generator().manual_seed(seed)
        seen = [each[part == learned] for each, part in zip(x, half, strict=True)]
        asked = [each[part != learned] for each, part in zip(x, half, strict=True)]
        label = torch.arange(2).repeat_interleave(BATCH // 2)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = SequenceNet(seen[0], 2, 64)

            def loss_of(net=net, seen=seen, drawn=drawn, label=label) -> Tensor:
                batch = [each[torch.randint(len(each), (BATCH // 2,), generator=drawn)] for each in seen]
                return F.cross_entropy(net(torch.cat(batch)), label)

            _fit(net, loss_of, _steps(REALISM_STEPS, sum(map(len, seen)), BATCH), 2e-3)
        with torch.no_grad():
            named = [_in_parts(net, each).argmax(-1) for each in asked]
        truth = torch.cat([torch.full_like(each, kind) for kind, each in enumerate(named)])
        shares.append(balanced_accuracy(torch.cat(named), truth))
    return float(torch.stack(shares).mean())
