"""Metrics of generated motion.

Pose distances follow the evaluation that the field shares (DLow, Yuan and Kitani 2020): the L2 norm of the
difference of the whole pose vectors, all joints flattened, N = J * 3. It grows with the square root of the
number of joints; to compare with other tables, use their joints. Those that begin with ``joint_`` are means
over joints instead. Results are in the unit of the input, metres everywhere in this project.

Samples have shape (..., K, T, N): K futures of T frames for each of the leading dimensions, which are
averaged over at last.
"""

from __future__ import annotations

__all__ = [
    "ade",
    "apd",
    "asd",
    "balanced_accuracy",
    "bone_deviation",
    "fde",
    "foot_sliding",
    "fsd",
    "jitter",
    "joint_ade",
    "joint_errors",
    "joint_fde",
]

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


def joint_ade(samples: Tensor, reference: Tensor) -> Tensor:
    """As :func:`ade`, with the mean distance of a joint in place of that of the pose vectors; metres.

    It does not depend on the number of joints. Of one sample it is the mean per-joint position error.

    Arguments:
        samples: (..., K, T, J, 3).
        reference: (..., T, J, 3).

    Returns:
        Scalar.
    """
    return joint_errors(samples, reference.unsqueeze(-4)).mean(-1).amin(-1).mean()


def joint_fde(samples: Tensor, reference: Tensor) -> Tensor:
    """As :func:`joint_ade`, in the last frame only; metres.

    Arguments:
        samples: (..., K, T, J, 3).
        reference: (..., T, J, 3).

    Returns:
        Scalar.
    """
    return joint_ade(samples[..., -1:, :, :], reference[..., -1:, :, :])


def joint_errors(positions: Tensor, reference: Tensor) -> Tensor:
    """Mean distance of the joints in each frame, metres: (..., T, J, 3), (..., T, J, 3) -> (..., T)."""
    return (positions - reference).norm(dim=-1).mean(-1)


def balanced_accuracy(named: Tensor, label: Tensor) -> Tensor:
    """Share of things that are named right, mean over the classes that occur: a frequent one counts no more.

    Arguments:
        named: (S,) class that each was taken for.
        label: (S,) class that each is of.

    Returns:
        Scalar; NaN of nothing.
    """
    right = (named == label).double()
    return torch.stack([right[label == c].mean() for c in label.unique()] or [right.mean()]).mean()


def bone_deviation(positions: Tensor, parents: Sequence[int]) -> Tensor:
    """How much bones change their length, in percent of that in the first frame.

    Root mean square over the later frames of the deviation from the first, divided by the length in the
    first; mean over bones and sequences. Bones of less than a millimetre, where a skeleton has two joints in
    one place, are left out.

    Arguments:
        positions: (..., 1 + T, J, 3) metres, the start posture first.
        parents: of the J joints, -1 for a root, which has no bone.

    Returns:
        Scalar.
    """
    children = [joint for joint, parent in enumerate(parents) if parent >= 0]
    ends = positions[..., children, :] - positions[..., [parents[joint] for joint in children], :]
    lengths = ends.norm(dim=-1)  # (..., 1 + T, bones)
    first = lengths[..., :1, :]
    changes = (lengths[..., 1:, :] - first).square().mean(-2).sqrt()  # (..., bones)
    first = first.squeeze(-2)
    return 100 * (changes / first)[first > 1e-3].mean()


def foot_sliding(positions: Tensor, feet: Sequence[int], fps: float, near: float = 0.03) -> Tensor:
    """Mean horizontal speed of feet while they are near the floor, in cm/s.

    The floor of a sequence is where its feet are lowest; a foot is near it from one frame to the next if it
    is less than ``near`` above it in both. All such steps of all sequences count alike.

    Arguments:
        positions: (..., T, J, 3) metres, z up.
        feet: joints, the ankles where a skeleton has nothing below.
        fps: frames per second.
        near: metres.

    Returns:
        Scalar; NaN where no foot is ever near the floor in two frames.
    """
    feet = positions[..., list(feet), :]  # (..., T, F, 3)
    low = feet[..., 2] - feet[..., 2].amin((-2, -1), keepdim=True) < near  # (..., T, F)
    down = low[..., 1:, :] & low[..., :-1, :]
    speeds = feet[..., :2].diff(dim=-3).norm(dim=-1) * fps  # (..., T - 1, F)
    return 100 * speeds[down].mean()


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
