"""Pre-training of P-STMO: joints and whole frames of 2D motions are hidden, and found again.

Parameters carry the names of the published checkpoints (Shan et al., ECCV 2022, arXiv 2203.07628).
"""

from __future__ import annotations

__all__ = ["MaskedPSTMO", "random_masks", "transfer"]

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bdsynth.errors import InputError
from bdsynth.lifting.transformer import (
    PSTMO,
    Layer,
    LayerNorm,
    SpatialEncoder,
    Stack,
    TemporalEncoder,
    joint_head,
    positions,
    read_joints,
)

SHARED = ("encoder.", "Transformer.")  # what begins so is the same in both nets


class MaskedPSTMO(nn.Module):
    """Creates the net that fills in what is hidden of 2D motions.

    Hidden joints, in all frames, are replaced by a learned one. The spatial and the temporal encoder are those
    of :class:`PSTMO`; the temporal one sees the frames alone that are not hidden. A decoder of half the width
    reads their tokens, and in place of hidden frames a learned one, and says where all joints are.

    Arguments:
        frames, n_layers, channels, d_hid, n_joints_in, n_features_in, dropout: of the :class:`PSTMO` it is for.

    Raises:
        InputError: channels are not a multiple of 16.
    """

    def __init__(
        self,
        frames: int,
        *,
        n_layers: int = 3,
        channels: int = 256,
        d_hid: int = 512,
        n_joints_in: int = 17,
        n_features_in: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if channels % 16:
            raise InputError(f"channels: {channels}, expected a multiple of 16")
        self.frames, self.n_layers, self.channels, self.d_hid = frames, n_layers, channels, d_hid
        self.n_joints_in, self.n_features_in, self.dropout = n_joints_in, n_features_in, dropout
        narrow, narrow_hid = channels // 2, d_hid // 2

        self.encoder = SpatialEncoder(n_joints_in * n_features_in, d_hid, channels, dropout)
        self.Transformer = TemporalEncoder(frames, n_layers, channels, d_hid, dropout)
        self.encoder_LN = LayerNorm(channels)
        self.encoder_to_decoder = nn.Linear(channels, narrow, bias=False)
        decoder = Stack([Layer(narrow, narrow_hid, dropout) for _ in range(n_layers - 1)], narrow)
        self.Transformer_dec = nn.ModuleDict({"model": decoder})
        self.fcn_dec = joint_head(narrow, n_joints_in * n_features_in)
        self.dec_pos_embedding = positions(frames, narrow)
        self.mask_token = positions(1, narrow)
        self.spatial_mask_token = positions(1, n_features_in)

    def forward(self, x: Tensor, hidden_frames: Tensor, hidden_joints: Tensor) -> Tensor:
        """All joints, from what is left to be seen.

        Arguments:
            x: screen-normalized joints, (B, F, J, C_in).
            hidden_frames: of each sample, as many in each, (B, F) bool; (F,) hides the same of all.
            hidden_joints: in every frame, (B, F, J) bool, or (F, J) alike.

        Returns:
            (B, F, J, C_in), frames in their order.

        Raises:
            InputError: another shape, or samples that hide different numbers of frames, or all of them.
        """
        hidden_frames, hidden_joints = self._masks(x, hidden_frames, hidden_joints)
        n_seen = int((~hidden_frames[0]).sum())
        seen = hidden_frames.to(torch.uint8).argsort(dim=1, stable=True)[:, :n_seen, None]  # (B, S, 1), in order
        tokens = self.encoder(torch.where(hidden_joints[..., None], self.spatial_mask_token, x))
        tokens = tokens + self.Transformer.pos_embedding  # (B, F, C)
        tokens = self.Transformer.model(tokens.take_along_dim(seen, dim=1))
        tokens = self.encoder_to_decoder(self.encoder_LN(tokens))  # (B, S, C / 2)

        place = (~hidden_frames).cumsum(dim=1).clamp(min=1)[..., None] - 1  # of each frame among those seen
        tokens = torch.where(hidden_frames[..., None], self.mask_token, tokens.take_along_dim(place, dim=1))
        tokens = self.Transformer_dec["model"](tokens + self.dec_pos_embedding)
        return read_joints(self.fcn_dec, tokens, self.n_joints_in)

    def _masks(self, x: Tensor, frames: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
        """The masks as (B, F) and (B, F, J)."""
        sizes = (self.frames, self.n_joints_in, self.n_features_in)
        if x.ndim != 4 or tuple(x.shape[1:]) != sizes:
            raise InputError(f"masked net: input has shape {tuple(x.shape)}, expected (B, {str(sizes)[1:-1]})")
        for name, mask, shape in (("frames", frames, x.shape[:2]), ("joints", joints, x.shape[:3])):
            if mask.dtype != torch.bool or tuple(mask.shape) not in (tuple(shape), tuple(shape[1:])):
                raise InputError(
                    f"masked net: hidden {name} are {mask.dtype} {tuple(mask.shape)}, expected bool {tuple(shape)}"
                )
        frames, joints = frames.expand(x.shape[:2]), joints.expand(x.shape[:3])
        counts = frames.sum(dim=1)
        if (counts != counts[0]).any() or counts[0] == self.frames:
            raise InputError(f"masked net: {counts.tolist()} frames are hidden, expected equal numbers below F")
        return frames, joints


def random_masks(
    n_samples: int,
    n_frames: int,
    n_joints: int,
    share: float,
    n_hidden: int,
    generator: torch.Generator,
    compat: bool = False,
) -> tuple[Tensor, Tensor]:
    """What to hide, all choices equally likely.

    Arguments:
        n_samples, n_frames, n_joints: B, F, J.
        share: of the frames, from 0 to below 1; rounded down to whole frames.
        n_hidden: joints hidden in each frame.
        generator: where the masks come from; they are on its device.
        compat: one mask for all samples, and the last joint is never hidden, as published.

    Returns:
        Frames (B, F) bool, and joints (B, F, J) bool, True where hidden.

    Raises:
        InputError: more is to be hidden than there is.
    """
    n_eligible = n_joints - compat
    if not 0 <= share < 1:
        raise InputError(f"temporal_mask: {share}, expected from 0 to below 1")
    if not 0 <= n_hidden <= n_eligible:
        raise InputError(f"spatial_mask: {n_hidden}, expected from 0 to {n_eligible} joints")
    n_masks = 1 if compat else n_samples

    def choose(k: int, *shape: int) -> Tensor:
        """k True along the last axis."""
        order = torch.rand(shape, generator=generator, device=generator.device).argsort(dim=-1)
        return torch.zeros(shape, dtype=torch.bool, device=order.device).scatter_(-1, order[..., :k], True)

    frames = choose(int(n_frames * share), n_masks, n_frames)
    joints = choose(n_hidden, n_masks, n_frames, n_eligible)
    joints = nn.functional.pad(joints, (0, n_joints - n_eligible))
    return frames.expand(n_samples, -1), joints.expand(n_samples, -1, -1)


def transfer(pretrained: Mapping[str, Tensor], net: PSTMO) -> None:
    """Starts a lifter with the spatial and temporal encoders of a :class:`MaskedPSTMO`'s state dict.

    Raises:
        InputError: a tensor of the encoders is missing or of another shape.
    """
    state = {key: value for key, value in net.state_dict().items() if key.startswith(SHARED)}
    for key, value in state.items():
        if key not in pretrained:
            raise InputError(f"pretrained: tensor '{key}' is missing, expected a net with {net.n_layers} layers")
        if pretrained[key].shape != value.shape:
            found, expected = tuple(pretrained[key].shape), tuple(value.shape)
            raise InputError(f"pretrained: tensor '{key}' has shape {found}, expected {expected}")
        value.copy_(pretrained[key])
