"""A lifter with everything it takes to use it: nets, joints, frame rate; one file."""

from __future__ import annotations

__all__ = ["LiftingModel", "default_weights", "load_lifter"]

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bdsynth.errors import InputError, nearest
from bdsynth.learning.weights import fill
from bdsynth.lifting.anatomy import AnatomyNet
from bdsynth.lifting.folding import fold
from bdsynth.lifting.inference import sliding
from bdsynth.lifting.temporal_convolution import TemporalConvolution
from bdsynth.lifting.transformer import PSTMO
from bdsynth.skeletons import Skeleton, get_skeleton

KINDS = {"video_pose_3d": TemporalConvolution, "anatomy_3d": AnatomyNet, "p_stmo": PSTMO}
SKELETONS = ("h36m_17", "coco_17", "mpi_inf_3dhp_17")


@dataclass(eq=False)
class LiftingModel:
    """A net that reads 2D motions and gives 3D ones.

    Arguments:
        net: one of KINDS.
        sizes: the arguments that rebuild it.
        skeleton_in, skeleton_out: the joints it reads and gives.
        fps: frames a second of the motions it was trained on.
        frame_step: frames from one frame of a window to the next.
        trajectory: finds where the root is, where there is such a net.
        name: for tables.
        config: of the training, where known.
    """

    net: nn.Module
    sizes: dict
    skeleton_in: Skeleton
    skeleton_out: Skeleton
    fps: float = 50.0
    frame_step: int = 1
    trajectory: TemporalConvolution | None = None
    name: str = "lifter"
    config: dict = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """A name of KINDS."""
        return next(kind for kind, cls in KINDS.items() if type(self.net) is cls)

    @property
    def n_features(self) -> int:
        """2: x, y of a keypoint; 3: also its confidence."""
        return self.net.n_features_in

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    def to(self, device: str | torch.device) -> LiftingModel:
        for net in self.nets().values():
            net.to(device)
        return self

    def eval(self) -> LiftingModel:
        for net in self.nets().values():
            net.eval()
        return self

    def with_nets(self, nets: Mapping[str, nn.Module]) -> LiftingModel:
        """The same with other weights; ``nets`` as :meth:`nets` gives them."""
        return replace(self, net=nets[""], trajectory=nets.get("trajectory."))

    def frozen(self) -> LiftingModel:
        for net in self.nets().values():
            net.eval().requires_grad_(False)
        return self

    # --- Using it ---

    def predict(
        self, keypoints: np.ndarray, flip: bool = True, fast: bool = False, relative: bool = True
    ) -> np.ndarray:
        """3D joints relative to the root, for every frame.

        Arguments:
            keypoints: (T, J, C) normalized, the third channel their confidence where the net reads it.
            flip: lift the mirrored motion too, and average.
            fast: of p_stmo: all frames of a window at once, in place of a window for every frame.
            relative: subtract what the net says of the root, which is near 0.

        Returns:
            (T, J', 3) float32 metres in the frame of the camera: x right, y down, z ahead.

        Raises:
            InputError: of another shape.
        """
        if fast and self.kind != "p_stmo":
            raise InputError(f"fast: is for p_stmo, {self.name} is {self.kind}")
        options = {"fast": True} if fast else {}
        poses = self._slide(self.net, keypoints, self.skeleton_out.mirror, flip, **options)
        return poses - poses[:, [self.skeleton_out.root]] if relative else poses

    def predict_trajectory(self, keypoints: np.ndarray, flip: bool = True) -> np.ndarray | None:
        """(T, 3) metres, where the root is before the camera; None without a net that tells."""
        if self.trajectory is None:
            return None
        return self._slide(self.trajectory, keypoints, (0,), flip)[:, 0]

    @torch.no_grad()
    def _slide(self, net: nn.Module, keypoints: np.ndarray, mirror: tuple[int, ...], flip: bool, **options):
        x = np.asarray(keypoints, np.float32)
        expected = (self.skeleton_in.n_joints, self.n_features)
        if x.ndim != 3 or x.shape[1:] != expected or not len(x):
            expected = f"(T, {expected[0]}, {expected[1]})"
            raise InputError(f"keypoints have shape {x.shape}, but {self.name} reads {expected}")
        step, mirrors = self.frame_step, (self.skeleton_in.mirror, mirror) if flip else None
        poses, folded = np.empty((len(x), len(mirror), 3), np.float32), fold(net)
        for first in range(min(step, len(x))):  # every step-th frame is a motion of its own, between the edges
            frames = np.arange(first - step, len(x) + step, step)
            part = torch.from_numpy(x[frames.clip(0, len(x) - 1)]).to(self.device)
            n = len(poses[first::step])
            poses[first::step] = sliding(folded, part, mirrors, **options)[1 : n + 1].cpu().numpy()
        return poses

    # --- Files ---

    def nets(self) -> dict[str, nn.Module]:
        """What it consists of, by the prefix of its tensors."""
        return {"": self.net} | ({} if self.trajectory is None else {"trajectory.": self.trajectory})

    def tensors(self) -> dict[str, Tensor]:
        """What is saved: the net under its published names, the trajectory net behind ``trajectory.``."""
        return {prefix + key: t for prefix, net in self.nets().items() for key, t in net.state_dict().items()}

    def metadata(self) -> dict:
        """What :meth:`from_tensors` needs beside the tensors; plain JSON."""
        return {
            "kind": self.kind, "version": 1, "sizes": self.sizes, "skeleton_in": self.skeleton_in.name,
            "skeleton_out": self.skeleton_out.name, "fps": self.fps, "frame_step": self.frame_step,
            "trajectory": self.trajectory is not None, "name": self.name, "config": self.config,
        }  # fmt: skip

    def save(self, path: str | Path) -> None:
        """One self-contained .safetensors file, written whole or not at all."""
        from bdsynth.learning.weights import save_weights

        save_weights(path, self.tensors(), self.metadata())

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], metadata: Mapping, source: str) -> LiftingModel:
        """Rebuilds the model that :meth:`metadata` describes.

        Raises:
            InputError: the metadata is of something else, or tensors are missing or of other shapes.
        """
        kind = metadata.get("kind")
        if kind not in KINDS:
            raise InputError(f"{source}: holds a '{kind}', expected {', '.join(KINDS)}")
        try:
            model = cls(
                build(kind, metadata["sizes"]), metadata["sizes"], get_skeleton(metadata["skeleton_in"]),
                get_skeleton(metadata["skeleton_out"]), metadata["fps"], metadata["frame_step"],
                build_trajectory(metadata["sizes"]) if metadata["trajectory"] else None, metadata["name"],
                metadata["config"],
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{source}: metadata of the model is not usable ({error!r})") from None
        for prefix, net in model.nets().items():
            own = {key: t for key, t in tensors.items() if key.startswith("trajectory.") == bool(prefix)}
            fill(net, own, source, prefix)
        return model.frozen()


def build(kind: str, sizes: Mapping) -> nn.Module:
    """A net of KINDS."""
    return KINDS[kind](**sizes)


def build_trajectory(sizes: Mapping) -> TemporalConvolution:
    """The net beside a temporal convolution model that finds its root."""
    return TemporalConvolution(**{**sizes, "n_joints_out": 1})


def default_weights() -> Path:
    """The weights file that comes with the package."""
    return Path(__file__).parent.parent / "assets" / "lifter.safetensors"


def load_lifter(
    path: str | Path | None = None,
    *,
    skeleton_in: str | None = None,
    causal: bool = False,
    fps: float = 50.0,
    frame_step: int | None = None,
) -> LiftingModel:
    """A lifter from a file.

    Arguments:
        path: a weights file (.safetensors), a checkpoint folder of a run or the folder of all of them, or a file
            that VideoPose3D (.bin), Anatomy3D (.bin) or P-STMO (.pth) published. By default the weights that come
            along. The further arguments say what published files do not.
        skeleton_in: the joints that a published net reads, a name of SKELETONS: by default coco_17 where the
            file's name has "coco" or "in_the_wild" in it, mpi_inf_3dhp_17 for "3dhp", else h36m_17.
        causal: a published net sees no later frames.
        fps: of the motions that a published net was trained on.
        frame_step: of published P-STMO nets, by default 2 for Human3.6M and 1 for others.

    Raises:
        InputError: names the file and what is wrong with it.
    """
    from bdsynth.learning.checkpoint import latest_checkpoint, load_checkpoint
    from bdsynth.learning.weights import load_weights

    path = default_weights() if path is None else Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; --weights takes a weights file or a checkpoint folder")
    if path.is_dir():
        path = latest_checkpoint(path, "lift_ckpt") or path
    if (path / "manifest.json").exists():
        checkpoint = load_checkpoint(path)
        return LiftingModel.from_tensors(checkpoint.weights, checkpoint.metadata, str(path))
    if path.suffix == ".safetensors":
        return LiftingModel.from_tensors(*load_weights(path), str(path))
    if path.is_dir():
        raise InputError(f"{path}: holds no checkpoint (lift_ckpt_*)")
    return _published(path, skeleton_in, causal, fps, frame_step)


def _published(
    path: Path, skeleton_in: str | None, causal: bool, fps: float, frame_step: int | None
) -> LiftingModel:
    from bdsynth.published.lifters import read_lifter

    found = read_lifter(path)
    if found.kind not in KINDS:
        raise InputError(f"{path}: holds {found.kind}, which lifts nothing by itself; expected {', '.join(KINDS)}")
    joints = skeleton_in or _joints_of(path.name)
    if joints not in SKELETONS:
        hint = nearest(joints, SKELETONS)
        raise InputError(f"no lifter reads '{joints}'{hint}, expected {', '.join(SKELETONS)}")
    sizes = dict(found.sizes) | ({} if found.kind == "p_stmo" else {"causal": causal})
    out = "mpi_inf_3dhp_17" if joints == "mpi_inf_3dhp_17" else "h36m_17"
    if frame_step is None:
        frame_step = 2 if found.kind == "p_stmo" and joints == "h36m_17" else 1
    trajectory = None
    if found.trajectory_state is not None:
        trajectory = build_trajectory(sizes)
        fill(trajectory, found.trajectory_state, str(path))
    net = build(found.kind, sizes)
    fill(net, found.state, str(path))
    model = LiftingModel(
        net, sizes, get_skeleton(joints), get_skeleton(out), fps, frame_step, trajectory, name=path.name
    )
    return model.frozen()


def _joints_of(name: str) -> str:
    name = name.lower()
    if re.search("coco|in_the_wild", name):
        return "coco_17"
    return "mpi_inf_3dhp_17" if "3dhp" in name else "h36m_17"
