"""A net of the room with everything that using it takes, saved and loaded as one file."""

from __future__ import annotations

__all__ = ["AppearanceModel", "default_weights", "load_appearance"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from bdsynth.appearance.network import Appearance, ShapePostureNet, Sizes
from bdsynth.appearance.vunet import VUNet
from bdsynth.datasets.joint_models import JOINT_MODELS, JointModel
from bdsynth.errors import InputError
from bdsynth.learning.weights import fill

KINDS = {"shape_and_pose_net": ShapePostureNet, "vunet": VUNet}


@dataclass
class AppearanceModel:
    """A net, and how its inputs are made.

    Arguments:
        net: the shape-and-posture net, or the VUNet baseline.
        joints: the key of JOINT_MODELS whose stickmen and part crops it reads.
        name: of the weights.
        config: of the training, as plain data.
        ema: the weights are a moving average.
    """

    net: ShapePostureNet | VUNet
    joints: str
    name: str = ""
    config: dict = field(default_factory=dict)
    ema: bool = False

    def __post_init__(self) -> None:
        if self.joints not in JOINT_MODELS:
            raise InputError(f"no joint model is named '{self.joints}', expected {', '.join(JOINT_MODELS)}")

    @property
    def sizes(self) -> Sizes:
        return self.net.sizes

    @property
    def inplane(self) -> bool:
        """Appearance is read from part crops."""
        return self.sizes.n_channels_x == 30

    @property
    def joint_model(self) -> JointModel:
        return JOINT_MODELS[self.joints]

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    def to(self, device: str | torch.device) -> AppearanceModel:
        self.net.to(device)
        return self

    def frozen(self) -> AppearanceModel:
        self.net.eval().requires_grad_(False)
        return self

    # --- Using it ---

    @torch.no_grad()
    def encode(self, x: Tensor, noise: Sequence[Tensor] | None = None) -> Appearance:
        """Appearances of people, posterior means without ``noise``; x (B, n_channels_x, s, s) in [-1, 1]."""
        x = x.to(self.device)
        if isinstance(self.net, ShapePostureNet):
            return self.net.encode(x, noise)
        means, z = self.net.ed(self.net.eu(x), [None, None] if noise is None else noise)
        return Appearance(means, [torch.zeros_like(mean) for mean in means], z)

    @torch.no_grad()
    def draw(self, appearance: Appearance, stickmen: Tensor) -> Tensor:
        """One person in postures, or as many people as postures: (B, 3, S, S) in [-1, 1].

        Arguments:
            appearance: of one person, or of B.
            stickmen: (B, 3, S, S) in [-1, 1].
        """
        stickmen = stickmen.to(self.device)
        if len(appearance.z[0]) != len(stickmen):
            appearance = appearance.expand(len(stickmen))
        if isinstance(self.net, ShapePostureNet):
            picture = self.net.decode(stickmen, appearance.z)
        else:
            picture, _ = self.net.dd(self.net.du(stickmen), appearance.z, [None, None])
        return picture.clamp(-1, 1)

    # --- Files ---

    def metadata(self) -> dict:
        """What :meth:`from_tensors` needs beside the tensors; plain JSON."""
        kind = next(kind for kind, cls in KINDS.items() if type(self.net) is cls)
        return {
            "kind": kind, "version": 1, "sizes": self.sizes.to_dict(), "joints": self.joints, "name": self.name,
            "config": self.config, "ema": self.ema,
        }  # fmt: skip

    def save(self, path: str | Path) -> None:
        """One self-contained .safetensors file, written whole or not at all."""
        from bdsynth.learning.weights import save_weights

        save_weights(path, self.net.state_dict(), self.metadata())

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], metadata: Mapping, source: str) -> AppearanceModel:
        """Rebuilds the model that :meth:`metadata` describes.

        Raises:
            InputError: the metadata is of something else, or tensors are missing or of other shapes.
        """
        kind = metadata.get("kind")
        if kind not in KINDS:
            raise InputError(f"{source}: holds a '{kind}', expected {' or '.join(KINDS)}")
        try:
            net = KINDS[kind](Sizes(**metadata["sizes"]))
            rest = {key: metadata[key] for key in ("joints", "name", "config", "ema")}
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{source}: metadata of the model is not usable ({error!r})") from None
        fill(net, tensors, source)
        return cls(net, **rest).frozen()


def default_weights() -> Path:
    """The weights file that comes with the package."""
    return Path(__file__).parent.parent / "assets" / "shape_and_pose_net.safetensors"


def load_appearance(
    path: str | Path | None = None, *, spatial_size: int | None = None, joints: str | None = None
) -> AppearanceModel:
    """An appearance model from a file.

    Arguments:
        path: a weights file (.safetensors), a checkpoint folder of a run or the folder of all of them, or a
            published checkpoint (.pth, raw or wrapped, also behind ``module.``); the config.yaml beside that,
            nested or flat, says what tensors do not. The weights that come along by default.
        spatial_size: of published checkpoints without a config: size of their pictures.
        joints: of published checkpoints without a config: human36m, deepfashion, market or people.

    Raises:
        InputError: names the file and what is wrong with it.
    """
    from bdsynth.learning.checkpoint import latest_checkpoint, load_checkpoint
    from bdsynth.learning.weights import load_weights

    path = default_weights() if path is None else Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; --weights takes a weights file or a checkpoint folder")
    if path.is_dir():
        path = latest_checkpoint(path, "reg_ckpt") or path
    if (path / "manifest.json").exists():
        checkpoint = load_checkpoint(path)
        return AppearanceModel.from_tensors(checkpoint.weights, checkpoint.metadata, str(path))
    if path.suffix == ".safetensors":
        return AppearanceModel.from_tensors(*load_weights(path), str(path))
    return _published(path, spatial_size, joints)


def _published(path: Path, spatial_size: int | None, joints: str | None) -> AppearanceModel:
    from bdsynth.published.compvis import find_checkpoint, published_config, read_appearance

    if path.is_dir():
        found = find_checkpoint(path, "")
        if found is None:
            raise InputError(f"{path}: holds no checkpoint (manifest.json, *.safetensors or *.pth)")
        path = found
    tensors = read_appearance(path)
    said = published_config(path)
    sizes = Sizes.from_tensors(tensors, spatial_size or said.get("spatial_size"))
    net = (ShapePostureNet if any(key.startswith("ed.make_logstds.") for key in tensors) else VUNet)(sizes)
    fill(net, tensors, str(path))
    if joints is None:
        dataset = {"Human3.6m": "human36m", "DeepFashion": "deepfashion", "Market": "market"}
        joints = dataset.get(said.get("dataset")) or (
            "human36m" if sizes.n_channels_x == 3 else "market" if sizes.spatial_size == 128 else "deepfashion"
        )
    return AppearanceModel(net, joints, name=path.name).frozen()
