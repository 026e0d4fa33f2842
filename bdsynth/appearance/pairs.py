"""Who is drawn in which posture when a net is evaluated."""

from __future__ import annotations

__all__ = ["knows_people", "other_people", "same_people", "spread"]

import numpy as np

from bdsynth.datasets.image_batches import ImageSet


def spread(rows: np.ndarray, n: int) -> np.ndarray:
    """At most ``n`` of the rows, evenly over them."""
    if n >= len(rows):
        return rows
    return rows[np.linspace(0, len(rows) - 1, n).round().astype(int)]


def knows_people(images: ImageSet) -> bool:
    """Whether the pictures say who is seen; published lists of pictures do not."""
    return len(np.unique(images.pictures.persons)) > 1


def same_people(images: ImageSet, rows: np.ndarray, seed: int) -> np.ndarray:
    """For each row another picture of the same person, of the split.

    Returns:
        (n,) rows; -1 where there is none, and everywhere if nobody is known.
    """
    partners = np.full(len(rows), -1)
    if not knows_people(images):
        return partners
    rng, persons = np.random.default_rng([seed, 0]), images.pictures.persons
    for person in np.unique(persons[rows]):
        own = images.rows[persons[images.rows] == person]
        asked = np.flatnonzero(persons[rows] == person)
        if len(own) > 1:
            place = np.searchsorted(own, rows[asked])
            partners[asked] = own[(place + rng.integers(1, len(own), len(asked))) % len(own)]
    return partners


def other_people(images: ImageSet, rows: np.ndarray, seed: int) -> np.ndarray:
    """For each row a picture of somebody else, of the split: people alike, whose pictures are alike.

    Where nobody is known, any other picture.

    Returns:
        (n,) rows; -1 where there is none.
    """
    rng, partners = np.random.default_rng([seed, 1]), np.full(len(rows), -1)
    persons = images.pictures.persons if knows_people(images) else np.arange(len(images.pictures))
    own = persons[images.rows]
    people, numbers = np.unique(own, return_inverse=True)
    if len(people) < 2:
        return partners
    order = np.argsort(numbers, kind="stable")
    first = np.searchsorted(numbers[order], np.arange(len(people) + 1))  # where each person's pictures begin
    me = np.searchsorted(people, persons[rows])
    other = (me + rng.integers(1, len(people), len(rows))) % len(people)
    picked = first[other] + (rng.random(len(rows)) * (first[other + 1] - first[other])).astype(int)
    return images.rows[order[picked]]
