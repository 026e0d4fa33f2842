"""Small networks that watch the behavior net, or play against it.

Some train beside it: the posture regressor, which the encoder tries to defeat, and classifiers that only
watch. Others are trained afterwards, to measure. Parameters carry the names of the original, where they were
given any.
"""

from __future__ import annotations

__all__ = [
    "ActionClassifier",
    "BehaviorProbe",
    "ChangeClassifier",
    "PostureProbe",
    "PostureRegressor",
    "RealismClassifier",
]

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bdsynth.behavior.network import last_output


class PostureRegressor(nn.Module):
    """Reads the posture of a frame off a behavior code: the "auxiliary decoder" of Blattmann et al. (2021).

    Arguments:
        dim_hidden_b: width D of a code.
        n_dims: width N of a pose vector.
        n_frames: frames T of a sequence.
    """

    def __init__(self, dim_hidden_b: int, n_dims: int, n_frames: int = 50) -> None:
        super().__init__()
        self.n_frames = n_frames
        self.fc1 = nn.Linear(dim_hidden_b, dim_hidden_b)
        self.fc2 = nn.Linear(dim_hidden_b, dim_hidden_b // 2)
        self.fc3 = nn.Linear(dim_hidden_b // 2, dim_hidden_b // 4)
        self.fc4 = nn.Linear(n_frames, 128)
        self.fc5 = nn.Linear(dim_hidden_b // 4 + 128, n_dims)

    def forward(self, b: Tensor, frame: int | Tensor) -> Tensor:
        """Codes (B, D) and which frame of the sequence, 0 to T - 1, for all or for each (B,) -> (B, N)."""
        which = torch.as_tensor(frame, device=b.device).expand(len(b))
        which = F.relu(self.fc4(F.one_hot(which, self.n_frames).to(b.dtype)))  # (B, 128)
        for layer in (self.fc1, self.fc2, self.fc3):
            b = F.relu(layer(b))
        return self.fc5(torch.cat([b, which], dim=1))


class ActionClassifier(nn.Module):
    """Names the action of a sequence of poses.

    Arguments:
        n_dims: width N of a pose vector.
        n_actions: number A of actions.
        dim_hidden: width of the LSTM.
    """

    def __init__(self, n_dims: int, n_actions: int, dim_hidden: int = 512) -> None:
        super().__init__()
        self.n_dims, self.n_actions, self.dim_hidden = n_dims, n_actions, dim_hidden
        self.RNN = nn.LSTM(n_dims, dim_hidden, batch_first=True)
        self.fc1 = nn.Linear(dim_hidden, 128)
        self.fc3 = nn.Linear(128, n_actions)

    def sizes(self) -> dict[str, int]:
        """The arguments of the constructor."""
        return {name: getattr(self, name) for name in ("n_dims", "n_actions", "dim_hidden")}

    def features(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """What the decision is made from: (B, T, N) and frames that count (B,) -> (B, 128)."""
        return F.relu(self.fc1(last_output(self.RNN(x)[0], lengths)))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Normalized poses (B, T, N) and how many frames of each count (B,) -> logits (B, A)."""
        return self.fc3(self.features(x, lengths))


class BehaviorProbe(nn.Module):
    """Names the action of a behavior code, as well as a linear map can.

    Arguments:
        dim_hidden_b: width D of a code.
        n_actions: number A of actions.
    """

    def __init__(self, dim_hidden_b: int, n_actions: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim_hidden_b, n_actions)

    def forward(self, b: Tensor) -> Tensor:
        """Codes (B, D) -> logits (B, A)."""
        return self.fc1(b)


class RealismClassifier(nn.Module):
    """Tells generated sequences from recorded ones.

    Arguments:
        n_dims: width N of a pose vector.
        dim_hidden: width of the GRU.
    """

    def __init__(self, n_dims: int, dim_hidden: int = 256) -> None:
        super().__init__()
        self.GRU = nn.GRU(n_dims, dim_hidden, batch_first=True)
        self.fc1 = nn.Linear(dim_hidden, 1)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Normalized poses (B, T, N) and how many frames of each count (B,) -> logits of "recorded" (B,)."""
        return self.fc1(last_output(self.GRU(x)[0], lengths)).squeeze(1)


class PostureProbe(nn.Module):
    """Reads one fixed frame's posture off a behavior code; trained afterwards, for the evaluation.

    Arguments:
        dim_hidden_b: width D of a code.
        n_dims: width N of a pose vector.
    """

    def __init__(self, dim_hidden_b: int, n_dims: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim_hidden_b, dim_hidden_b // 2)
        self.fc2 = nn.Linear(dim_hidden_b // 2, dim_hidden_b // 4)
        self.fc3 = nn.Linear(dim_hidden_b // 4, n_dims)

    def forward(self, b: Tensor) -> Tensor:
        """Codes (B, D) -> normalized poses (B, N)."""
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(b)))))


class ResidualBlock(nn.Module):
    """Two convolutions over time beside a shortcut, which is a strided convolution too where sizes change."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.GroupNorm(4, channels)
        self.conv2 = nn.Conv1d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.GroupNorm(4, channels)
        self.downsample = None
        if stride > 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                nn.Conv1d(in_channels, channels, 3, stride, padding=1, bias=False),
                nn.GroupNorm(16, channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ChangeClassifier(nn.Module):
    """Names the action of a sequence from how poses change, not from the poses.

    Arguments:
        n_dims: width N of a pose vector.
        n_actions: number A of actions.
        n_frames: frames T of a sequence of poses.
    """

    def __init__(self, n_dims: int, n_actions: int, n_frames: int = 50) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(n_dims, 64, 3, padding=1, bias=False)
        self.bn1 = nn.GroupNorm(4, 64)
        self.layer1 = nn.Sequential(ResidualBlock(64, 64, stride=2), ResidualBlock(64, 64, stride=1))
        self.layer2 = nn.Sequential(ResidualBlock(64, 32, stride=2))
        self.fc = nn.Linear(32 * ((n_frames + 2) // 4), n_actions, bias=False)

    def features(self, changes: Tensor) -> Tensor:
        """Differences of successive poses (B, T - 1, N) -> (B, 32, about a fourth of T)."""
        h = F.relu(self.bn1(self.conv1(changes.transpose(1, 2))))
        return self.layer2(self.layer1(h))

    def forward(self, changes: Tensor) -> Tensor:
        """Differences of successive poses (B, T - 1, N) -> logits (B, A)."""
        return self.fc(self.features(changes).flatten(1))
