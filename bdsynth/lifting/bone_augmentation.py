"""The same poses on other bones: what the bone length net of the anatomy-aware lifter learns lengths from."""

from __future__ import annotations

__all__ = ["augment_bones"]

import functools

import torch
from torch import Tensor
from torch.nn import functional as F

from bdsynth.lifting.anatomy import BONES, bone_vectors
from bdsynth.skeletons import get_skeleton


def augment_bones(
    positions: Tensor,
    degree: float = 0.6,
    *,
    generator: torch.Generator | None = None,
    noise: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Changes the length of every bone, by one amount for all frames of a person.

    .. math:: \Delta_k = u_k \cdot \mathrm{degree} \cdot \overline{|b_k|}, \quad
        u_k \sim U(-\tfrac12, \tfrac12)

    where the mean is over the batch. All that hangs from a bone moves with its end; directions of bones stay.

    Arguments:
        positions: of h36m_17, (B, R, 17, 3) metres; not changed.
        degree: width of the distribution of a bone's length, as a part of its mean length.
        generator: of the noise, on any device; the default one of the positions' device if absent.
        noise: the u themselves, (B, 16), instead.

    Returns:
        Positions on the new bones (B, R, 17, 3), and the mean lengths of these over the frames (B, 16).

    References:
        Chen et al., 2021, section 3.4, https://arxiv.org/abs/2002.10322
    """
    if noise is None:
        device = positions.device if generator is None else generator.device
        noise = torch.rand(len(positions), len(BONES), generator=generator, device=device) - 0.5
    bones = bone_vectors(positions)  # (B, R, 16, 3)
    lengths = bones.norm(dim=-1)
    change = noise.to(positions) * degree * lengths.mean(dim=(0, 1))  # (B, 16)
    offsets = F.normalize(bones, dim=-1) * change[:, None, :, None]
    moved = torch.einsum("kj,brkd->brjd", _hanging().to(positions), offsets)
    return positions + moved, lengths.mean(dim=1) + change


@functools.cache
def _hanging() -> Tensor:
    """How each joint moves with each bone, (16, 17): 1 where it hangs from the bone, 0 where it does not.

    -1 stands for 1 where the bone's vector points to the parent.
    """
    parents = get_skeleton("h36m_17").parents
    moves = torch.zeros(len(BONES), len(parents))
    for k, (end, start) in enumerate(BONES):
        child, sign = (end, 1) if parents[end] == start else (start, -1)
        for joint in range(len(parents)):
            above = joint
            while above not in (child, -1):
                above = parents[above]
            moves[k, joint] = sign if above == child else 0
    return moves
