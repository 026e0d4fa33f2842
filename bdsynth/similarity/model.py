"""A body part embedding with everything it takes to use it: net, mean and deviation of its features; one file."""

from __future__ import annotations

__all__ = ["EmbeddingModel", "default_weights", "load_embedding", "read_statistics"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bdsynth.errors import InputError
from bdsynth.learning.weights import fill
from bdsynth.published.similarity import bpe_variant, read_tensors
from bdsynth.similarity.features import n_rows
from bdsynth.similarity.network import BodyPartNet

KIND = "body_parts"
FPS = 30.0


@dataclass(eq=False)
class EmbeddingModel:
    """A net that tells how parts of a body move, whoever it is and from wherever it is seen.

    Arguments:
        net: in evaluation mode, where it comes from a file.
        mean, std: (19, 2) float64 of the features it reads, with all joints (76, 2).
        fps: frames a second of the motions it was trained on.
        window: frames of these.
        name: for tables.
        config: of the training, where known.
    """

    net: BodyPartNet
    mean: np.ndarray
    std: np.ndarray
    fps: float = FPS
    window: int = 32
    name: str = "body part embedding"
    config: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.mean, self.std = (np.asarray(values, np.float64) for values in (self.mean, self.std))
        expected = (n_rows(self.net.all_joints), 2)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values.shape != expected or not np.isfinite(values).all():
                raise InputError(f"{self.name}: {name} of shape {values.shape}, expected finite {expected}")
        if not (self.std > 0).all():
            raise InputError(f"{self.name}: std is not above 0 everywhere")

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    def to(self, device: str | torch.device) -> EmbeddingModel:
        self.net.to(device)
        return self

    def frozen(self) -> EmbeddingModel:
        self.net.eval().requires_grad_(False)
        return self

    # --- Files ---

    def metadata(self) -> dict:
        """What :meth:`from_tensors` needs beside the tensors; plain JSON."""
        return {
            "kind": KIND, "version": 1, "all_joints": self.net.all_joints, "invisibility": self.net.invisibility,
            "mean": self.mean.tolist(), "std": self.std.tolist(), "fps": self.fps, "window": self.window,
            "name": self.name, "config": self.config,
        }  # fmt: skip

    def save(self, path: str | Path) -> None:
        """One self-contained .safetensors file, written whole or not at all."""
        from bdsynth.learning.weights import save_weights

        save_weights(path, self.net.state_dict(), self.metadata())

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], metadata: Mapping, source: str) -> EmbeddingModel:
        """Rebuilds the model that :meth:`metadata` describes.

        Raises:
            InputError: the metadata is of something else, or tensors are missing or of other shapes.
        """
        if metadata.get("kind") != KIND:
            raise InputError(f"{source}: holds a '{metadata.get('kind')}', expected {KIND}")
        try:
            net = BodyPartNet(all_joints=metadata["all_joints"], invisibility=metadata["invisibility"])
            own = {key: metadata[key] for key in ("mean", "std", "fps", "window", "name", "config")}
            model = cls(net, **own)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{source}: metadata of the model is not usable ({error!r})") from None
        fill(net, tensors, source)
        return model.frozen()


def default_weights() -> Path:
    """The weights file that comes with the package."""
    return Path(__file__).parent.parent / "assets" / "body_parts.safetensors"


def load_embedding(
    path: str | Path | None = None, *, mean: str | Path | None = None, std: str | Path | None = None
) -> EmbeddingModel:
    """A body part embedding from a file.

    Arguments:
        path: a weights file (.safetensors), a checkpoint folder of a run or the folder of all of them, or a state
            dict as BPE saves it (.pth, .pth.tar, .pt), whose tensors tell which variant of the net it is. By
            default the weights that come along.
        mean, std: of a state dict of BPE: the .npy files with the statistics of its features; by default those
            that lie in its folder, under the names that BPE gives them.

    Raises:
        InputError: names the file and what is wrong with it.
    """
    from bdsynth.learning.checkpoint import latest_checkpoint, load_checkpoint
    from bdsynth.learning.weights import load_weights

    path = default_weights() if path is None else Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; --weights takes a weights file or a checkpoint folder")
    if path.is_dir():
        path = latest_checkpoint(path, "bpe_ckpt") or path
    if (path / "manifest.json").exists():
        checkpoint = load_checkpoint(path)
        return EmbeddingModel.from_tensors(checkpoint.weights, checkpoint.metadata, str(path))
    if path.suffix == ".safetensors":
        return EmbeddingModel.from_tensors(*load_weights(path), str(path))
    if path.is_dir():
        raise InputError(f"{path}: holds no checkpoint (bpe_ckpt_*)")
    return _published(path, mean, std)


def _published(path: Path, mean: str | Path | None, std: str | Path | None) -> EmbeddingModel:
    state = read_tensors(path)
    net = BodyPartNet(**bpe_variant(state, path))
    fill(net, state, path)
    if (mean is None) != (std is None):
        raise InputError(f"{path}: mean and std of its features go together, one is missing")
    if mean is not None and std is not None:
        statistics = _npy(Path(mean)), _npy(Path(std))
    else:
        statistics = read_statistics(path.parent, net.all_joints)
        if statistics is None:
            names = " and ".join(_statistics_names(net.all_joints))
            raise InputError(f"{path}: {names} do not lie beside it; give the files with mean and std")
    return EmbeddingModel(net, *statistics, name=path.name).frozen()


# --- Statistics --------------------------------------------------------------------------------------------


def _statistics_names(all_joints: bool) -> tuple[str, str]:
    what = "rc_all_joints_on_each_bp_unit64" if all_joints else "rc_with_view_unit64"
    return f"meanpose_{what}.npy", f"stdpose_{what}.npy"


def read_statistics(folder: str | Path, all_joints: bool = False) -> tuple[np.ndarray, np.ndarray] | None:
    """Mean and standard deviation of the features, (19, 2) or (76, 2), where BPE left them; None where it did not.

    Raises:
        InputError: a file is no array of numbers.
    """
    files = [Path(folder) / name for name in _statistics_names(all_joints)]
    if not all(file.is_file() for file in files):
        return None
    mean, std = map(_npy, files)
    return mean, std


def _npy(file: Path) -> np.ndarray:
    try:
        values = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{file}: cannot be read as .npy ({error})") from None
    if not np.issubdtype(values.dtype, np.floating):
        raise InputError(f"{file}: holds {values.dtype}, expected numbers")
    return values
