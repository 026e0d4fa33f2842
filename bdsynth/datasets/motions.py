"""Data sets of motions, whichever form they lie in on disk."""

from __future__ import annotations

__all__ = ["holds_motions", "open_motions"]

from pathlib import Path

from bdsynth.datasets.human36m import find_annotations, open_human36m
from bdsynth.datasets.prepared import PreparedDataset


def holds_motions(path: str | Path) -> bool:
    """Whether :func:`open_motions` would try: a prepared folder or one of Human3.6M."""
    return (Path(path) / "index.json").exists() or find_annotations(path) is not None


def open_motions(path: str | Path) -> PreparedDataset:
    """A prepared folder, or Human3.6M by its ``annot_export.h5`` (split by subject); told apart by content.

    Raises:
        InputError: the folder is neither, or broken.
    """
    return PreparedDataset.open(path) if find_annotations(path) is None else open_human36m(path)
