"""Metrics of generated motion.

Distances follow the evaluation that the field shares (DLow, Yuan and Kitani 2020): the distance of two poses
is the L2 norm of the difference of the whole pose vectors, all joints flattened, N = J * 3. It grows with the
square root of the number of joints; to compare with other tables, use their joints. Results are in the unit
of the input, metres everywhere in this project.

Samples have shape (..., K, T, N): K futures of T frames for each of the leading dimensions, which are
averaged over at last.
"""

from __future__ import annotations

__all__ = ["ade", "apd", "asd", "bone_length_error", "fde", "fsd", "jitter", "mpjpe"]

from collections.abc import Sequence

import torch
from torch import Tensor


def ade(samples: Tensor, reference: Tensor) -> Tensor:
    """Average displacement error of the best sample, in metres.

    Pose distance to the reference, mean over frames, minimum over samples, mean over sequences.

    Arguments:
        samples: (..., K, T, N).
        reference: what really followed, (..., T, N).

    Returns:
        Scalar.
    """
    return (samples - reference.unsqueeze(-3)).norm(dim=-1).mean(-1).amin(-1).mean()


def fde(samples: Tensor, reference: Tensor) -> Tensor:
    """Final displacement error of the best sample, in metres: as :func:`ade`, in the last frame only.

    The best sample is the one that ends best, whatever it did before.

    Arguments:
        samples: (..., K, T, N).
        reference: (..., T, N).

    Returns:
        Scalar.
    """
    return ade(samples[..., -1:, :], reference[..., -1:, :])


def apd(samples: Tensor) -> Tensor:
    """Average pairwise distance, in metres: how different the samples are.

    L2 distance of whole sequences, flattened to T * N, mean over pairs, mean over start postures. A single
    sample gives 0.

    Arguments:
        samples: (..., K, T, N).

    Returns:
        Scalar.
    """
    k = samples.shape[-3]
    distances = _pairwise(samples.flatten(-2))  # (..., K, K), zero on the diagonal
    return (distances.sum((-2, -1)) / max(1, k * (k - 1))).mean()


def asd(samples: Tensor) -> Tensor:
    """Average self distance, in metres: how far the most similar other sample is.

    Pose distance, mean over frames, minimum over the other samples, mean over samples and start postures
    (Blattmann et al. 2021).

    Arguments:
        samples: (..., K, T, N), K at least 2.

    Returns:
        Scalar.

    Raises:
        ValueError: there is no other sample.
    """
    k = samples.shape[-3]
    if k < 2:
        raise ValueError(f"self distance needs at least 2 samples, not {k}")
    distances = _pairwise(samples.transpose(-3, -2)).mean(-3)  # (..., K, K)
    itself = torch.eye(k, dtype=torch.bool, device=samples.device)
    return distances.masked_fill(itself, float("inf")).amin(-1).mean()


def fsd(samples: Tensor) -> Tensor:
    """Final self distance, in metres: as :func:`asd`, in the last frame only.

    Arguments:
        samples: (..., K, T, N), K at least 2.

    Returns:
        Scalar.

    Raises:
        ValueError: there is no other sample.
    """
    return asd(samples[..., -1:, :])


def _pairwise(x: Tensor) -> Tensor:
    """(..., K, F) -> (..., K, K); by differences, since products lose what makes close points differ."""
    return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")


def mpjpe(predicted: Tensor, reference: Tensor) -> Tensor:
    """Mean per-joint position error, in metres; no alignment.

    Arguments:
        predicted: (..., J, 3).
        reference: (..., J, 3).

    Returns:
        Scalar.
    """
    return (predicted - reference).norm(dim=-1).mean()


def bone_length_error(positions: Tensor, parents: Sequence[int], reference_lengths: Tensor) -> Tensor:
    """Mean absolute deviation of bone lengths, in metres, over frames and bones.

    Arguments:
        positions: (..., J, 3).
        parents: of the J joints, -1 for a root, which has no bone.
        reference_lengths: length of the bone from each joint to its parent, (..., J); that of a root is not
            looked at.

    Returns:
        Scalar.
    """
    children = [joint for joint, parent in enumerate(parents) if parent >= 0]
    ends = positions[..., children, :] - positions[..., [parents[joint] for joint in children], :]
    return (ends.norm(dim=-1) - reference_lengths[..., children]).abs().mean()


def jitter(positions: Tensor, fps: float) -> Tensor:
    """Mean magnitude of the jerk of the joints, in m/s^3: third differences times fps cubed.

    Arguments:
        positions: (..., T, J, 3), T at least 4.
        fps: frames per second.

    Returns:
        Scalar.

    Raises:
        ValueError: fewer than four frames.
    """
    if positions.shape[-3] < 4:
        raise ValueError(f"jerk needs at least 4 frames, not {positions.shape[-3]}")
    return positions.diff(n=3, dim=-3).norm(dim=-1).mean() * fps**3
