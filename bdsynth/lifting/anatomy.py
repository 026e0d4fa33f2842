"""The anatomy-aware lifter: lengths of bones from many frames, their directions from a window, joints from both.

Parameters carry the names of the published checkpoints (Chen et al., TCSVT 2021, arXiv 2002.10322), so that
those load as they are.
"""

from __future__ import annotations

__all__ = ["BONES", "AnatomyNet", "AnatomyOutputs", "bone_vectors", "joint_shifts"]

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bdsynth.errors import InputError
from bdsynth.lifting.temporal_convolution import check_frames, check_widths, convolve, kept

N_JOINTS = 17
# Bones of h36m_17, each the vector from its second joint to its first one.
BONES = (
    *((16, 15), (15, 14), (13, 12), (12, 11), (10, 9), (9, 8), (8, 7), (8, 11)),
    *((8, 14), (7, 0), (3, 2), (2, 1), (6, 5), (5, 4), (1, 0), (4, 0)),
)
# All pairs of joints that no bone joins; the 17 of a joint with itself are in the published shapes.
PAIRS = tuple(
    (i, j) for i, j in combinations_with_replacement(range(N_JOINTS), 2) if not {(i, j), (j, i)} & set(BONES)
)
CHUNK = 256  # results whose windows are in memory together


@dataclass(frozen=True)
class AnatomyOutputs:
    """What the net is trained by, about B windows and R frames drawn from the sequence of each.

    Arguments:
        pose: the result, (B, 1, 17, 3) metres.
        lengths: of the bones, inferred from the drawn frames, (B, 16) metres.
        drawn_poses: what the bone length net takes the drawn frames for, (B, R, 17, 3).
        augmented_lengths: as lengths, from the frames with other bones, (B, 16).
        augmented_poses: as drawn_poses, of those, (B, R, 17, 3).
        directions: of the bones, unit vectors, (B, 16, 3).
        first_directions: what the first of the two subnetworks makes of them.
        shifts: vectors between joints that no bone joins, from lengths and directions, (B, 137, 3) metres.
        first_shifts: the same from first_directions.
    """

    pose: Tensor
    lengths: Tensor
    drawn_poses: Tensor
    augmented_lengths: Tensor
    augmented_poses: Tensor
    directions: Tensor
    first_directions: Tensor
    shifts: Tensor
    first_shifts: Tensor


class AnatomyNet(nn.Module):
    r"""Creates an anatomy-aware lifter of h36m_17 from x, y and visibility of the same joints.

    The bone length net takes each frame by itself for a pose P and attends over frames to the lengths in it:

    .. math:: l_k = \sum_t a_{tk} |b_k(P_t)|, \quad a_k = \mathrm{softmax}_t(\tau (W [P_t, |P_t|] + w)_k)

    The bone direction net is two subnetworks: a temporal convolution, gated by visibility, whose feature of
    the whole window is then led down the levels of that window a second time. A product of linear maps of
    lengths and directions becomes the joints.

    References:
        Anatomy-aware 3D human pose estimation with bone-based pose decomposition (Chen et al., 2021),
        https://arxiv.org/abs/2002.10322

    Arguments:
        filter_widths: of the temporal convolutions, at least two, each odd.
        causal: whether an output depends on no later frame.
        dropout: probability.
        channels: C.
        temperature: tau, of the attention.

    Raises:
        InputError: a width is not odd, or there are fewer than two.
    """

    def __init__(
        self,
        filter_widths: Sequence[int],
        *,
        causal: bool = False,
        dropout: float = 0.25,
        channels: int = 1024,
        temperature: float = 10.0,
    ) -> None:
        super().__init__()
        self.filter_widths = check_widths(filter_widths)
        if len(self.filter_widths) < 2:
            raise InputError(f"filter_widths: {list(filter_widths)}, expected at least two for the anatomy net")
        self.n_joints_in, self.n_features_in, self.n_joints_out = N_JOINTS, 3, N_JOINTS
        self.causal, self.dropout, self.channels, self.temperature = causal, dropout, channels, temperature
        self.receptive_field = math.prod(self.filter_widths)
        self.pad = (self.receptive_field - 1) // 2
        self.shift = self.pad if causal else 0
        n_levels, first, *rest = len(self.filter_widths), *self.filter_widths
        n_coordinates, n_directions, n_shifts = 3 * N_JOINTS, 3 * len(BONES), 3 * len(PAIRS)

        def norms(n: int) -> nn.ModuleList:
            return nn.ModuleList(nn.BatchNorm1d(channels) for _ in range(n))

        def convolutions(n_in: Sequence[int]) -> nn.ModuleList:
            """A wide one and one of width 1 for each level but the first."""
            layers, reach = nn.ModuleList(), first
            for n, width in zip(n_in, rest, strict=True):
                layers.append(nn.Conv1d(n, channels, width, dilation=reach, bias=False))
                layers.append(nn.Conv1d(channels, channels, 1, bias=False))
                reach *= width
            return layers

        self.drop = nn.Dropout(dropout)
        widths_of_linears = [2 * N_JOINTS] + [channels] * (2 * n_levels - 1) + [n_coordinates]
        self.layers_convbone = nn.ModuleList(
            nn.Linear(n, m) for n, m in zip(widths_of_linears, widths_of_linears[1:], strict=False)
        )
        self.layers_bnbone = norms(2 * n_levels - 1)
        self.boneatt = nn.Linear(2 * n_coordinates, len(BONES))

        self.expand_conv = nn.Conv1d(2 * N_JOINTS, channels, first, bias=False)
        self.expand_bn = nn.BatchNorm1d(channels)
        self.expand_convscore = nn.Conv1d(N_JOINTS, channels, first, bias=False)
        self.expand_bnscore = nn.BatchNorm1d(channels)
        self.layers_conv = convolutions([2 * channels] + [channels] * (n_levels - 2))
        self.layers_bn = norms(2 * n_levels - 2)
        self.layers_conv1 = convolutions([2 * channels] * (n_levels - 1))
        self.layers_bn1 = norms(2 * n_levels - 2)
        self.shrink_direct_1 = nn.Conv1d(channels, n_directions, 1)
        self.shrink_direct_2 = nn.Conv1d(channels, n_directions, 1)

        self.lengthlinear = nn.Linear(len(BONES), channels)
        self.directlinear = nn.Conv1d(n_directions, channels, 1)
        self.shrink = nn.Conv1d(channels, n_coordinates, 1)
        for k in (1, 2):  # training alone uses these
            self.add_module(f"lengthlinear_{k}", nn.Linear(len(BONES), channels))
            self.add_module(f"directlinear_{k}", nn.Conv1d(n_directions, channels, 1))
            self.add_module(f"shrink_js_{k}", nn.Conv1d(channels, n_shifts, 1))

    def forward(
        self,
        x: Tensor,
        pool: Tensor | None = None,
        *,
        n_drawn: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """One result for each frame that has its receptive field.

        The lengths of bones come from all frames but the first and last ``pad``, which are taken for padding;
        in causal nets from all up to the frame of the result but the first ``2 pad``.

        Arguments:
            x: screen-normalized joints and visibility, (B, T, 17, 3), T at least RF.
            pool: frames to take the lengths of bones from instead, for all results, (B, R, 17, 2 or 3).
            n_drawn: in causal nets, lengths come from at most so many frames, drawn for each result (published:
                50) from what it may see; by default from all of them.
            generator: of what is drawn, on the CPU; the same for all sequences of the batch.

        Returns:
            (B, T - RF + 1, 17, 3) metres; result t is about frame t + pad, in causal nets t + 2 pad.

        Raises:
            InputError: another shape, or n_drawn where nothing is drawn.
        """
        check_frames(x, self.receptive_field, (N_JOINTS, 3))
        if n_drawn is not None and (n_drawn < 1 or pool is not None or not self.causal):
            raise InputError(f"n_drawn: {n_drawn}, expected a positive number, of a causal net without a pool")
        first, end = self.pad + self.shift, x.shape[1] - self.pad + self.shift
        seen = x[:, first:end] if pool is None else pool
        poses = self._poses_by_frame(seen)
        if n_drawn is not None:
            lengths = _drawn_mean(*self._lengths_by_frame(poses), n_drawn, generator)  # (B, T', 16)
        else:
            lengths = self.lengths(poses, self.causal and pool is None)
        return self._joints(lengths, self._directions(x))

    def training_outputs(self, x: Tensor, drawn: Tensor, augmented: Tensor) -> AnatomyOutputs:
        """All that the losses want. No gradient flows between bone lengths, the subnetworks, and the joints.

        Arguments:
            x: windows, (B, RF, 17, 3).
            drawn: frames drawn from the sequences of the windows, (B, R, 17, 2 or 3).
            augmented: the same people with other bones, (B, R, 17, 2 or 3).

        Raises:
            InputError: another shape.
        """
        check_frames(x, self.receptive_field, (N_JOINTS, 3), exactly=True)
        drawn_poses, augmented_poses = self._poses_by_frame(drawn), self._poses_by_frame(augmented)
        lengths = _mean(*self._lengths_by_frame(drawn_poses.detach()))
        augmented_lengths = _mean(*self._lengths_by_frame(augmented_poses.detach()))

        maps = self._levels(x, strided=True)
        first = _unit(self.shrink_direct_1(maps[-1]))  # (B, 1, 16, 3)
        maps = [level.detach() for level in maps]
        second = _unit(self.shrink_direct_2(self._second_pass(maps[-1], self._shared(maps, strided=True))))
        given = lengths.detach()[:, None]
        return AnatomyOutputs(
            pose=self._joints(given, second.detach()),
            lengths=lengths,
            drawn_poses=drawn_poses,
            augmented_lengths=augmented_lengths,
            augmented_poses=augmented_poses,
            directions=second[:, 0],
            first_directions=first[:, 0],
            shifts=self._shifts(2, given, second),
            first_shifts=self._shifts(1, given, first),
        )

    def set_momentum(self, momentum: float, compat: bool = False) -> None:
        """Sets the momentum of all batch norms; with ``compat`` of those of the first subnetwork alone."""
        some = [self.expand_bn, *self.layers_bn]
        for module in some if compat else self.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.momentum = momentum

    # --- Lengths of bones ----------------------------------------------------------------------------------

    def lengths(self, poses: Tensor, so_far: bool) -> Tensor:
        """Lengths of the bones of one person.

        Arguments:
            poses: what the net takes each frame for, (B, R, 17, 3).
            so_far: from all frames up to each one, in place of all frames.

        Returns:
            (B, R, 16) with so_far, else (B, 1, 16), metres.
        """
        lengths, attention = self._lengths_by_frame(poses)
        return _running_mean(lengths, attention) if so_far else _mean(lengths, attention)[:, None]

    def _poses_by_frame(self, x: Tensor) -> Tensor:
        """(B, R, 17, 2 or more) -> (B, R, 17, 3), each frame by itself."""
        y = x[..., :2].flatten(2).flatten(0, 1)  # (B R, 34)
        first, *pairs, last = self.layers_convbone
        y = self.drop(self.layers_bnbone[0](first(y)).relu())
        for i in range(0, len(pairs), 2):
            z = self.drop(self.layers_bnbone[i + 1](pairs[i](y)).relu())
            y = y + self.drop(self.layers_bnbone[i + 2](pairs[i + 1](z)).relu())
        return last(y).unflatten(1, (N_JOINTS, 3)).unflatten(0, x.shape[:2])

    def _lengths_by_frame(self, poses: Tensor) -> tuple[Tensor, Tensor]:
        """Lengths in each frame's pose (B, R, 17, 3), and logits of the attention, both (B, R, 16)."""
        coordinates = poses.flatten(2)
        logits = self.boneatt(torch.cat([coordinates, coordinates.abs()], dim=2))
        return bone_vectors(poses).norm(dim=-1), self.temperature * logits

    # --- Directions of bones -------------------------------------------------------------------------------

    def _directions(self, x: Tensor) -> Tensor:
        """Unit vectors (B, T', 16, 3) for all T' results of a sequence (B, T, 17, 3)."""
        maps = self._levels(x, strided=False)
        final, shared = maps[-1], self._shared(maps, strided=False)
        n = final.shape[2]
        whole = torch.compiler.is_compiling()  # or exporting: a loop would fix the number of chunks
        bounds = [(0, n)] if whole else [(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK)]
        parts = []
        for start, end in bounds:
            windows = [_windows(level, start, end, *self.spread(i)) for i, level in enumerate(shared)]
            y = self._second_pass(_windows(final, start, end, 1, 1), windows)  # (B n, C, 1)
            parts.append(y[..., 0].unflatten(0, (x.shape[0], end - start)))
        return _unit(self.shrink_direct_2(torch.cat(parts, dim=1).transpose(1, 2)))

    def _levels(self, x: Tensor, strided: bool) -> list[Tensor]:
        """Features of the first subnetwork after each level, (B, C, T_i)."""
        place, score = x[..., :2].flatten(2).transpose(1, 2), x[..., 2].transpose(1, 2)  # (B, 34 or 17, T)
        y = self.drop(self.expand_bn(convolve(self.expand_conv, place, strided)).relu())
        gate = self.drop(self.expand_bnscore(convolve(self.expand_convscore, score, strided)).relu())
        maps, read = [y], torch.cat([y, gate * y], dim=1)
        for i, width in enumerate(self.filter_widths[1:]):
            wide, point = self.layers_conv[2 * i : 2 * i + 2]
            wide_bn, point_bn = self.layers_bn[2 * i : 2 * i + 2]
            z = self.drop(wide_bn(convolve(wide, read, strided)).relu())
            z = self.drop(point_bn(point(z)).relu())
            y = read = kept(y, z.shape[2], width, wide.dilation[0], self.causal, strided) + z
            maps.append(y)
        return maps

    def _shared(self, maps: list[Tensor], strided: bool) -> list[Tensor]:
        """What the second subnetwork's wide convolutions make of the levels: the same for all results."""
        shared = []
        for wide, level in zip(self.layers_conv1[::2], maps, strict=False):
            weight, width = wide.weight[:, self.channels :], wide.kernel_size[0]
            how = {"stride": width} if strided else {"dilation": wide.dilation}
            shared.append(F.conv1d(level, weight, **how))
        return shared

    def spread(self, i: int) -> tuple[int, int]:
        """How many frames of level i of the second subnetwork a result sees, and how far apart they are."""
        return math.prod(self.filter_widths[i + 2 :]), math.prod(self.filter_widths[: i + 2])

    def _second_pass(self, final: Tensor, shared: list[Tensor]) -> Tensor:
        """The second subnetwork of N results.

        Its input repeats the final feature along time and is therefore kept as one frame.

        Arguments:
            final: (N, C, 1).
            shared: for each level but the last, (N, C, frames of that level).

        Returns:
            (N, C, 1).
        """
        y = final
        for i, width in enumerate(self.filter_widths[1:]):
            own = self.layers_conv1[2 * i].weight[:, : self.channels]
            wide_bn, point_bn = self.layers_bn1[2 * i : 2 * i + 2]
            if i == 0:
                z, residual = F.conv1d(y, own.sum(dim=2, keepdim=True)), y
            else:
                z, residual = F.conv1d(y, own, stride=width), kept(y, 0, width, 1, self.causal, strided=True)
            z = self.drop(wide_bn(z + shared[i]).relu())
            y = residual + self.drop(point_bn(self.layers_conv1[2 * i + 1](z)).relu())
        return y

    # --- Joints --------------------------------------------------------------------------------------------

    def _joints(self, lengths: Tensor, directions: Tensor) -> Tensor:
        """(B, T or 1, 16) and (B, T, 16, 3) -> (B, T, 17, 3)."""
        y = _product(self.lengthlinear, lengths, self.directlinear, directions)
        return self.shrink(y).transpose(1, 2).unflatten(2, (N_JOINTS, 3))

    def _shifts(self, k: int, lengths: Tensor, directions: Tensor) -> Tensor:
        """(B, 1, 16) and (B, 1, 16, 3) -> (B, 137, 3)."""
        linear, convolution = self.get_submodule(f"lengthlinear_{k}"), self.get_submodule(f"directlinear_{k}")
        y = _product(linear, lengths, convolution, directions)
        return self.get_submodule(f"shrink_js_{k}")(y)[..., 0].unflatten(1, (len(PAIRS), 3))


def bone_vectors(positions: Tensor) -> Tensor:
    """(..., 17, 3) -> (..., 16, 3)."""
    ends, starts = zip(*BONES, strict=True)
    return positions[..., ends, :] - positions[..., starts, :]


def joint_shifts(positions: Tensor) -> Tensor:
    """From each joint to each other one that no bone joins to it, (..., 17, 3) -> (..., 137, 3)."""
    starts, ends = zip(*PAIRS, strict=True)
    return positions[..., ends, :] - positions[..., starts, :]


def _product(linear: nn.Linear, lengths: Tensor, convolution: nn.Conv1d, directions: Tensor) -> Tensor:
    """(B, C, T)."""
    return linear(lengths).transpose(1, 2) * convolution(directions.flatten(2).transpose(1, 2))


def _unit(features: Tensor) -> Tensor:
    """(B, 48, T) -> (B, T, 16, 3)."""
    return F.normalize(features.transpose(1, 2).unflatten(2, (len(BONES), 3)), dim=-1)


def _windows(level: Tensor, start: int, end: int, n: int, spacing: int) -> Tensor:
    """n frames so far apart, from each of the frames start to end on: (B, C, T) -> (B (end - start), C, n)."""
    firsts = torch.arange(start, end, device=level.device)
    frames = firsts[:, None] + spacing * torch.arange(n, device=level.device)  # (end - start, n)
    return level[:, :, frames].transpose(1, 2).flatten(0, 1)


def _mean(lengths: Tensor, attention: Tensor) -> Tensor:
    """(B, R, 16), twice -> (B, 16)."""
    return (attention.softmax(dim=1) * lengths).sum(dim=1)


def _running_mean(lengths: Tensor, attention: Tensor) -> Tensor:
    """For each frame the mean over all frames up to it, (B, T, 16), in logarithms since any weight may come."""
    total = attention.logcumsumexp(dim=1)
    return ((attention + lengths.log()).logcumsumexp(dim=1) - total).exp()


def _drawn_mean(lengths: Tensor, attention: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
    """For each frame the mean over at most n frames up to it, (B, T, 16)."""
    frames = _draw(lengths.shape[1], n, generator).to(lengths.device)  # (T, n)
    attention = attention[:, frames].masked_fill((frames < 0)[..., None], -torch.inf)  # (B, T, n, 16)
    return (attention.softmax(dim=2) * lengths[:, frames]).sum(dim=2)


def _draw(n_frames: int, n: int, generator: torch.Generator | None) -> Tensor:
    """For each frame t, n distinct ones of 0 to t by Floyd's algorithm, (T, n); -1 where there are not so many."""
    t = torch.arange(n_frames)
    drawn = torch.full((n_frames, n), -1)
    for i in range(n):
        last = t + 1 - n + i
        candidate = (torch.rand(n_frames, generator=generator, dtype=torch.float64) * (last + 1)).long()
        taken = (drawn[:, :i] == candidate[:, None]).any(dim=1)
        drawn[:, i] = torch.where(last < 0, -1, torch.where(taken, last, candidate))
    return drawn
