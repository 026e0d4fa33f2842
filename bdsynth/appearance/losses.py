"""What the nets of the room are trained with, besides the perceptual losses."""

from __future__ import annotations

__all__ = ["joint_error", "latent_kl", "posture_reward", "unit_variance_kl"]

from collections.abc import Sequence

from torch import Tensor

from bdsynth.appearance.network import Appearance
from bdsynth.learning.information import kl_to_standard_normal

MOST_REWARD = 1.2  # error of the regressor beyond which the encoder gains nothing


def latent_kl(appearance: Appearance) -> Tensor:
    """Information in the appearance, in nats: the mean of both latents' divergences from a standard normal."""
    parts = zip(appearance.means, appearance.log_stds, strict=True)
    return sum(kl_to_standard_normal(mean, log_std) for mean, log_std in parts) / len(appearance.means)


def unit_variance_kl(posterior: Sequence[Tensor], prior: Sequence[Tensor]) -> Tensor:
    """The VUNet's divergence, of normals of unit variance: half the squared distances of the means.

    Summed over a latent and over both, averaged over the batch.
    """
    pairs = zip(posterior, prior, strict=True)
    return sum(0.5 * (q - p).square().flatten(1).sum(1).mean() for q, p in pairs)


def joint_error(predicted: Tensor, joints: Tensor) -> Tensor:
    """Mean over the batch of the L2 norm of all joints' errors together.

    Arguments:
        predicted: (B, 2 K).
        joints: (B, K, 2), fractions of width and height.
    """
    return (predicted - joints.flatten(1)).norm(dim=1).mean()


def posture_reward(error: Tensor, most: Tensor | float = MOST_REWARD) -> Tensor:
    """What the encoder gains from the regressor's error, ``most`` at most; to be subtracted from its loss."""
    return error.clamp(max=most)
