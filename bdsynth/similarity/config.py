"""What a config of the similarity room may say: typed, with its defaults."""

from __future__ import annotations

__all__ = ["BodyPartConfig"]

from typing import Annotated, Literal

from pydantic import Field

from bdsynth.learning.config import GeneralConfig, Section

Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Decay = Annotated[float, Field(gt=0, le=1)]
Distance = Literal["cosine", "l2"]


class Data(Section):
    """Which motions are learned from."""

    datapath: str
    """SARA: the folder with train and test; mocap: a prepared data set (python -m data.mocap,
    python -m data.synthetic --joints-only)."""
    dataset: Literal["SARA", "mocap"] = "SARA"
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """mocap: part of the training recordings that is held out for choosing the best epoch; 0: the last is used.
    SARA has its test characters for that, as published."""
    augment: bool = True
    """Random sizes and noise; of mocap also other limbs and mirror images."""


class Architecture(Section):
    all_joints: bool = False
    """Each part sees all joints in place of its own."""
    invisibility: bool = False
    """Joints come with flags that tell whether they are seen, and some are hidden in training."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """In the decoders."""


class Training(Section):
    objective: Literal["default", "compat"] = "default"
    """compat: the published training with its defects (docs/similarity.md)."""
    batch_size: Positive = 2048
    n_epochs: Positive = 70
    steps_per_epoch: Positive | None = None
    """Batches of an epoch; None: as many as the motions make."""
    lr: Rate = 1e-3
    lr_decay: Decay = 0.98
    """The learning rate is multiplied by it three times in each epoch."""
    weight_decay: NonNegative = 0.01
    triplet: Distance | None = None
    """Of codes of movement from each other; None: cosine, in compat l2."""
    closeness: Distance = "cosine"
    """Of a motion from its variation, where it is compared with the variation's score."""
    closeness_weight: NonNegative = 1.0
    reconstruction: bool = True
    foot_velocity: NonNegative = 0.0
    """Weight of the velocities of the ankles in what is reconstructed; none in compat."""


class Logging(Section):
    n_validation: Positive = 512
    """Quadruplets on which the losses are measured after each epoch."""
    keep_checkpoints: Positive = 3


class BodyPartConfig(Section):
    """config/bpe*.yaml."""

    general: GeneralConfig
    data: Data
    architecture: Architecture = Architecture()
    training: Training = Training()
    logging: Logging = Logging()
