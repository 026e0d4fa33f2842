"""Which clips train and which test: never split within a subject, a recording, or a window."""

from __future__ import annotations

__all__ = ["split_groups"]

from collections.abc import Mapping, Sequence

import numpy as np

from bdsynth.errors import InputError


def split_groups(
    groups: Sequence[str],
    actions: Sequence[str],
    durations: Sequence[float],
    test_fraction: float = 0.25,
    seed: int = 42,
    parts: Sequence[str] | None = None,
) -> list[str]:
    """A side for every clip, so that groups stay whole and every action stands on both sides.

    Groups are taken in a random order, each to the test side when that brings the actions it holds closer
    to their share of ``test_fraction`` (by duration). Afterwards every action that exists in two groups or
    more is made to stand on both sides, by moving the group that leaves the fewest actions one-sided, of
    those the shortest. An action that exists in one group only trains.

    Arguments:
        groups: what must stay together, for every clip: the subject, or the recording.
        actions: what is done in the clip.
        durations: of the clip, > 0.
        test_fraction: in (0, 1), the share of test data wanted of each action.
        seed: of the random order; the same input and seed give the same split.
        parts: which collection the clip is of. Each is split as it would be alone, so that who trains on
            several and tests on one meets no clip twice. Default: all are one.

    Returns:
        "train" or "test" for every clip.

    Raises:
        InputError: test_fraction outside (0, 1).
    """
    if not 0 < test_fraction < 1:
        raise InputError(f"test fraction is {test_fraction}, expected a number between 0 and 1")
    parts = [""] * len(groups) if parts is None else parts
    held: dict[str, dict[str, dict[str, float]]] = {}  # part -> group -> action -> duration
    for part, group, action, duration in zip(parts, groups, actions, durations, strict=True):
        of_group = held.setdefault(part, {}).setdefault(group, {})
        of_group[action] = of_group.get(action, 0.0) + duration
    test: set[str] = set()
    everything: dict[str, dict[str, float]] = {}
    for part in sorted(held):
        test |= _draw(held[part], test_fraction, seed)
        everything |= held[part]
    _stand_on_both_sides(everything, test)
    return ["test" if group in test else "train" for group in groups]


def _draw(held: Mapping[str, Mapping[str, float]], test_fraction: float, seed: int) -> set[str]:
    """The test groups out of group -> action -> duration."""
    names = sorted(held)
    wanted: dict[str, float] = {}
    for durations in held.values():
        for action, duration in durations.items():
            wanted[action] = wanted.get(action, 0.0) + test_fraction * duration
    found = dict.fromkeys(wanted, 0.0)
    test: set[str] = set()
    for group in (names[i] for i in np.random.default_rng(seed).permutation(len(names))):
        before = sum(abs(wanted[a] - found[a]) / wanted[a] for a in held[group])
        after = sum(abs(wanted[a] - found[a] - d) / wanted[a] for a, d in held[group].items())
        if after < before:
            test.add(group)
            for action, duration in held[group].items():
                found[action] += duration
    _stand_on_both_sides(held, test)
    return test


def _stand_on_both_sides(held: Mapping[str, Mapping[str, float]], test: set[str]) -> None:
    """Move groups (in place) until every action that can stand on both sides does."""
    holders: dict[str, list[str]] = {}
    for group in sorted(held):
        for action in held[group]:
            holders.setdefault(action, []).append(group)
    seen: set[frozenset[str]] = set()
    for _ in range(4 * len(held)):
        missing = _missing(holders, test)
        if not missing or frozenset(test) in seen:
            break
        seen.add(frozenset(test))
        # the move that leaves the fewest actions one-sided; of those the shortest group
        candidates = {g for action in missing for g in holders[action]}
        ranked = sorted(
            candidates, key=lambda g: (len(_missing(holders, test ^ {g})), sum(held[g].values()), g)
        )
        chosen = next((g for g in ranked if frozenset(test ^ {g}) not in seen), ranked[0])
        test.symmetric_difference_update({chosen})


def _missing(holders: Mapping[str, list[str]], test: set[str]) -> list[str]:
    """Actions that stand on one side of two possible ones; those without training data count twice."""
    wrong = []
    for action, groups in holders.items():
        n_test = sum(group in test for group in groups)
        if n_test == len(groups):
            wrong += [action, action]
        elif n_test == 0 and len(groups) > 1:
            wrong.append(action)
    return sorted(wrong)
