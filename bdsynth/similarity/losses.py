"""What the body part embedding learns from: quadruplets of movement, triplets of bodies and views, reconstruction.

Source: BPE (Park et al., "A Body Part Embedding Model With Datasets for Measuring 2D Human Motion Similarity",
IEEE Access 2021).
"""

from __future__ import annotations

__all__ = ["losses"]

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from bdsynth.errors import InputError
from bdsynth.similarity.features import PARTS, channels, n_rows, own_rows
from bdsynth.similarity.network import MOTIONS, SP, N, Outputs, P

_QUADRUPLET_MARGIN, _TRIPLET_MARGIN = 0.5, 0.3
_VARIATION = 0.2  # distance of a motion to a variation of it whose score is 1
_REGULARIZATION, _TRIPLET = 0.01, 0.7  # weights

_P, _SP, _NEGATIVE, _P2, _SP2 = MOTIONS
# (anchor, motion of the same class, its variation, the other motion)
_QUADRUPLETS = (
    (_P2, _P, _SP2, _NEGATIVE),
    (_SP2, _SP, _P2, _NEGATIVE),
    (_SP, _SP2, _P, _NEGATIVE),
    (_P, _P2, _SP, _NEGATIVE),
)
# (anchor, what shares its skeleton or its view, what does not), each (motion, skeleton, view)
_BODY_TRIPLETS = (
    ((N, 0, 1), (P, 0, 0), (N, 1, 1)),
    ((SP, 0, 1), (P, 0, 0), (SP, 1, 1)),
    ((P, 1, 0), (N, 1, 1), (P, 0, 0)),
    ((SP, 1, 0), (N, 1, 1), (SP, 0, 0)),
)
_WHOLE_BODY_TRIPLETS = (((N, 1, 0), (N, 1, 1), (P, 0, 0)), ((P, 0, 1), (P, 0, 0), (N, 1, 1)))
_VIEW_TRIPLETS = (((P, 0, 1), (N, 1, 1), (P, 0, 0)), ((N, 1, 0), (P, 0, 0), (N, 1, 1)))


def losses(
    outputs: Outputs,
    batch: Mapping[str, Tensor],
    *,
    compat: bool = False,
    triplet: str | None = None,
    similarity: str = "cosine",
    similarity_weight: float = 1.0,
    reconstruction: bool = True,
    foot_velocity: float = 0.0,
    std: Tensor | None = None,
) -> dict[str, Tensor]:
    r"""Every loss of a batch, weighted: the objective is their sum.

    With d the cosine distance of codes over channels, in [0, 1], a motion p, its variation s, whose score is v,
    another motion n, and an anchor a of p's class that is not moved:

    .. math:: L = \max(0, \tfrac12 + d(a, p) - d(a, n)) + \max(0, \tfrac12 + d(a, s) - d(a, n))
        + w (d(p, s) - \tfrac15 v)^2

    averaged over parts, batch and time. ``m_l2reg`` holds the norms of motion codes near 1. ``b_tpl*`` and
    ``v_tpl*`` are triplets of body codes and view codes: the same body (or view) belongs together, another one is
    farther away by 0.3 at least. ``rec_*`` are mean squared errors of all twelve reconstructions. ``foot_vel`` is
    that of the velocity of the ankles, in standard deviations of the mid-hip's.

    Arguments:
        outputs: of :class:`~bdsynth.similarity.network.BodyPartNet`.
        batch: what it read, and "variation", the score of each variation, (B,).
        compat: as published: view triplets and triplets of whole bodies with positive and negative exchanged,
            Euclidean quadruplets over time instead of channels, foot velocities without any weight.
        triplet: the distance to the anchor, "cosine" or "l2"; None: cosine, as published l2.
        similarity: the distance between p and s, "cosine" or "l2" (half of the Euclidean one).
        similarity_weight: w.
        reconstruction: False leaves out the ``rec_*``.
        foot_velocity: the weight of ``foot_vel``.
        std: of the features, (19, 2) or (76, 2), for the foot velocity.

    Raises:
        InputError: another distance, or a foot velocity without std.
    """
    triplet = triplet or ("l2" if compat else "cosine")
    for name, value in (("triplet", triplet), ("similarity", similarity)):
        if value not in _DISTANCES:
            raise InputError(f"{name} is '{value}', expected one of {', '.join(_DISTANCES)}")
    if foot_velocity and std is None:
        raise InputError("foot_velocity: needs the standard deviations of the features")
    apart = _euclidean_over_time if compat and triplet == "l2" else _DISTANCES[triplet]
    alike = _DISTANCES[similarity]
    variation = _VARIATION * batch["variation"][:, None]  # (B, 1)

    result = {}
    for k, of in enumerate(_QUADRUPLETS, 1):
        per_part = []
        for anchor, p, s, n in zip(*(outputs.motions[at] for at in of), strict=True):
            off = (alike(p, s) - variation).square().mean()
            per_part.append(_quadruplet(anchor.detach(), p, s, n, apart) + similarity_weight * off)
        result[f"m_quad{k}"] = torch.stack(per_part).mean()
    norms = [(code.norm(dim=1) - 1).square().mean() for codes in outputs.motions.values() for code in codes]
    result["m_l2reg"] = _REGULARIZATION * torch.stack(norms).mean()

    by_part = len(next(iter(outputs.bodies.values()))) > 1
    for k, triple in enumerate(_BODY_TRIPLETS if by_part else _WHOLE_BODY_TRIPLETS, 1):
        a, p, n = _exchanged(triple, compat and not by_part)
        codes = zip(outputs.bodies[a], outputs.bodies[p], outputs.bodies[n], strict=True)
        result[f"b_tpl{k}"] = torch.stack([_triplet(*three) for three in codes]).mean()
    for k, triple in enumerate(_VIEW_TRIPLETS, 1):
        result[f"v_tpl{k}"] = _triplet(*(outputs.views[at] for at in _exchanged(triple, compat)))

    targets = _targets(batch)
    for part, made, target in zip(PARTS, outputs.reconstructions, targets, strict=True):
        result[f"rec_{part}"] = F.mse_loss(made, target) if reconstruction else made.new_zeros(())
    result["foot_vel"] = outputs.reconstructions[0].new_zeros(())
    if foot_velocity and not compat:
        result["foot_vel"] = foot_velocity * _foot_velocity(outputs.reconstructions, targets, std)
    return result


# --- Codes -------------------------------------------------------------------------------------------------


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """(B, T) in [0, 1], of (B, C, T)."""
    return (1 - F.cosine_similarity(a, b, dim=1, eps=1e-5)) / 2


def _euclidean(a: Tensor, b: Tensor) -> Tensor:
    """(B, T), of unit vectors in [0, 1]."""
    return (a - b + 1e-6).norm(dim=1) / 2


def _euclidean_over_time(a: Tensor, b: Tensor) -> Tensor:
    """(B, C): what PyTorch's triplet loss takes for the distance of (B, C, T)."""
    return F.pairwise_distance(a, b)


_DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"cosine": _cosine, "l2": _euclidean}


def _quadruplet(anchor: Tensor, p: Tensor, s: Tensor, n: Tensor, distance: Callable) -> Tensor:
    far = distance(anchor, n)
    return sum((_QUADRUPLET_MARGIN + distance(anchor, near) - far).relu().mean() for near in (p, s))


def _triplet(anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    return _TRIPLET * F.triplet_margin_loss(anchor, positive, negative, margin=_TRIPLET_MARGIN)


def _exchanged(triple: tuple, exchange: bool) -> tuple:
    anchor, positive, negative = triple
    return (anchor, negative, positive) if exchange else triple


# --- Reconstructions ---------------------------------------------------------------------------------------


def _targets(batch: Mapping[str, Tensor]) -> list[Tensor]:
    """Of each part (12, B, C, T), in the order of the reconstructions."""
    if "target" in batch:
        parts = [batch["target"][..., of, :] for of in channels().values()]
    else:
        parts = [batch[part] for part in PARTS]
    return [part.flatten(1, 3).transpose(0, 1) for part in parts]


def _foot_velocity(made: list[Tensor], targets: list[Tensor], std: Tensor) -> Tensor:
    """Mean squared error of the velocities of both ankles, in standard deviations of the mid-hip's.

    Features are in standard deviations of their own, so they are scaled back before they are added: the ankle
    relative to the hip, the hip relative to the mid-hip, and that one's velocity. Means cancel.
    """
    std = torch.as_tensor(std, dtype=made[0].dtype, device=made[0].device)
    std = (std if len(std) == n_rows() else std[own_rows()])[..., None]  # (19, 2, 1)
    torso = made[4] - targets[4]  # (12, B, 14, T)
    drift = torso[..., 12:, :] * std[18]
    errors = []
    for leg, ankle, hip in ((2, 8, 16), (3, 11, 17)):
        at = 2 * (hip - 12)  # of the hip among the torso's channels
        off = (made[leg] - targets[leg])[..., 4:, :] * std[ankle] + torso[..., at : at + 2, :] * std[hip]
        errors.append((off.diff(dim=-1) + drift[..., 1:]) / std[18])
    return torch.stack(errors).square().mean()
