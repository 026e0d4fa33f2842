"""The shape-and-posture net as an experiment: what one training step computes, plugged into the trainer.

The net rebuilds a picture from its stickman and from what the person in it looks like. A controller keeps the
information of the appearance near ``information_max``. An auxiliary regressor tries to read the joints off the
appearance; the encoder is paid for making it fail, so that posture comes from the stickman alone (Blattmann et
al. 2021; specification 4.5).
"""

from __future__ import annotations

__all__ = ["PictureStage", "ShapePoseExperiment", "ShapePoseStage"]

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bdsynth.appearance.config import Data, ShapePoseConfig, VUNetConfig
from bdsynth.appearance.evaluate import Evaluation, evaluate
from bdsynth.appearance.grids import training_grid
from bdsynth.appearance.losses import joint_error, latent_kl, posture_reward
from bdsynth.appearance.model import AppearanceModel, load_appearance
from bdsynth.appearance.network import PostureRegressor, ResidualBlock, ShapePostureNet, Sizes
from bdsynth.appearance.pairs import spread
from bdsynth.appearance.perceptual import FEATURES, load_vgg, perceptual_losses
from bdsynth.appearance.pictures import open_pictures
from bdsynth.datasets.image_batches import ImageBatches, ImageSet
from bdsynth.learning.information import InformationController
from bdsynth.learning.layers import L2NormConv2d, ScaledByData, whiten_input
from bdsynth.learning.losses import average, weighted_sum
from bdsynth.learning.parallel import average_values
from bdsynth.learning.stage import frozen
from bdsynth.learning.trainer import Stage, Trainer

LATENT_STD = 3.0  # of the means of the latents at the start, where the noise has 1
PICTURE_STD = 0.2  # of what is drawn at the start
RESIDUAL_STD = 0.3  # of what residual blocks add at the start


def sizes_of(config: ShapePoseConfig | VUNetConfig) -> Sizes:
    """The sizes of the net that a config describes."""
    data, architecture = config.data, config.architecture
    return Sizes.of(
        data.spatial_size,
        inplane=data.inplane_normalize,
        box_factor=data.box_factor,
        bottleneck_factor=data.bottleneck_factor,
        n_scales=architecture.n_scales,
        nf_start=architecture.nf_start,
        nf_max=architecture.nf_max,
        conv_layer_type=architecture.conv_layer_type,
        subpixel_upsampling=architecture.subpixel_upsampling,
    )


def image_set(pictures, split: str, data: Data, regressor_images: int = 0) -> ImageSet:
    """The samples of one split, as the config's section ``data`` says."""
    training = split == "train"
    return ImageSet(
        pictures,
        split,
        size=data.spatial_size,
        box_factor=data.box_factor,
        inplane=data.inplane_normalize,
        regressor_images=regressor_images,
        crop_app=data.crop_app,
        augment=data.augment and training,
    )


class PictureExperiment:
    """Data and net of one config: what both nets of the room have in common.

    Raises:
        InputError: no usable pictures at data.datapath, sizes that do not fit together, or no perceptual
            weights.
    """

    def __init__(self, config: ShapePoseConfig | VUNetConfig, debug: bool = False) -> None:
        self.config = config
        sizes = sizes_of(config)
        self.pictures = open_pictures(config.data, compat=self.compat)
        self.train = image_set(self.pictures, "train", config.data, self.regressor_images)
        self.test = image_set(self.pictures, "test", config.data)
        used = [name for name, w in zip(FEATURES, config.training.vgg_weights, strict=True) if w]
        self.vgg = load_vgg(config.training.perceptual_weights).upto(used[-1] if used else "input")
        torch.manual_seed(config.general.seed)
        self.model = AppearanceModel(
            self.make_net(sizes),
            joints=self.pictures.name,
            name=config.general.project_name,
            config=config.model_dump(mode="json"),
        )

    compat = False
    regressor_images = 0
    evaluated = ("reg_ckpt",)
    evaluation_flags = ("lpips_weights",)

    def make_net(self, sizes: Sizes) -> nn.Module:
        raise NotImplementedError

    @property
    def steps_per_epoch(self) -> int:
        training = self.config.training
        return training.steps_per_epoch or max(1, len(self.train) // training.batch_size)

    @property
    def n_epochs(self) -> int:
        return math.ceil(self.config.training.end_iteration / self.steps_per_epoch)

    def batches(self, epoch: int) -> ImageBatches:
        """The training batches of one epoch; the last epoch ends at end_iteration."""
        training, data = self.config.training, self.config.data
        left = training.end_iteration - epoch * self.steps_per_epoch
        return self.train.batches(
            epoch,
            training.batch_size,
            self.config.general.seed,
            sampling=data.sampling,
            steps=min(self.steps_per_epoch, left),
            workers=data.n_data_workers,
        )

    def validation(self) -> ImageBatches:
        """Test pictures for numbers that are logged; nothing is chosen on them."""
        n = min(self.config.logging.n_validation, len(self.test))
        return self.test.fixed(self.config.metrics.test_batch_size, n=n)

    def publishable(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those tensors of a checkpoint that using the model takes."""
        return {key: weights[key] for key in self.model.net.state_dict()}

    @staticmethod
    def evaluate(
        config: ShapePoseConfig | VUNetConfig,
        weights: Path,
        device: str,
        debug: bool,
        lpips_weights: Sequence[str] | None = None,
    ) -> Evaluation:
        """Measures a checkpoint on the test split of the config's data."""
        model = load_appearance(weights).to(device)
        compat = getattr(config.training, "objective", "default") == "compat"
        return evaluate(
            model,
            image_set(open_pictures(config.data, compat=compat), "test", config.data),
            16 if debug else config.metrics.max_n_samples,
            config.metrics.test_batch_size,
            perceptual_weights=config.training.perceptual_weights,
            lpips_weights=lpips_weights or (),
            seed=config.general.seed,
            workers=config.data.n_data_workers,
        )


class ShapePoseExperiment(PictureExperiment):
    """Data, net and stage of a config/shape_and_pose_net*.yaml."""

    config_class = ShapePoseConfig

    def __init__(self, config: ShapePoseConfig, debug: bool = False) -> None:
        self.compat = config.training.objective == "compat"
        if config.training.train_regressor:
            self.regressor_images = config.training.reg_steps
        super().__init__(config, debug)
        sizes, parts = self.model.sizes, config.architecture
        self.regressor = PostureRegressor(
            sizes.nf_max,
            sizes.latent_sizes,
            2 * self.pictures.joints(self.train.rows[:1]).shape[1],
            parts.n_linear,
            parts.linear_width_factor,
        )
        rows = spread(self.train.rows, 512)
        self.mean_posture = torch.from_numpy(self.pictures.keypoints(rows).mean(0)).float()  # (K, 2)
        if not self.compat:
            self._start_at_the_mean_posture()

    def _start_at_the_mean_posture(self) -> None:
        """What the regressor says before it has learned anything: it then reads better than that from the start.

        With the published initialization it takes some hundred steps to find out where in a picture people
        are; until then its error is above the clamp, and the encoder is paid for nothing.
        """
        with torch.no_grad():
            self.regressor.linears[-1].weight.zero_()
            self.regressor.linears[-1].bias.copy_(self.mean_posture.flatten())

    def make_net(self, sizes: Sizes) -> nn.Module:
        return ShapePostureNet(sizes, self.config.training.dropout_prob)

    def stages(self, only_flow: bool = False) -> list[Stage]:
        return [ShapePoseStage(self)]


class PictureStage(Stage):
    """What training either net has in common: the learning rate, the moving average, the validation."""

    name = "reg_ckpt"

    def __init__(self, experiment: PictureExperiment) -> None:
        self.experiment, self.training = experiment, experiment.config.training
        self.net, self.vgg = experiment.model.net, experiment.vgg
        for module in (self.net, self.vgg):  # how convolutions are fastest, on processors and on GPUs
            module.to(memory_format=torch.channels_last)
        self.scaled_by_data = self._scaled_by_data()
        self.epochs, self.iteration = experiment.n_epochs, 0
        trained = [p for p in self.net.parameters() if p.requires_grad]
        adam = torch.optim.Adam(trained, lr=self.training.lr, betas=self.training.adam_betas)
        self.optimizers = {"net": adam}
        self.modules = {"": self.net, "vgg": _Unsaved(self.vgg)}
        self.average = None
        if self.training.ema:
            self.average = copy.deepcopy(self.net).requires_grad_(False)
            self.modules = {"": self.average, "net": self.net, "vgg": _Unsaved(self.vgg)}

    def batches(self, epoch: int) -> ImageBatches:
        return self.experiment.batches(epoch)

    @property
    def used(self) -> nn.Module:
        """The net whose weights are what the training gives."""
        return self.net if self.average is None else self.average

    def perceptual(self, predicted: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted perceptual loss, and its six parts by name."""
        parts = perceptual_losses(self.vgg, predicted, target)
        weights = zip(FEATURES, self.training.vgg_weights, strict=True)
        weights = {name: weight for name, weight in weights if name in parts}
        return self.training.ll_weight * weighted_sum(parts, weights), parts

    def begin_step(self, x: Tensor) -> None:
        """Sets the learning rate, and whether convolutions take their scales from this batch of appearances."""
        done = self.iteration / self.training.end_iteration
        for group in self.optimizers["net"].param_groups:
            group["lr"] = self.training.lr * max(0.0, 1.0 - done)
            group["betas"] = self.training.adam_betas  # those of the config also where a run goes on
        self.initialize(self.iteration < self.training.n_init_batches)
        if self.iteration == 0 and self.training.n_init_batches and self.sets_all_scales:
            whiten_input(self.net.eu.nin, x)

    @property
    def sets_all_scales(self) -> bool:
        return self.training.data_init and getattr(self.training, "objective", "default") != "compat"

    def _scaled_by_data(self) -> list[ScaledByData]:
        """The convolutions that take their scales from the first batches: all, or the published choice.

        With the published initialization of weight-normalized convolutions what one person's code differs from
        another's by is a sixtieth of the noise that is added to it, and the net has to dig it out first. Here it
        starts above the noise, which starts at its smallest.
        """
        if not self.sets_all_scales:
            return [module for module in self.net.modules() if isinstance(module, L2NormConv2d)]
        for mean in self.net.ed.make_latent_params:
            mean.init_std = LATENT_STD
        for log_std in getattr(self.net.ed, "make_logstds", ()):
            log_std.init_mean, log_std.init_std = -4.0, 0.1
        self.net.dd.out_conv.init_std = PICTURE_STD
        for name, block in self.net.named_modules():
            if isinstance(block, ResidualBlock) and "auto_blocks" not in name:  # through those comes the latent
                block.conv.init_std = RESIDUAL_STD
        return [module for module in self.net.modules() if isinstance(module, ScaledByData)]

    def initialize(self, on: bool) -> None:
        """Whether convolutions take their scales from what they see."""
        for module in self.scaled_by_data:
            module.initializing = on

    def end_step(self, trainer: Trainer) -> None:
        """One step of the optimizer, and of the moving average."""
        trainer.optimizer_step(self.optimizers["net"], clip=self.training.clip_grad)
        self.iteration += 1
        if self.average is not None:
            decay = min(self.training.ema, self.iteration / (self.iteration + 10))
            with torch.no_grad():
                for kept, new in zip(self.average.parameters(), self.net.parameters(), strict=True):
                    kept.lerp_(new, 1 - decay)

    @torch.no_grad()
    def validate(self, trainer: Trainer, epoch: int) -> dict[str, float]:
        was_training = self.used.training
        self.used.eval()
        batches = map(trainer.place, self.experiment.validation())
        values = average((self.measure(batch), len(batch["pose_img"])) for batch in batches)
        self.used.train(was_training)
        return values

    def pictures(self, trainer: Trainer) -> dict[str, np.ndarray]:
        model = replace(self.experiment.model, net=self.used)
        return training_grid(model, self.experiment.test, self.experiment.config.logging.n_test_samples)

    def measure(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of a test batch."""
        raise NotImplementedError

    def metadata(self) -> dict:
        return replace(self.experiment.model, ema=self.average is not None).metadata()

    def weights(self) -> dict[str, Tensor]:
        return dict(self.used.state_dict())

    def extra_state(self) -> dict:
        return {"iteration": self.iteration}

    def load_extra_state(self, state: dict) -> None:
        self.iteration = state["iteration"]


class ShapePoseStage(PictureStage):
    """The shape-and-posture net and its posture regressor."""

    def __init__(self, experiment: ShapePoseExperiment) -> None:
        super().__init__(experiment)
        training = self.training
        self.compat, self.plain = training.objective == "compat", experiment.config.architecture.cvae
        self.regressor = experiment.regressor
        self.modules["regressor"] = self.regressor
        self.optimizers["regressor"] = torch.optim.Adam(self.regressor.parameters(), lr=training.lr_regressor)
        self.controller = InformationController(
            training.information_max,
            training.gamma_init,
            training.gamma_step,
            scaling=training.imax_scaling,
            total_steps=training.end_iteration,
            bounded=not self.compat,
        )

    def step(self, batch: dict[str, Tensor], trainer: Trainer) -> dict[str, Tensor]:
        training = self.training
        error = self._fit_regressor(batch, trainer) if training.train_regressor else None
        x, target = self._appearance_of(batch), batch["pose_img"]
        self.begin_step(x)
        counts_kl = self.iteration >= training.n_init_batches
        picture, appearance = self.net(x, batch["stickman"], self.net.noise(len(x)))
        reconstruction, parts = self.perceptual(picture, target)
        losses = {"reconstruction": reconstruction, "kl": latent_kl(appearance)}
        gamma = 1.0 if self.plain else self.controller.gamma
        weights = {"reconstruction": 1.0, "kl": gamma * counts_kl}
        logs = {}
        if error is not None:
            logs["regressor"] = error
            if self.compat:  # it was computed without gradient, so that it changes the loss and nothing else
                losses["posture"] = posture_reward(error)
            else:
                with frozen(self.regressor):
                    losses["posture"] = posture_reward(
                        joint_error(self.regressor(appearance.means), batch["keypoints"]),
                        most=self._error_of_the_mean_posture(batch["keypoints"]),
                    )
            weights["posture"] = -training.weight_regressor
        total = weighted_sum(losses, weights)
        trainer.backward(total)
        self.end_step(trainer)
        if not self.plain and counts_kl:  # all processes keep the same gamma
            self.controller.step(average_values({"kl": float(losses["kl"].detach())}, x.device)["kl"])
        return logs | {"loss": total, **losses, "gamma": gamma, **{f"vgg/{k}": v for k, v in parts.items()}}

    def _error_of_the_mean_posture(self, joints: Tensor) -> Tensor:
        """Whoever knows nothing of the posture errs by this much. More is no sign of hidden postures, but of codes
        so large that the regressor's output blows up with them, which must not be paid for."""
        mean = self.experiment.mean_posture.to(joints.device)
        return joint_error(mean.flatten().expand(len(joints), -1), joints)

    def _appearance_of(self, batch: dict[str, Tensor]) -> Tensor:
        """What the encoder reads: the picture that is rebuilt, or another of the same person for some."""
        x = batch.get("pose_img_inplane", batch["pose_img"])
        if not self.training.swap_picture:
            return x
        swapped = torch.rand(len(x), 1, 1, 1, device=x.device) < self.training.swap_picture
        return torch.where(swapped, batch["app_img"], x)

    def _fit_regressor(self, batch: dict[str, Tensor], trainer: Trainer) -> Tensor:
        """Steps of the regressor, each on another picture of every sample; its error before the last step."""
        pictures, targets = batch["reg_imgs"], batch["reg_targets"]
        self.initialize(False)
        for i in range(pictures.shape[1]):
            with torch.no_grad():
                noise = self.net.noise(len(pictures)) if self.compat else None
                means = self.net.encode(pictures[:, i], noise).means
            error = joint_error(self.regressor(means), targets[:, i])
            trainer.backward(error)
            trainer.optimizer_step(self.optimizers["regressor"])
        return error.detach()

    def measure(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        x = batch.get("pose_img_inplane", batch["pose_img"])
        picture, appearance = self.used(x, batch["stickman"])
        values = {
            "reconstruction": self.perceptual(picture, batch["pose_img"])[0],
            "l1": (picture - batch["pose_img"]).abs().mean(),
            "kl": latent_kl(appearance),
        }
        if self.training.train_regressor:
            values["regressor"] = joint_error(self.regressor(appearance.means), batch["keypoints"])
        return values

    def extra_state(self) -> dict:
        return super().extra_state() | {"controller": self.controller.state_dict()}

    def load_extra_state(self, state: dict) -> None:
        super().load_extra_state(state)
        self.controller.load_state_dict(state["controller"])


class _Unsaved(nn.Module):
    """A frozen network that moves to the device with the others and is in no checkpoint."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def state_dict(self, *args, **kwargs) -> dict:
        return {}

    def load_state_dict(self, *args, **kwargs) -> None:
        pass
