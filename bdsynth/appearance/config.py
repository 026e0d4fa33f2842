"""What a config of the appearance room may say: the seed's field names, typed, with their defaults."""

from __future__ import annotations

__all__ = ["ShapePoseConfig", "VUNetConfig"]

from typing import Annotated, Literal

from pydantic import Field

from bdsynth.learning.config import GeneralConfig, Section

Positive = Annotated[int, Field(gt=0)]
Natural = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Six = Annotated[tuple[NonNegative, ...], Field(min_length=6, max_length=6)]


class Data(Section):
    """Where pictures come from, and what of them a net reads."""

    datapath: str
    """Human3.6m and SyntheticHumans: the folder of annot_export.h5; the others: that of index.p."""
    dataset: Literal["Human3.6m", "DeepFashion", "Market", "People", "SyntheticHumans"]
    spatial_size: Annotated[int, Field(ge=16)] = 256
    inplane_normalize: bool = False
    """Appearance is read from ten part crops, in place of a whole picture."""
    box_factor: Natural = 2
    """Part crops are 2^box_factor times smaller than pictures."""
    bottleneck_factor: Natural = 2
    """The smallest resolution is 2^bottleneck_factor."""
    crop_app: bool = False
    """Cut the pictures that show the appearance to the square around the person."""
    augment: bool = False
    """Move the pictures that show the appearance about at random (without inplane_normalize)."""
    sampling: Literal["none", "body", "full", "pid"] = "pid"
    use_person_split: bool = True
    """Human3.6m, SyntheticHumans: test on people who are not trained on; otherwise on actions."""
    action_split_type: Literal["default", "generalize_sitting", "generalize_walking"] = "default"
    n_data_workers: Natural = 2
    """Threads that read pictures ahead."""


class Architecture(Section):
    """Sizes of the net and of its posture regressor."""

    n_latent_scales: Literal[2] = 2
    conv_layer_type: Literal["l1", "l2"] = "l1"
    nf_start: Positive = 32
    nf_max: Positive = 128
    subpixel_upsampling: bool = True
    n_scales: Natural = 0
    """Resolutions of the net; below 6: as spatial_size and bottleneck_factor say."""
    linear_width_factor: Positive = 1
    n_linear: Positive = 2
    cvae: bool = False
    """Weight of the KL fixed to 1."""


class Training(Section):
    """Optimization, common to both nets of the room."""

    batch_size: Annotated[int, Field(ge=1)] = 12
    end_iteration: Positive = 150_000
    steps_per_epoch: Positive | None = None
    """Batches between validations; None: as many as the training pictures make."""
    lr: Rate = 5e-4
    """Falls linearly to 0 at end_iteration."""
    adam_betas: tuple[Beta, Beta] = (0.5, 0.9)
    clip_grad: Rate | None = None
    vgg_weights: Six = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    """Of the input, relu1_2, relu2_2, relu3_2, relu4_2 and relu5_2."""
    perceptual_weights: str | None = None
    """File with a VGG16 or VGG19; None: torchvision's VGG19."""
    ll_weight: NonNegative = 1.0
    """Of the perceptual loss."""
    n_init_batches: Natural = 4
    """Steps that set the scales of convolutions, and in which the KL does not count."""
    data_init: bool = False
    """Set the scales of all convolutions, not of l2 convolutions alone as published; never in compat."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of a moving average of the weights, which is then what is used; 0: none."""


class ShapePoseTraining(Training):
    """Optimization of the shape-and-posture net."""

    objective: Literal["default", "compat"] = "default"
    """compat: the regressor gives the encoder no gradient, as in the published code (docs/appearance.md)."""
    dropout_prob: Annotated[float, Field(ge=0, lt=1)] = 0.0
    information_max: NonNegative = 1000.0
    gamma_init: NonNegative = 0.0
    gamma_step: NonNegative = 1e-5
    imax_scaling: Literal["none", "ascend", "descend"] = "none"
    train_regressor: bool = True
    weight_regressor: NonNegative = 4.0
    reg_steps: Positive = 5
    """Steps of the regressor for each of the net, each on another picture."""
    lr_regressor: Rate = 1e-3
    swap_picture: Share = 0.0
    """Share of the samples whose appearance is read from another picture of the person; 0: as published."""


class VUNetTraining(Training):
    """Optimization of the VUNet baseline."""

    lr: Rate = 8e-4
    ll_weight: NonNegative = 5.0
    kl_init: NonNegative = 0.0
    kl_max: NonNegative = 1.0
    """Weight of the KL: kl_init in the first half of the training, then linearly to kl_max."""


class Metrics(Section):
    test_batch_size: Positive = 8
    max_n_samples: Positive = 8000


class Logging(Section):
    n_test_samples: Positive = 4
    """Rows of the picture grids."""
    n_validation: Natural = 256
    """Test pictures whose losses are logged after each epoch; nothing is chosen on them."""
    keep_checkpoints: Positive = 3


class ShapePoseConfig(Section):
    """config/shape_and_pose_net*.yaml."""

    general: GeneralConfig
    data: Data
    architecture: Architecture = Architecture()
    training: ShapePoseTraining = ShapePoseTraining()
    metrics: Metrics = Metrics()
    logging: Logging = Logging()


class VUNetConfig(Section):
    """config/vunet*.yaml."""

    general: GeneralConfig
    data: Data
    architecture: Architecture = Architecture()
    training: VUNetTraining = VUNetTraining()
    metrics: Metrics = Metrics()
    logging: Logging = Logging()
