"""The sequences that the experiments of this room learn from."""

from __future__ import annotations

__all__ = [
    "batches_of",
    "body_size",
    "masked_mse",
    "mean_distance",
    "mix_sequences",
    "open_data",
    "split_sequence",
    "swap_starts",
    "windows_of",
]

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bdsynth.behavior.config import BehaviorNetConfig, Data, MTVAEConfig
from bdsynth.behavior.kinematic import Bones
from bdsynth.datasets.canonical import leg_lengths
from bdsynth.datasets.human36m import open_human36m
from bdsynth.datasets.pose_space import PoseSpace
from bdsynth.datasets.prepared import PreparedDataset
from bdsynth.datasets.windows import Batches, MotionWindows
from bdsynth.errors import InputError


def batches_of(windows: MotionWindows, config: BehaviorNetConfig | MTVAEConfig, epoch: int) -> Batches:
    """The training batches of one epoch, as the config says."""
    return windows.batches(
        epoch,
        batch_size=config.training.batch_size,
        seed=config.general.seed,
        balance=config.data.balance,
        steps=config.training.steps_per_epoch,
    )


HUMAN36M_ONLY = (
    "use_person_split", "action_split_type", "small_joint_model", "all_actions", "actions_to_use"
)  # fmt: skip


def open_data(data: Data, compat: bool = False) -> PreparedDataset:
    """The data set that the config's section ``data`` names.

    Raises:
        InputError: nothing usable lies there, or an option is set that this data set does not have.
    """
    options = {key: getattr(data, key) for key in HUMAN36M_ONLY}
    if data.dataset == "Human3.6m":
        return open_human36m(data.datapath, **options, compat=compat)
    for key, value in options.items():
        if value != Data.model_fields[key].default:
            raise InputError(f"data.{key}: is for data.dataset Human3.6m, this is {data.dataset}")
    return PreparedDataset.open(data.datapath)


def body_size(dataset: PreparedDataset) -> float:
    """Median leg length of the training clips, each by its first frame; metres."""
    poses = dataset.positions[[clip.start for clip in dataset.clips("train")]]
    return float(np.median(leg_lengths(poses, dataset.skeleton)))


def windows_of(
    dataset: PreparedDataset,
    split: str,
    data: Data,
    *,
    space: PoseSpace | None = None,
    mirror: bool = False,
    leg_length: float | None = None,
    compat: bool = False,
    debug: bool = False,
) -> MotionWindows:
    """The sequences of one split, cut as the config's section ``data`` says."""
    return MotionWindows(
        dataset,
        split,
        length=data.seq_length,
        lag=data.sequential_frame_lag,
        canonical=data.canonical,
        mirror=mirror,
        representation=data.representation,
        statistics=space,
        min_length=data.min_seq_length,
        leg_length=leg_length,
        compat=compat,
        debug=debug,
    )


def split_sequence(batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """x (B, T, N), its frame-wise successor y (B, T, N), and how many frames of them count (B,)."""
    keypoints = batch["keypoints"]
    return keypoints[:, :-1], keypoints[:, 1:], batch["length"]


def swap_starts(
    start: Tensor, target: Tensor, share: float, frames: int, bones: Bones | None = None
) -> tuple[Tensor, Tensor]:
    """Start postures of other sequences for some, with targets that lead from there into their own.

    The difference of the postures is added to the target with a weight that falls from 1 to 0 along a half
    cosine, as games blend motions. The decoder so learns to do what the code says from postures that were
    never seen with it, in place of guessing the behavior from the posture.

    Arguments:
        start: (B, N).
        target: the poses after it, (B, T, N).
        share: probability of a sequence to be changed.
        frames: length of the fade.
        bones: blend their directions, and keep their lengths; by default joints are blended.

    Returns:
        start (B, N) and target (B, T, N).
    """
    swapped = torch.rand(len(start), 1, device=start.device) < share
    other = start[torch.randperm(len(start)).to(start.device)]
    other = torch.where(swapped, other, start)
    time = torch.arange(1, target.shape[1] + 1, device=start.device) / frames
    fade = 0.5 * (1 + torch.cos(torch.pi * time.clamp(max=1)))  # (T,)
    if bones is not None:
        return other, bones.blend(target, start, other, fade)
    return other, target + fade[:, None] * (other - start)[:, None]


def mix_sequences(x: Tensor, lengths: Tensor, share: float, bones: Bones) -> tuple[Tensor, Tensor]:
    """Sequences that nobody performed, made of two each, so that a net learns more than it has data.

    Half of them take over, from a random joint outwards, what another sequence does with that part of the body;
    the other half are somewhere between the two sequences (mixup). Bones keep their lengths.

    Arguments:
        x: (B, T, N).
        lengths: frames that count (B,).
        share: probability of a sequence to be mixed with another one.
        bones: what turns.

    Returns:
        x (B, T, N) and lengths (B,), of mixed sequences the shorter one of the two.
    """
    n, device = len(x), x.device
    other = torch.randperm(n).to(device)
    mixed, part = torch.rand(n, device=device) < share, torch.rand(n, device=device) < 0.5
    outwards = bones.chains[bones.ends]  # (N, N): which bones follow, and the one that leads
    parts = outwards[:, torch.randint(len(bones.ends), (n,), device=device)].T.to(x)  # (B, N)
    between = torch.rand(n, 1).to(x)
    weight = torch.where(part[:, None], parts, between) * mixed[:, None]
    weight_pelvis = torch.where(part[:, None], 0.0, between) * mixed[:, None]
    pelvis, directions, bone_lengths = bones.split(x)
    pelvis = torch.lerp(pelvis, pelvis[other], weight_pelvis[:, None])
    directions = torch.lerp(directions, directions[other], weight[:, None, :, None])
    made = bones.join(pelvis, F.normalize(directions, dim=-1), bone_lengths)
    return made, torch.where(mixed, lengths.minimum(lengths[other]), lengths)


def mean_distance(predicted: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
    """Mean distance of joints over the frames that count: (B, T, J, 3), (B, T, J, 3), (B,) -> ()."""
    distance = ((predicted - target).square().sum(-1) + 1e-6).sqrt().mean(-1)  # 1 mm: smooth where it is right
    return _mean_over_frames(distance, lengths)


def masked_mse(predicted: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
    """Mean squared error over the frames that count: (B, T, N), (B, T, N), (B,) -> ()."""
    return _mean_over_frames((predicted - target).square().mean(-1), lengths)


def _mean_over_frames(values: Tensor, lengths: Tensor) -> Tensor:
    """Of those that count: (B, T), (B,) -> ()."""
    counts = torch.arange(values.shape[1], device=values.device) < lengths[:, None]  # (B, T)
    return (values * counts).sum() / counts.sum()
