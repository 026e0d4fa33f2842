"""What the temporal convolutions and the anatomy-aware net are trained with: named losses, unweighted."""

from __future__ import annotations

__all__ = [
    "anatomy_losses", "anatomy_weights", "mpjpe", "project", "semi_supervised_losses", "trajectory_error",
]  # fmt: skip

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from bdsynth.lifting.anatomy import AnatomyOutputs, bone_vectors, joint_shifts


def mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean Euclidean distance of points (..., D), a scalar in their unit."""
    return (predicted - target).norm(dim=-1).mean()


def trajectory_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean distance of root positions (..., 3), each divided by the depth of its target: far ones count less."""
    return ((predicted - target).norm(dim=-1) / target[..., 2]).mean()


def project(points: Tensor, intrinsic: Tensor) -> Tensor:
    """What cameras see, lens included, differentiable; points are taken to be at most 45 degrees off its axis.

    Arguments:
        points: in camera coordinates, (B, ..., 3) metres.
        intrinsic: fx, fy, cx, cy in normalized screen coordinates, k1, k2, k3, p1, p2, (B, 9).

    Returns:
        Normalized screen coordinates, (B, ..., 2). :class:`bdsynth.camera.Camera` bends rays in the same way.
    """
    focal, center, radial, tangential = (
        part.reshape(len(points), *[1] * (points.ndim - 2), -1) for part in intrinsic.split([2, 2, 3, 2], dim=1)
    )
    straight = (points[..., :2] / points[..., 2:]).clamp(-1, 1)
    r2 = straight.square().sum(dim=-1, keepdim=True)
    powers = torch.cat([r2, r2.square(), r2**3], dim=-1)
    scale = 1 + (radial * powers).sum(dim=-1, keepdim=True) + (tangential * straight).sum(dim=-1, keepdim=True)
    return focal * (straight * scale + tangential * r2) + center


def semi_supervised_losses(
    pose: Tensor,
    trajectory: Tensor,
    target: Tensor,
    target_trajectory: Tensor,
    intrinsic: Tensor,
    keypoints: Tensor,
    bones: Sequence[tuple[int, int]],
) -> dict[str, Tensor]:
    """Losses of sequences with 3D truth and of others of which only the 2D keypoints are known.

    Arguments:
        pose: of M labeled and then of the unlabeled sequences, relative to the root, (N, T, J, 3) metres.
        trajectory: of their roots, (N, T, 1, 3) metres.
        target, target_trajectory: the truth of the labeled ones, (M, T, J, 3) and (M, T, 1, 3).
        intrinsic: of the cameras of the unlabeled ones, as in :func:`project`, (N - M, 9).
        keypoints: what these were seen as, screen-normalized, (N - M, T, J, 2).
        bones: (child, parent) joints.

    Returns:
        ``pose``, ``trajectory``, ``projection``, and ``bones``: how far the mean lengths of bones over the two
        parts of the batch are apart. The published loss is their sum.

    References:
        Pavllo et al., 2019, section 4, https://arxiv.org/abs/1811.11742
    """
    m = len(target)
    ends, starts = zip(*bones, strict=True)
    lengths = (pose[:, :, ends] - pose[:, :, starts]).norm(dim=-1).mean(dim=1)  # (N, bones)
    return {
        "pose": mpjpe(pose[:m], target),
        "trajectory": trajectory_error(trajectory[:m], target_trajectory),
        "projection": mpjpe(project(pose[m:] + trajectory[m:], intrinsic), keypoints),
        "bones": (lengths[:m].mean(dim=0) - lengths[m:].mean(dim=0)).abs().mean(),
    }


def anatomy_losses(
    outputs: AnatomyOutputs,
    window: Tensor,
    drawn: Tensor,
    augmented: Tensor,
    augmented_lengths: Tensor,
    *,
    target: int,
    frame: int,
) -> dict[str, Tensor]:
    """Losses of the anatomy-aware net.

    Arguments:
        outputs: of B windows and R drawn frames.
        window: true joints relative to the root, (B, RF, 17, 3) metres.
        drawn: of the drawn frames, (B, R, 17, 3). (Published training has the augmented ones here, too.)
        augmented, augmented_lengths: as the bones were changed, (B, R, 17, 3) and (B, 16).
        target: the frame of the window that its result is about: ``net.pad + net.shift``. (Published training of
            causal nets takes the middle one, ``net.pad``.)
        frame: the drawn frame that the poses of the bone length net are compared in.

    Returns:
        One scalar for each name of :func:`anatomy_weights`.

    References:
        Chen et al., 2021, section 3, https://arxiv.org/abs/2002.10322
    """
    pose = window[:, target]
    directions = F.normalize(bone_vectors(pose), dim=-1)
    lengths = bone_vectors(window).norm(dim=-1).mean(dim=1)
    shifts = joint_shifts(pose)
    return {
        "pose": mpjpe(outputs.pose[:, 0], pose),
        "drawn": mpjpe(outputs.drawn_poses[:, frame], drawn[:, frame]),
        "augmented": mpjpe(outputs.augmented_poses[:, frame], augmented[:, frame]),
        "length": F.mse_loss(outputs.lengths, lengths),
        "augmented_length": F.mse_loss(outputs.augmented_lengths, augmented_lengths),
        "direction": (outputs.directions - directions).square().sum(dim=-1).mean(),
        "first_direction": (outputs.first_directions - directions).square().sum(dim=-1).mean(),
        "shift": mpjpe(outputs.shifts, shifts),
        "first_shift": mpjpe(outputs.first_shifts, shifts),
    }


def anatomy_weights(
    direction: float = 0.3, length: float = 100.0, shift: float = 2.0, first: float = 0.5
) -> dict[str, float]:
    """The weights of :func:`anatomy_losses`; ``first`` is that of the first subnetwork against the second."""
    return {
        "pose": 1.0,
        "drawn": 1.0,
        "augmented": 1.0,
        "length": length,
        "augmented_length": length,
        "direction": direction,
        "first_direction": direction * first,
        "shift": shift,
        "first_shift": shift * first,
    }
