"""Refinement of lifted poses by the rays of their keypoints, where the depth of the root is known.

Parameters carry the names of the published checkpoints (Cai et al., ICCV 2019; Shan et al., ECCV 2022,
arXiv 2203.07628).
"""

from __future__ import annotations

__all__ = ["Refinement", "back_project"]

import torch
from torch import Tensor, nn

from bdsynth.errors import InputError


class Refinement(nn.Module):
    r"""Creates the net that weighs a lifted pose p against its back-projection r.

    .. math:: s = \sigma(W_2 \max(0, W_1 [p, r] + w_1) + w_2), \quad (x, y) = s (x, y)_p + (1 - s) (x, y)_r

    with one s for each of x and y of each joint; z is that of p.

    References:
        Exploiting spatial-temporal relationships for 3D pose estimation via graph convolutional networks (Cai et
        al., 2019), section 3.4.

    Arguments:
        n_joints: J.
        dropout: probability.
    """

    def __init__(self, n_joints: int = 17, dropout: float = 0.5) -> None:
        super().__init__()
        self.n_joints, self.dropout = n_joints, dropout
        self.post_refine = nn.Sequential(
            nn.Linear(6 * n_joints, 1024),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(1024, 2 * n_joints),
            nn.Sigmoid(),
        )

    def forward(self, poses: Tensor, rays: Tensor) -> Tensor:
        """Poses and their back-projections, (B, T, J, 3) each in metres from the root -> (B, T, J, 3).

        Raises:
            InputError: another shape.
        """
        if poses.shape != rays.shape or poses.ndim != 4 or tuple(poses.shape[2:]) != (self.n_joints, 3):
            found = f"{tuple(poses.shape)} and {tuple(rays.shape)}"
            raise InputError(f"refinement: inputs have shapes {found}, expected (B, T, {self.n_joints}, 3)")
        s = self.post_refine(torch.cat([poses, rays], dim=3).flatten(2)).unflatten(2, (self.n_joints, 2))
        return torch.cat([rays[..., :2].lerp(poses[..., :2], s), poses[..., 2:]], dim=3)


def back_project(poses: Tensor, keypoints: Tensor, cameras: Tensor, root_depth: Tensor, root: int = 0) -> Tensor:
    """Places keypoints on the rays through them at the depths that poses say, without lens distortion.

    Arguments:
        poses: lifted ones, (B, T, J, 3) metres from the root.
        keypoints: screen-normalized, (B, T, J, 2).
        cameras: normalized f_x, f_y, c_x, c_y and maybe more, (B, 4 or more).
        root_depth: of the root before the camera, (B, T) metres.
        root: its joint.

    Returns:
        (B, T, J, 3) metres from the root.
    """
    focal, center = cameras[:, None, None, :2], cameras[:, None, None, 2:4]
    relative = poses[..., 2:].index_fill(2, torch.tensor(root, device=poses.device), 0.0)  # whatever the root says
    z = relative + root_depth[..., None, None]  # (B, T, J, 1)
    points = torch.cat([(keypoints - center) * z / focal, z], dim=3)
    return points - points[:, :, root : root + 1]
