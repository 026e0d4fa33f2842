"""How far two sets of features are from each other, as distributions."""

from __future__ import annotations

__all__ = ["frechet_distance"]

import numpy as np


def frechet_distance(features: np.ndarray, others: np.ndarray) -> float:
    r"""Distance of the normal distributions fitted to two sets of features.

    .. math:: \|\mu_1 - \mu_2\|^2 + \mathrm{tr}(C_1 + C_2 - 2 (C_1 C_2)^{1/2})

    The trace of the root is the nuclear norm of :math:`R_1 R_2^T` with :math:`C_i = R_i^T R_i`: no product of
    covariances and no matrix root is computed, so that fewer features than dimensions do no harm. Which
    features they are belongs to the name of the number: it is no FID unless they are Inception's.

    Arguments:
        features: (n, D), others: (m, D), at least two each.
    """
    sets = [np.asarray(x, dtype=np.float64) for x in (features, others)]
    (mean, root), (other_mean, other_root) = ((x.mean(0), _root_of_covariance(x)) for x in sets)
    shared = np.linalg.norm(root @ other_root.T, "nuc")
    spread = np.square(root).sum() + np.square(other_root).sum()
    return float(max(0.0, np.square(mean - other_mean).sum() + spread - 2 * shared))


def _root_of_covariance(x: np.ndarray) -> np.ndarray:
    """R with R^T R the sample covariance of x (n, D), and no more than D rows."""
    centered = (x - x.mean(0)) / np.sqrt(len(x) - 1)
    return np.linalg.qr(centered, mode="r") if len(x) > x.shape[1] else centered
