"""The body part embedding: codes of movement, body and view for each part of the body, and back.

Parameters carry the names of the published checkpoints, so that those load as they are. Source: BPE (Park et al.,
"A Body Part Embedding Model With Datasets for Measuring 2D Human Motion Similarity", IEEE Access 2021).
"""

from __future__ import annotations

__all__ = ["BODIES", "MOTIONS", "VIEW_CODES", "SHORTEST", "BodyPartNet", "Outputs"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bdsynth.errors import InputError
from bdsynth.similarity.features import PARTS, channels

P, SP, N = 0, 1, 2  # a motion, a variation of it, another motion
MOTIONS = ((P, 0, 0), (SP, 0, 0), (N, 1, 1), (P, 1, 1), (SP, 1, 1))
"""(motion, skeleton, view) of the motion codes of a batch."""
BODIES = ((P, 0, 0), (N, 1, 1), (N, 0, 1), (SP, 0, 1), (SP, 1, 1), (P, 1, 0), (SP, 1, 0), (SP, 0, 0))
"""Those of the body codes; with all joints VIEW_CODES instead."""
VIEW_CODES = ((P, 0, 0), (N, 1, 1), (N, 1, 0), (P, 0, 1))
_VELOCITY = 2  # channels
SHORTEST = 13
"""Frames: shorter ones cannot be padded three times."""


@dataclass(frozen=True)
class Outputs:
    """Codes and reconstructions of a batch of B, by part or by (motion, skeleton, view).

    Arguments:
        motions: five times, in the order of MOTIONS, the code of each part, (B, C, T / 8).
        bodies: by what was encoded, the code of each part, (B, C); with all joints one code of the whole body.
        views: by what was encoded, (B, 64).
        reconstructions: of each part (12, B, C, T): motions p, sp, n, of bodies 1 and 2, in views 1 and 2.
    """

    motions: dict[tuple[int, int, int], list[Tensor]]
    bodies: dict[tuple[int, int, int], list[Tensor]]
    views: dict[tuple[int, int, int], Tensor]
    reconstructions: list[Tensor]


class BodyPartNet(nn.Module):
    """Creates the network.

    Each part (arms, legs, torso) has an encoder of its movement, one of its build and a decoder; all share one
    encoder of the view.

    Arguments:
        all_joints: every motion encoder sees all joints, centered at its part, and the body has one code.
        invisibility: joints come with flags that say whether they are seen.
        dropout: probability, in the decoders.
    """

    def __init__(self, *, all_joints: bool = False, invisibility: bool = False, dropout: float = 0.2) -> None:
        super().__init__()
        self.all_joints, self.invisibility = all_joints, invisibility
        self.ranges = channels(all_joints, invisibility)
        n_in = [part.stop - part.start for part in self.ranges.values()]
        own = [part.stop - part.start for part in channels(False, invisibility).values()]
        n_out = [part.stop - part.start for part in channels().values()]
        n_whole = sum(own) - _VELOCITY
        n_motion, n_body = [64, 64, 64, 64, 128], [16, 16, 16, 16, 32]

        self.view_encoder = StaticEncoder([n_whole, 32, 48], 64, nn.AvgPool1d)
        self.mot_encoders = nn.ModuleList(
            MotionEncoder([c, n // 4, n // 2, n]) for c, n in zip(n_in, n_motion, strict=True)
        )
        if all_joints:
            self.body_encoder = StaticEncoder([n_whole, 64, 96], 128, nn.MaxPool1d)
            n_body = [128] * len(PARTS)
        else:
            n_seen = [*own[:-1], own[-1] - _VELOCITY]
            self.body_encoders = nn.ModuleList(
                StaticEncoder([c, 16, 32, 64], n, nn.MaxPool1d) for c, n in zip(n_seen, n_body, strict=True)
            )
        self.decoders = nn.ModuleList(
            Decoder([m + b + 64, 64, 32, n], dropout) for m, b, n in zip(n_motion, n_body, n_out, strict=True)
        )

    @property
    def n_channels(self) -> int:
        return self.ranges[PARTS[-1]].stop

    def embed_motion(self, x: Tensor) -> list[Tensor]:
        """The codes of windows' movement.

        Arguments:
            x: :func:`~bdsynth.similarity.features.as_channels`, (B, C, T), T at least 13.

        Returns:
            of each part (B, 64, T'), of the torso (B, 128, T'), where T' is T / 8 rounded up.

        Raises:
            InputError: another shape.
        """
        if x.ndim != 3 or x.shape[1] != self.n_channels:
            shape = f"(B, {self.n_channels}, T)"
            raise InputError(f"body part net: input has shape {tuple(x.shape)}, expected {shape}")
        if x.shape[2] < SHORTEST:
            raise InputError(f"body part net: a window has {x.shape[2]} frames, expected {SHORTEST} or more")
        return [encode(x[:, part]) for encode, part in zip(self.mot_encoders, self.ranges.values(), strict=True)]

    def forward(self, batch: Mapping[str, Tensor]) -> Outputs:
        """Takes quadruplets apart and puts every combination of what they are made of together.

        Arguments:
            batch: :func:`~bdsynth.similarity.features.training_features` as tensors.
        """
        motions = {
            at: [encode(batch[part][:, *at]) for encode, part in zip(self.mot_encoders, PARTS, strict=True)]
            for at in MOTIONS
        }
        seen = {at: _whole(batch, at)[:, :-_VELOCITY] for at in VIEW_CODES}
        if self.all_joints:
            bodies = {at: [self.body_encoder(x)] for at, x in seen.items()}
        else:
            bodies = {at: self._bodies(batch, at) for at in BODIES}
        views = {at: self.view_encoder(x) for at, x in seen.items()}
        return Outputs(motions, bodies, views, self._reconstruct(motions, bodies, views))

    def _bodies(self, batch: Mapping[str, Tensor], at: tuple[int, int, int]) -> list[Tensor]:
        own = [batch[part][:, *at] for part in PARTS]
        own[-1] = own[-1][:, :-_VELOCITY]
        return [encode(x) for encode, x in zip(self.body_encoders, own, strict=True)]

    def _reconstruct(self, motions: dict, bodies: dict, views: dict) -> list[Tensor]:
        two = ((P, 0, 0), (N, 1, 1))  # of which bodies and views are
        view = torch.stack([views[at] for at in two])  # (2, B, 64)
        results = []
        for i, decode in enumerate(self.decoders):
            motion = torch.stack([motions[at][i] for at in MOTIONS[:3]])  # (3, B, C, T')
            body = torch.stack([bodies[at][i if len(bodies[at]) > 1 else 0] for at in two])
            static = torch.cat([body.repeat_interleave(2, 0), view.repeat(2, 1, 1)], dim=2)  # (4, B, C')
            results.append(decode.combine(motion, static).flatten(0, 1))  # (12, B, C, T)
        return results


def _whole(batch: Mapping[str, Tensor], at: tuple[int, int, int]) -> Tensor:
    """The features of the whole body of one (motion, skeleton, view) of a batch, (B, C, T)."""
    if "whole" in batch:
        return batch["whole"][:, *at]
    return torch.cat([batch[part][:, *at] for part in PARTS], dim=1)


# --- Encoders and decoders ---------------------------------------------------------------------------------


def _convolution(n_in: int, n_out: int, stride: int = 1) -> list[nn.Module]:
    return [nn.ReflectionPad1d(3), nn.Conv1d(n_in, n_out, 7, stride)]


class MotionEncoder(nn.Module):
    """Three convolutions of stride 2: (B, C_in, T) -> (B, C, T / 8). ``last_conv`` is a linear map of channels."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        layers = []
        for n_in, n_out in zip(widths, widths[1:], strict=False):
            layers += [*_convolution(n_in, n_out, 2), nn.BatchNorm1d(n_out), nn.LeakyReLU(0.2)]
        self.model = nn.Sequential(*layers)
        self.last_conv = nn.Conv1d(widths[-1], widths[-1], 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.last_conv(self.model(x))


class StaticEncoder(nn.Module):
    """Convolutions that halve time by pooling, and the same pool over what is left: (B, C_in, T) -> (B, n).

    ``last_conv`` is of no use: published checkpoints have it, and nothing depends on it.
    """

    def __init__(self, widths: Sequence[int], n: int, pool: type[nn.MaxPool1d] | type[nn.AvgPool1d]) -> None:
        super().__init__()
        layers = []
        for n_in, n_out in zip(widths, widths[1:], strict=False):
            layers += [*_convolution(n_in, n_out), nn.BatchNorm1d(n_out), nn.LeakyReLU(0.2), pool(2, 2)]
        self.model = nn.Sequential(*layers)
        self.pool = nn.AdaptiveMaxPool1d(1) if pool is nn.MaxPool1d else nn.AdaptiveAvgPool1d(1)
        self.conv1x1 = nn.Conv1d(widths[-1], n, 1)
        self.last_conv = nn.Conv1d(n, n, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1x1(self.pool(self.model(x))).squeeze(2)


class Decoder(nn.Module):
    """Three convolutions that double time: (B, C_in, T / 8) -> (B, C, T)."""

    def __init__(self, widths: Sequence[int], dropout: float) -> None:
        super().__init__()
        layers = []
        for n_in, n_out in zip(widths, widths[1:], strict=False):
            layers += [nn.Upsample(scale_factor=2), *_convolution(n_in, n_out)]
            layers += [nn.Dropout(dropout), nn.LeakyReLU(0.2)]
        self.model = nn.Sequential(*layers[:-2])

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def combine(self, motion: Tensor, static: Tensor) -> Tensor:
        """Each of M codes that change in time with each of S that do not.

        The first convolution is linear: what it makes of either is computed once.

        Arguments:
            motion: (M, B, C, T / 8).
            static: (S, B, C'), C + C' = C_in.

        Returns:
            (M, S, B, C_out, T).
        """
        upsample, pad, first, *rest = self.model
        of_motion, of_static = first.weight.split([motion.shape[2], static.shape[2]], dim=1)
        x = F.conv1d(pad(upsample(motion.flatten(0, 1))), of_motion).unflatten(0, motion.shape[:2])
        x = x[:, None] + F.linear(static, of_static.sum(dim=2), first.bias)[..., None]  # (M, S, B, 64, T / 4)
        shape = x.shape[:3]
        x = x.flatten(0, 2)
        for layer in rest:
            x = layer(x)
        return x.unflatten(0, shape)
