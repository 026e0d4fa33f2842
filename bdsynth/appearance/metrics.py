"""How good drawn pictures are: against the true ones, as a set, as a video, and as pictures of somebody.

Pictures are (B, S, S, 3) arrays in [0, 1] unless something else is said. LPIPS is in
:mod:`bdsynth.appearance.perceptual`.
"""

from __future__ import annotations

__all__ = ["inside", "person_masks", "psnr", "recognized", "ssim", "temporal_error"]

import numpy as np

from bdsynth.datasets.joint_models import JointModel
from bdsynth.datasets.stickman import draw_stickmen

LEAST_ERROR = 1e-10  # mean squared error, for which PSNR is 100 dB; identical pictures have no smaller one
MARGIN = 0.25  # of the trunk's diagonal, by which a person is thicker than its stickman


# --- Against the true picture ------------------------------------------------------------------------------


def ssim(drawn: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Structural similarity (Wang et al. 2004), 1 for identical pictures.

    scikit-image with a Gaussian window of sigma 1.5, population covariance and a data range of 1, mean over
    the channels (specification 5.2).

    Returns:
        (B,) values, and the (B, S, S) maps whose means, without a border of 5 pixels, they are.
    """
    from skimage.metrics import structural_similarity

    how = {"data_range": 1.0, "channel_axis": -1, "sigma": 1.5, "gaussian_weights": True}
    pairs = zip(drawn, truth, strict=True)
    found = [structural_similarity(a, b, use_sample_covariance=False, full=True, **how) for a, b in pairs]
    return np.array([value for value, _ in found]), np.stack([local.mean(-1) for _, local in found])


def inside(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """(B,) means of maps (B, S, S) over masks (B, S, S) bool; NaN where a mask is empty."""
    counts = masks.sum((1, 2))
    return np.where(counts > 0, (maps * masks).sum((1, 2)) / np.maximum(counts, 1), np.nan)


def psnr(drawn: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(B,) peak signal-to-noise ratios in dB, at most 100."""
    error = np.square(drawn.astype(np.float64) - truth).mean((1, 2, 3))
    return -10 * np.log10(np.maximum(error, LEAST_ERROR))


def temporal_error(drawn: np.ndarray, truth: np.ndarray) -> float:
    """How much a drawn video changes otherwise than the true one: flicker, and movement that is missing.

    The mean absolute difference between the two videos' differences of successive frames, in gray levels of
    [0, 1]. A constant video has that of the true one's own changes.

    Arguments:
        drawn, truth: (T, S, S, 3), at least two frames.
    """
    return float(np.abs(np.diff(drawn, axis=0) - np.diff(truth, axis=0)).mean())


def person_masks(joints: np.ndarray, model: JointModel, size: int) -> np.ndarray:
    """Where the people are, as far as joints tell: all that is near their stickmen.

    Near is a quarter of the trunk's diagonal (from a shoulder to the other hip), about 15 cm of a person.

    Arguments:
        joints: (B, K, 2) pixels of square pictures; negative or NaN where missing.
        model: which joints are what.
        size: S.

    Returns:
        (B, S, S) bool; nothing where no stickman can be drawn.
    """
    from scipy.ndimage import distance_transform_edt

    corners = np.where(joints < 0, np.nan, joints)[:, list(model.parts[0])]  # (B, 4, 2)
    spans = np.linalg.norm(corners[:, :, None] - corners[:, None], axis=-1)  # (B, 4, 4)
    reach = MARGIN * np.nan_to_num(spans).max((1, 2))  # (B,)
    sticks = draw_stickmen(joints, model, size, (size, size)).any(-1)  # (B, S, S)
    masks = np.zeros_like(sticks)
    for i in np.flatnonzero(sticks.any((1, 2))):
        masks[i] = distance_transform_edt(~sticks[i]) <= reach[i]
    return masks


# --- As pictures of somebody -------------------------------------------------------------------------------


def recognized(
    features: np.ndarray, wanted: np.ndarray, gallery: np.ndarray, persons: np.ndarray, hidden: np.ndarray
) -> np.ndarray:
    """Whether drawn people are nearest to who they should be, among all people of a gallery.

    A person is the mean of the features of its pictures, each of norm 1; nearest is the highest cosine.

    Arguments:
        features: (n, D) of drawn pictures.
        wanted: (n,) who they should be.
        gallery: (m, D) of true pictures.
        persons: (m,) who they are of.
        hidden: (n, H) pictures of the gallery that a drawn one is not compared with (the one that it was drawn
            from, the one whose posture it has); -1 for none.

    Returns:
        (n,) bool.
    """
    features, gallery = _unit(features), _unit(gallery)
    names, number = np.unique(persons, return_inverse=True)
    sums = np.zeros((len(names), gallery.shape[1]))
    np.add.at(sums, number, gallery)
    hits = np.zeros(len(features), dtype=bool)
    for i, (feature, left_out) in enumerate(zip(features, hidden, strict=True)):
        mine, left_out = sums.copy(), np.unique(left_out[left_out >= 0])
        np.subtract.at(mine, number[left_out], gallery[left_out])
        shown = np.bincount(number, minlength=len(names)) - np.bincount(number[left_out], minlength=len(names))
        likeness = np.where(shown > 0, _unit(mine) @ feature, -np.inf)
        hits[i] = names[likeness.argmax()] == wanted[i]
    return hits


def _unit(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, dtype=np.float64)
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
