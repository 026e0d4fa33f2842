"""What a config of the behavior room may say: the seed's field names, typed, with their defaults."""

from __future__ import annotations

__all__ = ["BehaviorNetConfig", "MTVAEConfig"]

from typing import Annotated, Literal

from pydantic import Field

from bdsynth.learning.config import GeneralConfig, Section

Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(gt=0, lt=1)]


class Data(Section):
    """Where sequences come from and how they are cut."""

    datapath: str
    """Folder of a prepared data set (python -m data.mocap makes one); for Human3.6m that of annot_export.h5."""
    dataset: Literal["mocap", "Human3.6m"] = "mocap"
    keypoint_type: Literal["keypoints_3d_world"] = "keypoints_3d_world"
    use_person_split: bool = True
    """Human3.6m: test on the subjects S9 and S11; otherwise on actions."""
    action_split_type: Literal["default", "generalize_sitting", "generalize_walking"] = "default"
    """Human3.6m without use_person_split: which actions test."""
    small_joint_model: bool = False
    """Human3.6m: 13 joints in place of 17."""
    all_actions: bool = True
    actions_to_use: tuple[str, ...] = ()
    """Human3.6m without all_actions: the actions that are used."""
    seq_length: Annotated[int, Field(ge=2)] = 50
    """Frames of a sequence; one more is read, as the target of the last."""
    min_seq_length: Annotated[int, Field(ge=2)] | None = None
    """Shortest sequence of clips that are shorter than seq_length; None leaves such clips out."""
    sequential_frame_lag: Positive = 2
    """Frames of the data set from one frame of a sequence to the next."""
    canonical: bool = True
    """Sequences start over the origin, facing +x; otherwise raw world coordinates."""
    normalize_size: bool = True
    """Bodies are brought to one leg length; results return to the size of the start posture."""
    representation: Literal["world", "root_relative"] = "root_relative"
    """Joints in the world, or relative to the pelvis of their frame (the pelvis stays in the world)."""
    mirror: bool = True
    """Left-right swapped copies of the training sequences."""
    balance: Literal["none", "action"] = "action"
    """Draw training sequences evenly from all of them, or evenly from the actions."""


class BehaviorArchitecture(Section):
    """Sizes of the behavior net and its flow."""

    net: Literal["recurrent", "kinematic"] = "recurrent"
    """recurrent: the published net; kinematic: one that moves bones (docs/behavior.md)."""
    dim_hidden_b: Annotated[int, Field(ge=4, multiple_of=2)] = 1024
    """Width of a behavior code; the flow works on its halves."""
    linear_in_decoder: bool = False
    """Of the recurrent net."""
    width: Annotated[int, Field(ge=2)] = 512
    """Of the kinematic net's layers."""
    depth: Positive = 3
    """Residual blocks in each half of the kinematic net."""
    n_cosines: Positive = 16
    """Cosines in time that the kinematic net writes a movement as."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """In the kinematic net's encoder."""
    reads_posture: bool = False
    """Whether the kinematic net's encoder sees the first posture too, not only what changes (docs/behavior.md)."""
    cvae: bool = False
    """Plain conditional VAE (baseline): weight of the KL fixed to 1, no posture regressor."""
    n_flows: Positive = 15
    flow_hidden_depth: Annotated[int, Field(ge=0)] = 2
    flow_mid_channels_factor: Rate = 2.0
    """Width of the flow's networks, in dim_hidden_b."""


class Training(Section):
    """Optimization, common to the experiments of the room."""

    batch_size: Annotated[int, Field(ge=2)] = 64
    n_epochs: Positive = 50
    steps_per_epoch: Positive | None = None
    """Batches of an epoch; None: as many as the training sequences make."""
    lr_init: Rate = 1e-4
    tau: tuple[Fraction, ...] = (0.2, 0.45, 0.7)
    """Fractions of the epochs after which the learning rate falls by gamma."""
    gamma: Rate = 0.3
    clip_grad: Rate | None = 1.0
    """Largest norm of the gradient; None: as it comes."""
    recon_loss_weight: NonNegative = 2.5


class BehaviorTraining(Training):
    """Optimization of the behavior net and the flow."""

    weight_velocity: NonNegative = 0.0
    """Of the squared error of how poses change from frame to frame, normalized; 0: as published."""
    weight_distance: NonNegative = 0.0
    """Of the distance of joints from where they should be, per metre; 0: as published."""

    weight_cycle: NonNegative = 0.0
    """Of the squared error of the code that is read off what was generated from it; 0: as published."""

    objective: Literal["default", "compat"] = "default"
    """compat: exactly what the original computes, its quirks included (docs/behavior.md)."""
    information_max: NonNegative = 100.0
    gamma_init: NonNegative = 0.0
    gamma_step: NonNegative = 1e-5
    imax_scaling: Literal["none", "ascend", "descend"] = "none"
    use_regressor: bool = True
    weight_regressor: NonNegative = 0.01
    regressor_steps: Positive = 5
    lr_regressor: Rate = 1e-4
    swap_start: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the sequences that are rebuilt from the start posture of another one, into which their own
    poses fade in (docs/behavior.md); 0: the published objective."""
    swap_frames: Positive = 12
    """Frames of the fade."""
    mix: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the sequences that are mixed with another one, for a net of bones (docs/behavior.md)."""
    n_epochs_flow: Annotated[int, Field(ge=0)] = 5
    """Epochs of the flow right after those of the net (--flow trains it for n_epochs)."""
    flow_lr: Rate = 4.5e-7
    """Per sequence: multiplied by batch_size."""
    weight_decay: NonNegative = 0.0
    """Of the flow's optimizer."""


class MTVAEArchitecture(Section):
    dim_hidden: Annotated[int, Field(ge=2, multiple_of=2)] = 1024


class MTVAEData(Data):
    seq_length: Annotated[int, Field(ge=2)] = 59
    n_cond: Positive = 10
    """Frames that the net observes; the rest of the sequence is what it generates."""


class MTVAETraining(Training):
    batch_size: Annotated[int, Field(ge=2)] = 256
    kl_weight: NonNegative = 1e-3


class Logging(Section):
    n_validation: Annotated[int, Field(ge=0)] = 1024
    """Sequences of the test split whose losses are logged after each epoch; nothing is chosen on them."""
    keep_checkpoints: Positive = 3


class BehaviorNetConfig(Section):
    """config/behavior_net*.yaml."""

    general: GeneralConfig
    data: Data
    architecture: BehaviorArchitecture = BehaviorArchitecture()
    training: BehaviorTraining = BehaviorTraining()
    logging: Logging = Logging()


class MTVAEConfig(Section):
    """config/mt_vae.yaml."""

    general: GeneralConfig
    data: MTVAEData
    architecture: MTVAEArchitecture = MTVAEArchitecture()
    training: MTVAETraining = MTVAETraining()
    logging: Logging = Logging()
