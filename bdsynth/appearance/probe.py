"""How much of the posture is left in the appearance: what a regressor can read there."""

from __future__ import annotations

__all__ = ["posture_left"]

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bdsynth.appearance.losses import joint_error
from bdsynth.appearance.network import PostureRegressor

STEPS, LOOK_EVERY, BATCH, RATE = 400, 20, 64, 1e-3
LEAST = 3  # pictures of each kind


def posture_left(
    means: Sequence[Tensor], joints: Tensor, persons: np.ndarray, seed: int = 0
) -> dict[str, float] | None:
    """Error of joints read off appearances by a regressor trained on some people, for the others.

    Joints are taken from the mean posture of their person, and latents from the mean of theirs: who somebody
    is tells nothing about the posture then, only what changes from picture to picture does. The regressor
    learns on half of the people (of the pictures, where there is one person only); a fifth of them says when to
    stop. Its error on the other half is the mean distance over the joints that are there.

    Arguments:
        means: posterior means, small then large, each (n, C, h, h).
        joints: (n, K, 2), fractions of width and height; 0 where missing.
        persons: (n,).
        seed: of the halves and of the regressor.

    Returns:
        ``regressor`` and ``mean``: percent of the picture's width, of the regressor and of each person's mean
        posture; ``ratio``: of the two, 1 where nothing of the posture can be read. None for too few pictures;
        people of whom there are fewer than three are left out.
    """
    _, who, counts = np.unique(persons, return_inverse=True, return_counts=True)
    several = np.flatnonzero(counts[who] >= LEAST)  # one picture is its person's mean
    means, joints, persons = [mean[several] for mean in means], joints[several], persons[several]
    train, fit, test = _split(persons, np.random.default_rng(seed))
    if min(len(train), len(fit), len(test)) < LEAST:
        return None
    known = (joints > 0).any(-1)  # (n, K)
    who = torch.from_numpy(np.unique(persons, return_inverse=True)[1]).to(joints.device)  # (n,)
    target = torch.where(known[..., None], joints - _mean_of_each(joints * known[..., None], who, known), 0.0)
    centered = [mean - _mean_of_each(mean, who) for mean in means]
    scaled = [mean / mean[train].std().clamp(min=1e-6) for mean in centered]

    def distance(predicted: Tensor, rows: np.ndarray) -> float:
        errors = (predicted.view(len(rows), -1, 2) - target[rows]).norm(dim=-1)  # (n, K)
        return float(errors[known[rows]].mean())

    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        shape = means[0].shape[1], [mean.shape[-1] for mean in means]
        regressor = PostureRegressor(*shape, 2 * joints.shape[1]).to(joints.device)
        for parameter in regressor.linears[-1].parameters():
            torch.nn.init.zeros_(parameter)  # before it has learned anything it says the mean posture
        optimizer = torch.optim.Adam(regressor.parameters(), lr=RATE)
        best = (np.inf, None)
        for step in range(STEPS + 1):
            if step % LOOK_EVERY == 0:
                error = distance(_read(regressor, scaled, fit), fit)
                if error < best[0]:
                    best = error, {key: value.clone() for key, value in regressor.state_dict().items()}
            rows = train[torch.randint(len(train), (min(BATCH, len(train)),)).numpy()]
            optimizer.zero_grad()
            joint_error(regressor([mean[rows] for mean in scaled]), target[rows]).backward()
            optimizer.step()
        regressor.load_state_dict(best[1])
    error = distance(_read(regressor, scaled, test), test)
    without = distance(torch.zeros_like(target[test]), test)
    return {"regressor": 100 * error, "mean": 100 * without, "ratio": error / max(without, 1e-9)}


def _split(persons: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows to train on, to stop by, and to test on: other people, where there are several."""
    people = rng.permutation(np.unique(persons))
    if len(people) < 2:
        half, rest = np.array_split(rng.permutation(len(persons)), 2)
    else:
        ours = people[: (len(people) + 1) // 2]
        half, rest = np.flatnonzero(np.isin(persons, ours)), np.flatnonzero(~np.isin(persons, ours))
        if len(ours) > 1:
            stop = np.isin(persons[half], ours[: -(-len(ours) // 5)])
            return half[~stop], half[stop], rest
        half = rng.permutation(half)
    n = max(LEAST, len(half) // 5)
    return half[n:], half[:n], rest


def _mean_of_each(x: Tensor, who: Tensor, known: Tensor | None = None) -> Tensor:
    """For each row of x (n, ...) the mean over the rows of the same person; of the joints known, (n, K)."""
    shape = int(who.max()) + 1, *x.shape[1:]
    counted = torch.ones_like(x) if known is None else known[..., None].expand_as(x).to(x)
    sums, counts = (x.new_zeros(shape).index_add(0, who, part) for part in (x, counted))
    return (sums / counts.clamp(min=1))[who]


@torch.no_grad()
def _read(regressor: PostureRegressor, means: Sequence[Tensor], rows: np.ndarray) -> Tensor:
    parts = np.array_split(rows, 1 + len(rows) // 256)
    return torch.cat([regressor([mean[part] for mean in means]) for part in parts])
