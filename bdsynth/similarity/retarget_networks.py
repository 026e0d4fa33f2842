"""The nets of 2D motion retargeting: what moves, what body it is and from where it is seen, taken apart.

Parameters carry the names of the published weights (Aberman et al., "Learning Character-Agnostic Motion for Motion
Retargeting in 2D", SIGGRAPH 2019), so that those load as they are.
"""

from __future__ import annotations

__all__ = ["KINDS", "RetargetingNet"]

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bdsynth.errors import InputError

_SLOPE = 0.2  # of leaky rectifiers
_DROPOUT = 0.2
_PAD = 3  # frames reflected at either end before each convolution, which therefore takes at least four

# What a net tells apart besides the motion, and the prefix of the encoder that tells it.
KINDS = {
    "skeleton": {"body": "static_encoder"},
    "view": {"view": "static_encoder"},
    "full": {"body": "body_encoder", "view": "view_encoder"},
}


class RetargetingNet(nn.Module):
    r"""Creates a net that takes motions apart into codes and puts them together again.

    .. math:: \hat x = D\left(E_m(x_m),\ E_b(x_b),\ E_v(x_v)\right)

    The motion is coded for every eighth frame; body and view are one code for all frames, so motions of any
    length go together. Only the motion's encoder sees the speed of the pelvis, the last two channels.

    Arguments:
        kind: one of KINDS.
        motion: channels of the motion's encoder, input first; the motion shrinks by 2 with each of its layers.
        statics: for each other attribute of the kind the channels of its encoder, and the channels of its code
            where a last linear layer makes it.
        decoder: channels of the decoder, input first.

    Raises:
        InputError: an unknown kind, or sizes that do not fit together.
    """

    def __init__(
        self,
        kind: str,
        motion: Sequence[int],
        statics: Mapping[str, Mapping[str, Any]],
        decoder: Sequence[int],
    ) -> None:
        super().__init__()
        if kind not in KINDS or statics.keys() != KINDS[kind].keys():
            raise InputError(
                f"retargeting net '{kind}' of {', '.join(statics)}: no such kind ({', '.join(KINDS)})"
            )
        codes = [motion[-1], *(static["code"] or static["channels"][-1] for static in statics.values())]
        fits = sum(codes) == decoder[0] and decoder[-1] == motion[0] and len(decoder) == len(motion)
        if not fits or any(static["channels"][0] != motion[0] - 2 for static in statics.values()):
            raise InputError(
                f"retargeting net '{kind}': encoders that make {' + '.join(map(str, codes))} channels of "
                f"{motion[0]} do not fit a decoder of {list(decoder)}"
            )
        self.kind, self.n_channels = kind, motion[0]
        self.step = 2 ** (len(motion) - 1)  # frames of one motion code
        self.mot_encoder = _MotionEncoder(motion)
        for attribute, prefix in KINDS[kind].items():
            averages = (kind, attribute) == ("full", "view")  # the net for views alone takes maxima
            self.add_module(prefix, _StaticEncoder(**statics[attribute], averages=averages))
        self.decoder = _Decoder(decoder)
        # Every layer needs more frames than are reflected, and the deepest one gets the fewest.
        deepest = max(len(motion), *(len(static["channels"]) for static in statics.values())) - 2
        self.min_frames = (_PAD + 1) * 2**deepest

    @property
    def attributes(self) -> tuple[str, ...]:
        """The names of its codes: "motion", and "body", "view" or both."""
        return ("motion", *KINDS[self.kind])

    def encode(self, x: Tensor) -> dict[str, Tensor]:
        """The codes of normalized motions.

        Arguments:
            x: (B, 30, T), T a multiple of 8 and at least ``min_frames``.

        Returns:
            by attribute: the motion (B, C, T / 8), body and view (B, C, 1).

        Raises:
            InputError: another shape.
        """
        fits = x.ndim == 3 and x.shape[1] == self.n_channels
        if not fits or x.shape[2] % self.step or x.shape[2] < self.min_frames:
            raise InputError(
                f"retargeting net: input has shape {tuple(x.shape)}, expected (B, {self.n_channels}, T) with T a "
                f"multiple of {self.step}, at least {self.min_frames}"
            )
        still = x[:, :-2]  # without the pelvis's speed
        statics = {name: self.get_submodule(prefix)(still) for name, prefix in KINDS[self.kind].items()}
        return {"motion": self.mot_encoder(x), **statics}

    def decode(self, codes: Mapping[str, Tensor]) -> Tensor:
        """The normalized motions of codes, which may come from different ones: (B, 30, T)."""
        motion = codes["motion"]  # (B, C, T / 8)
        statics = [codes[name].expand(-1, -1, motion.shape[2]) for name in KINDS[self.kind]]
        return self.decoder(torch.cat([motion, *statics], dim=1))

    def forward(self, x: Tensor) -> Tensor:
        """Motions taken apart and put together again, (B, 30, T)."""
        return self.decode(self.encode(x))


# Layers stand in lists whose indices are part of the published names.


class _MotionEncoder(nn.Module):
    """Three convolutions of stride 2: (B, 30, T) -> (B, C, T / 8)."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n_out in zip(channels[:-1], channels[1:], strict=True):
            layers += [nn.ReflectionPad1d(_PAD), nn.Conv1d(n_in, n_out, 8, stride=2), nn.LeakyReLU(_SLOPE)]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class _StaticEncoder(nn.Module):
    """Convolutions and poolings, down to one code for all frames: (B, 28, T) -> (B, C, 1)."""

    def __init__(self, channels: Sequence[int], code: int | None, averages: bool) -> None:
        super().__init__()
        self.averages = averages
        pool = nn.AvgPool1d if averages else nn.MaxPool1d
        layers: list[nn.Module] = []
        for n_in, n_out in zip(channels[:-1], channels[1:], strict=True):
            layers += [nn.ReflectionPad1d(_PAD), nn.Conv1d(n_in, n_out, 7), nn.LeakyReLU(_SLOPE), pool(2)]
        self.model = nn.Sequential(*layers)
        if code is not None:
            self.conv1x1 = nn.Conv1d(channels[-1], code, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.model(x)
        x = F.adaptive_avg_pool1d(x, 1) if self.averages else F.adaptive_max_pool1d(x, 1)
        return self.conv1x1(x) if hasattr(self, "conv1x1") else x


class _Decoder(nn.Module):
    """Three times each frame twice and a convolution: (B, C, T / 8) -> (B, 30, T)."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n_out in zip(channels[:-1], channels[1:], strict=True):
            layers += [nn.Upsample(scale_factor=2, mode="nearest"), nn.ReflectionPad1d(_PAD)]
            layers += [nn.Conv1d(n_in, n_out, 7), nn.Dropout(_DROPOUT), nn.LeakyReLU(_SLOPE)]
        self.model = nn.Sequential(*layers[:-2])  # nothing follows the last convolution

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)
