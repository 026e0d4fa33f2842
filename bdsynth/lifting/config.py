"""What a config of the lifting room may say: typed, with its defaults."""

from __future__ import annotations

__all__ = ["Anatomy3DConfig", "PSTMOConfig", "PSTMOPretrainConfig", "VideoPose3DConfig"]

from typing import Annotated, Literal

from pydantic import Field

from bdsynth.learning.config import GeneralConfig, Section

Positive = Annotated[int, Field(gt=0)]
Natural = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Widths = Annotated[tuple[Positive, ...], Field(min_length=1)]


class Data(Section):
    """Which sequences are learned from, and how windows are cut from them."""

    datapath: str
    """Human3.6m, MPI-INF-3DHP: folder of the .npz files; SyntheticHumans: folder of annot_export.h5; mocap: a
    prepared data set (python -m data.mocap, python -m data.synthetic --joints-only)."""
    dataset: Literal["Human3.6m", "MPI-INF-3DHP", "SyntheticHumans", "mocap"] = "Human3.6m"
    keypoints: str = "cpn_ft_h36m_dbb"
    """Human3.6m: which detections, data_2d_h36m_{keypoints}.npz; gt are the true ones."""
    scores: bool = False
    """Human3.6m: the detector's confidence of score.pkl as third number of a keypoint."""
    joints: Literal["h36m_17", "coco_17"] = "h36m_17"
    """mocap: the order of the 2D joints; the 3D ones are always Human3.6M's."""
    subjects_train: tuple[str, ...] = ("S1", "S5", "S6", "S7", "S8")
    subjects_test: tuple[str, ...] = ("S9", "S11")
    actions: tuple[str, ...] = ()
    """Human3.6m: the actions that are used, by name; none given: all."""
    subset: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Part of every training sequence."""
    downsample: Positive = 1
    """Every so many frames of the data."""
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Part of the training recordings that is held out for choosing the best epoch; 0: the last epoch is used."""
    flip: bool = True
    """Mirror images of the training windows too."""
    noise: bool = True
    """mocap: keypoints as a detector would find them (jitter, swapped and missing joints); else the true ones."""
    exact: Share = 0.0
    """mocap: share of the training pieces in which the detector errs in nothing and is sure of all."""


class Training(Section):
    """Optimization, common to the nets of the room."""

    objective: Literal["default", "compat"] = "default"
    """compat: the published data handling with its defects (docs/lifting.md)."""
    batch_size: Positive = 1024
    """Frames of output in a step."""
    n_epochs: Positive = 60
    steps_per_epoch: Positive | None = None
    """Batches of an epoch; None: as many as the training windows make."""
    lr: Rate = 1e-3
    lr_decay: Annotated[float, Field(gt=0, le=1)] = 0.95
    """The learning rate is multiplied by it after each epoch."""
    initial: str | None = None
    """Weights of a lifter of the same sizes to begin with."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of a moving average of the weights, which is then what is used; 0: none."""


class Architecture(Section):
    """A temporal convolution model."""

    filter_widths: Widths = (3, 3, 3, 3, 3)
    """Odd; their product is the number of frames that a pose is read from."""
    channels: Positive = 1024
    dropout: Dropout = 0.25
    causal: bool = False
    """The last frame of the window is lifted in place of the middle one."""


class VideoPose3DArchitecture(Architecture):
    dense: bool = False
    trajectory: bool = False
    """A second net that finds where the person is."""


class AnatomyArchitecture(Architecture):
    temperature: Rate = 10.0
    """Of the attention by which frames tell bone lengths."""


class PSTMOArchitecture(Section):
    frames: Literal[9, 27, 81, 243, 351] = 243
    n_layers: Positive = 3
    channels: Positive = 256
    d_hid: Positive = 512
    dropout: Dropout = 0.1
    frame_step: Positive = 2
    """Frames of the data from one frame of a window to the next."""


class VideoPose3DTraining(Training):
    momentum: tuple[Share, Share] = (0.1, 0.001)
    """Of the batch normalizations in the first and, falling exponentially, the last epoch."""
    subjects_unlabeled: tuple[str, ...] = ()
    """Human3.6m: subjects of whom only the 2D keypoints are learned from; takes the trajectory net."""
    warmup: Natural = 1
    """Epochs before the unlabeled subjects join."""


class AnatomyTraining(Training):
    momentum: tuple[Share, Share] = (0.1, 0.001)
    n_random: Positive = 50
    """Frames of the recording from which bone lengths are learned."""
    augmentation: NonNegative = 0.6
    """How far bone lengths are varied."""
    weight_direction: NonNegative = 0.3
    weight_length: NonNegative = 100.0
    weight_shift: NonNegative = 2.0
    weight_first: NonNegative = 0.5
    """Of the first sub-network's share in direction and joint shifts."""


class PSTMOTraining(Training):
    batch_size: Positive = 160
    n_epochs: Positive = 79
    lr_decay: Annotated[float, Field(gt=0, le=1)] = 0.97
    pretrained: str | None = None
    """Checkpoint folder or weights file of config/lift_p_stmo_pretrain.yaml, whose spatial and temporal
    encoders are taken."""


class PSTMOPretrainTraining(Training):
    batch_size: Positive = 160
    n_epochs: Positive = 79
    lr: Rate = 1e-4
    lr_decay: Annotated[float, Field(gt=0, le=1)] = 0.97
    temporal_mask: Annotated[float, Field(ge=0, lt=1)] = 0.8
    """Share of the frames that are hidden."""
    spatial_mask: Natural = 2
    """Joints of every frame that are hidden."""


class Logging(Section):
    n_validation: Natural = 4096
    """Frames of the validation recordings that are lifted after each epoch."""
    keep_checkpoints: Positive = 3


class VideoPose3DConfig(Section):
    """config/lift_video_pose_3d.yaml and others of its kind."""

    general: GeneralConfig
    data: Data
    architecture: VideoPose3DArchitecture = VideoPose3DArchitecture()
    training: VideoPose3DTraining = VideoPose3DTraining()
    logging: Logging = Logging()


class Anatomy3DConfig(Section):
    """config/lift_anatomy_3d.yaml."""

    general: GeneralConfig
    data: Data
    architecture: AnatomyArchitecture = AnatomyArchitecture()
    training: AnatomyTraining = AnatomyTraining()
    logging: Logging = Logging()


class PSTMOConfig(Section):
    """config/lift_p_stmo*.yaml."""

    general: GeneralConfig
    data: Data
    architecture: PSTMOArchitecture = PSTMOArchitecture()
    training: PSTMOTraining = PSTMOTraining()
    logging: Logging = Logging()


class PSTMOPretrainConfig(Section):
    """config/lift_p_stmo_pretrain.yaml."""

    general: GeneralConfig
    data: Data
    architecture: PSTMOArchitecture = PSTMOArchitecture()
    training: PSTMOPretrainTraining = PSTMOPretrainTraining()
    logging: Logging = Logging()
