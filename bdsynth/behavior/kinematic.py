"""A behavior net that moves bones: the code says how they turn and where the pelvis goes, the posture what bones.

Bones keep the lengths of the start posture exactly, and movements are smooth, since both halves of the net know
them as a few cosines in time. Unless told otherwise the encoder sees only what changes from the first frame on.
"""

from __future__ import annotations

__all__ = ["Bones", "KinematicNet"]

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bdsynth.behavior.network import Posterior
from bdsynth.datasets.pose_space import PoseSpace
from bdsynth.errors import InputError

LEAST_SCALE = 0.02  # of a frequency, beside the strongest one of its feature
MARGIN = 0.1  # at both ends of the time of the cosines


class Bones(nn.Module):
    """Between normalized poses and what moves: the pelvis, and the directions of N bones.

    Arguments:
        space: of the poses.
    """

    def __init__(self, space: PoseSpace) -> None:
        super().__init__()
        self.space = space
        parents, self.root = space.skeleton.parents, space.skeleton.index("pelvis")
        self.ends = [joint for joint, parent in enumerate(parents) if joint != self.root]
        self.starts = [parents[joint] for joint in self.ends]
        if any(parent < 0 for parent in self.starts):
            raise InputError(f"skeleton {space.skeleton.name}: the pelvis is not the root of all joints")
        chains = torch.zeros(len(parents), len(self.ends))  # which bones lead from the pelvis to a joint
        for joint in self.ends:
            at = joint
            while at != self.root:
                chains[joint, self.ends.index(at)] = 1
                at = parents[at]
        self.register_buffer("chains", chains, persistent=False)

    @property
    def n_features(self) -> int:
        """How many numbers move: three of the pelvis and three of each bone."""
        return 3 * (1 + len(self.ends))

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(..., J * 3) normalized -> pelvis (..., 3) m, directions (..., N, 3), lengths (..., N, 1) m."""
        positions = self.space.denormalize(x)
        bones = positions[..., self.ends, :] - positions[..., self.starts, :]
        lengths = bones.norm(dim=-1, keepdim=True)
        return positions[..., self.root, :], bones / lengths.clamp(min=1e-6), lengths

    def join(self, pelvis: Tensor, directions: Tensor, lengths: Tensor) -> Tensor:
        """The inverse of :meth:`split`; lengths broadcast."""
        return self.space.normalize(pelvis[..., None, :] + self.chains @ (directions * lengths))

    def moving(self, x: Tensor) -> Tensor:
        """(..., J * 3) normalized -> (..., n_features), the pelvis behind the bones."""
        pelvis, directions, _ = self.split(x)
        return torch.cat([directions.flatten(-2), pelvis], dim=-1)

    def posture(self, pelvis: Tensor, directions: Tensor) -> Tensor:
        """What the decoder knows of a posture: the directions and the height of the pelvis, (B, 3 N + 1)."""
        return torch.cat([directions.flatten(1), pelvis[:, 2:]], dim=1)

    def blend(self, x: Tensor, start: Tensor, other: Tensor, weights: Tensor) -> Tensor:
        """Poses whose difference from ``start`` to ``other`` is added with weights, on the bones of ``other``.

        Arguments:
            x: (B, T, J * 3).
            start, other: (B, J * 3).
            weights: (T,).
        """
        pelvis, directions, _ = self.split(x)
        (pelvis_0, directions_0, _), (pelvis_1, directions_1, lengths) = self.split(start), self.split(other)
        pelvis = pelvis + weights[:, None] * (pelvis_1 - pelvis_0)[:, None]
        directions = directions + weights[:, None, None] * (directions_1 - directions_0)[:, None]
        return self.join(pelvis, F.normalize(directions, dim=-1), lengths[:, None])


class KinematicNet(nn.Module):
    r"""Creates a behavior net of bones.

    Of a sequence of T frames, the features f (directions of bones, position of the pelvis) are taken relative to
    the first frame and written as K cosines. A residual network infers the code b from these coefficients; another
    one gives coefficients again, from the code and from a posture:

    .. math:: f_t = f_0 + \sum_k a_k(b, f_0) (\cos \pi k \tau_t - \cos \pi k \tau_0), \quad
        \tau_t = 0.1 + 0.8 \tfrac{t + 1/2}{T + 1}

    directions are then brought to length 1, and joints follow along the bones of the start posture. Beyond T
    frames the behavior is performed again, from a posture shortly before the end. Roles of code, posture and prior
    are those of :class:`~bdsynth.behavior.network.BehaviorNet`.

    References:
        Behavior-Driven Synthesis of Human Dynamics (Blattmann et al., 2021), https://arxiv.org/abs/2103.04677
        Learning Trajectory Dependencies for Human Motion Prediction (Mao et al., 2019: cosines in time),
        https://arxiv.org/abs/1908.05436

    Arguments:
        space: of the poses.
        dim_hidden_b: width D of a behavior code.
        n_frames: T, the longest sequence that is encoded.
        width: of the residual networks.
        depth: residual blocks in each.
        n_cosines: K.
        dropout: probability, in the encoder.
        reads_posture: the encoder also sees the first posture, not only what changes.
    """

    def __init__(
        self,
        space: PoseSpace,
        dim_hidden_b: int,
        n_frames: int,
        width: int = 512,
        depth: int = 3,
        n_cosines: int = 16,
        dropout: float = 0.0,
        reads_posture: bool = False,
    ) -> None:
        super().__init__()
        self.n_dims, self.dim_hidden_b, self.n_frames = space.n_dims, dim_hidden_b, n_frames
        self.width, self.depth, self.n_cosines, self.dropout = width, depth, n_cosines, dropout
        self.reads_posture = reads_posture
        self.fade = max(1, n_frames // 6)  # frames, where a behavior is performed again
        self.bones = Bones(space)
        features, sizes = self.bones.n_features, (dim_hidden_b, n_frames, width, depth, n_cosines)
        self.b_enc = _Encoder(features, *sizes, dropout, features - 2 if reads_posture else 0)
        self.decoder = _Decoder(features, *sizes)

    def sizes(self) -> dict[str, int | float]:
        """The arguments of the constructor but the space."""
        names = ("dim_hidden_b", "n_frames", "width", "depth", "n_cosines", "dropout", "reads_posture")
        return {name: getattr(self, name) for name in names}

    @torch.no_grad()
    def scale_to(self, x: Tensor, lengths: Tensor | None = None) -> None:
        """Sets what coefficients are measured in, by sequences (B, T, J * 3) like those of the training."""
        scales = self.b_enc.coefficients(self._changes(x, lengths)).square().mean(0).sqrt()  # (K, F)
        scales = torch.maximum(scales, LEAST_SCALE * scales.amax(0)).clamp(min=1e-3)
        self.b_enc.scales.copy_(scales)
        self.decoder.scales.copy_(scales)

    def encode(self, x: Tensor, lengths: Tensor | None = None) -> Posterior:
        """The behavior of sequences.

        Arguments:
            x: normalized poses, (B, T, J * 3), T at most n_frames.
            lengths: frames of each sequence that count, (B,); what follows them is not looked at.

        Returns:
            Posterior over codes (B, D).
        """
        changes = self._changes(x, lengths)
        if not self.reads_posture:
            return self.b_enc(changes)
        pelvis, directions, _ = self.bones.split(x[:, 0])
        return self.b_enc(changes, self.bones.posture(pelvis, directions))

    def decode(self, b: Tensor, start: Tensor, length: int) -> Tensor:
        """A behavior performed from a posture.

        Arguments:
            b: behavior codes, (B, D).
            start: normalized pose before the first one generated, (B, J * 3).
            length: frames to generate, at least 1; beyond n_frames the behavior is performed again.

        Returns:
            Normalized poses, (B, length, J * 3).
        """
        pelvis, directions, lengths = self.bones.split(start)
        moved, turned = self._perform(b, pelvis, directions)
        while moved.shape[1] < length:
            done = moved.shape[1] - 1 - self.fade
            more = self._perform(b, moved[:, done], turned[:, done])
            moved = self._faded(moved, more[0], done)
            turned = F.normalize(self._faded(turned, more[1], done), dim=-1)
        return self.bones.join(moved[:, :length], turned[:, :length], lengths[:, None])

    def _perform(self, b: Tensor, pelvis: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """The pelvis (B, T, 3) and directions (B, T, N, 3) in the T frames after a posture."""
        change = self.decoder(b, self.bones.posture(pelvis, directions))  # (B, T, F)
        turned = directions[:, None] + change[..., :-3].unflatten(-1, (-1, 3))
        return pelvis[:, None] + change[..., -3:], F.normalize(turned, dim=-1)

    def _faded(self, before: Tensor, after: Tensor, done: int) -> Tensor:
        """Sequences (B, T, ...): ``after`` follows frame ``done`` of ``before``, which fades out from there."""
        time = torch.arange(1, self.fade + 1).to(before) / self.fade
        weight = (time**2 * (3 - 2 * time)).view(-1, *[1] * (before.ndim - 2))
        shared = torch.lerp(before[:, done + 1 :], after[:, : self.fade], weight)
        return torch.cat([before[:, : done + 1], shared, after[:, self.fade :]], dim=1)

    def forward(
        self, x: Tensor, start: Tensor, length: int, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Posterior]:
        """As :meth:`BehaviorNet.forward <bdsynth.behavior.network.BehaviorNet.forward>`."""
        posterior = self.encode(x)
        return self.decode(posterior.sample(generator), start, length), posterior

    def _changes(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """What moves, relative to the first frame, (B, n_frames, F); sequences stand still at their ends."""
        if x.shape[1] > self.n_frames:
            raise InputError(f"kinematic net: a sequence has {x.shape[1]} frames, {self.n_frames} are the most")
        features = self.bones.moving(x)
        last = torch.full((len(x),), x.shape[1], device=x.device) if lengths is None else lengths.to(x.device)
        frames = torch.arange(self.n_frames, device=x.device).minimum(last[:, None] - 1)  # (B, n_frames)
        features = features.gather(1, frames[..., None].expand(-1, -1, features.shape[2]))
        return features - features[:, :1]


class _Encoder(nn.Module):
    """Changes over time (B, T, F), and postures (B, P) if it sees any -> the posterior over codes."""

    def __init__(
        self,
        n_features: int,
        dim: int,
        n_frames: int,
        width: int,
        depth: int,
        n_cosines: int,
        dropout: float,
        n_posture: int,
    ) -> None:
        super().__init__()
        self.register_buffer("scales", torch.ones(n_cosines, n_features))
        self.register_buffer("fit", torch.linalg.pinv(_cosines(n_frames, n_cosines)), persistent=False)
        self.layers = nn.Sequential(
            nn.Linear(n_cosines * n_features + n_posture, width),
            *(ResidualBlock(width, dropout) for _ in range(depth)),
            nn.LayerNorm(width),
        )
        self.mean, self.log_std = nn.Linear(width, dim), nn.Linear(width, dim)
        nn.init.constant_(self.log_std.bias, -1.0)

    def coefficients(self, changes: Tensor) -> Tensor:
        """Of the cosines that fit best, (B, K, F)."""
        return self.fit @ changes

    def forward(self, changes: Tensor, *postures: Tensor) -> Posterior:
        seen = (self.coefficients(changes) / self.scales).flatten(1)
        hidden = self.layers(torch.cat([seen, *postures], dim=1))
        return Posterior(self.mean(hidden), self.log_std(hidden).clamp(-7, 2), hidden)


class _Decoder(nn.Module):
    """Codes (B, D) and postures (B, F - 2) -> changes in the T frames after the posture, (B, T, F)."""

    def __init__(
        self, n_features: int, dim: int, n_frames: int, width: int, depth: int, n_cosines: int
    ) -> None:
        super().__init__()
        self.register_buffer("scales", torch.ones(n_cosines, n_features))
        self.register_buffer("cosines", _cosines(n_frames + 1, n_cosines)[1:], persistent=False)
        self.code, self.posture = nn.Linear(dim, width), nn.Linear(n_features - 2, width)
        self.layers = nn.Sequential(*(ResidualBlock(width) for _ in range(depth)), nn.LayerNorm(width))
        self.out = nn.Linear(width, n_cosines * n_features)
        with torch.no_grad():
            self.out.weight.mul_(0.3)

    def forward(self, b: Tensor, posture: Tensor) -> Tensor:
        hidden = self.layers(self.code(b) + self.posture(posture))
        return self.cosines @ (self.out(hidden).unflatten(1, self.scales.shape) * self.scales)


class ResidualBlock(nn.Module):
    """A layer and its correction, which is 0 at first: (B, W) -> (B, W)."""

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm, self.first, self.second = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)
        self.drop = nn.Dropout(dropout)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.drop(F.silu(self.first(self.norm(x)))))


def _cosines(n_frames: int, n: int) -> Tensor:
    """(n_frames, n), each 0 at the first frame; of a longer time, for cosines are flat at both ends of theirs."""
    time = (torch.arange(n_frames, dtype=torch.float64) + 0.5) / n_frames
    inner = MARGIN + (1 - 2 * MARGIN) * time
    waves = torch.cos(torch.pi * inner[:, None] * torch.arange(1, n + 1))
    return (waves - waves[:1]).float()
