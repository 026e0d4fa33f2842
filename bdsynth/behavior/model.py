"""BehaviorModel: a behavior net with everything that it takes to use it on motions.

The networks know normalized pose vectors; the model knows skeletons, metres, frame rates and where people
stand. It is what checkpoints save, what ``load_model`` gives and what every operation of this room takes.
"""

from __future__ import annotations

__all__ = ["BehaviorModel", "default_weights", "load_model"]

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from bdsynth.behavior.auxiliary import ActionClassifier
from bdsynth.behavior.flow import BehaviorFlow
from bdsynth.behavior.kinematic import KinematicNet
from bdsynth.behavior.network import BehaviorNet
from bdsynth.datasets.canonical import canonicalize_batch, leg_lengths
from bdsynth.datasets.pose_space import PoseSpace
from bdsynth.errors import InputError
from bdsynth.geometry import Placement, bone_lengths, canonical_placement, set_bone_lengths
from bdsynth.learning.weights import fill
from bdsynth.motion import Motion

_HERE = Placement((0.0, 0.0), 0.0)
# The fields that are saved as they are.
_PLAIN = ("fps", "length", "min_length", "canonical", "leg_length", "name", "config")
_LONGEST = 1_000_000  # frames of a sequence


@dataclass
class BehaviorModel:
    """A behavior net, its flow, and the space of poses they work in.

    Arguments:
        net: encoder and decoder.
        space: skeleton and pose statistics; None for a published checkpoint without statistics, which can
            then be inspected but not used on motions.
        fps: frame rate of the sequences the net was trained on.
        length: frames of the sequences the net was trained on.
        min_length: shortest sequence it was trained on; shorter motions are refused.
        leg_length: metres from hip to ankle of the bodies the net was trained on. Motions are brought to that
            size on their way in and back on their way out; None leaves sizes as they are.
        canonical: sequences start over the origin, facing +x (otherwise: raw world coordinates).
        flow: the map between behavior codes and a standard normal, or None.
        classifier: the action classifier trained beside the net, or None.
        actions: the names of the classifier's classes.
        name: for captions.
    """

    net: BehaviorNet | KinematicNet
    space: PoseSpace | None
    fps: float
    length: int
    min_length: int
    canonical: bool = True
    leg_length: float | None = None
    flow: BehaviorFlow | None = None
    classifier: ActionClassifier | None = None
    actions: tuple[str, ...] = ()
    name: str = "behavior net"
    config: dict = field(default_factory=dict)

    def frozen(self) -> BehaviorModel:
        """Sets the networks up for use: evaluation mode, no gradients. Returns the model."""
        for module in (self.net, self.flow, self.classifier):
            if module is not None:
                module.eval().requires_grad_(False)
        return self

    # -- motions in ----------------------------------------------------------------------------------------

    def known_space(self) -> PoseSpace:
        if self.space is None:
            raise InputError(
                f"{self.name}: the checkpoint holds no pose statistics; name a file with --statistics "
                "(.npz with mean and std, or an index.json of a prepared data set)"
            )
        return self.space

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    @property
    def keeps_bones(self) -> bool:
        """Whether everything that it performs has the bone lengths of the start posture."""
        return isinstance(self.net, KinematicNet)

    def to(self, device: torch.device | str) -> BehaviorModel:
        """Moves the networks; returns the model."""
        for module in (self.net, self.flow, self.classifier):
            if module is not None:
                module.to(device)
        return self

    def place(self, pose: np.ndarray) -> Placement:
        """Where the person of a pose (J, 3) stands and how large they are beside the training bodies.

        For a net on raw coordinates: the world's origin.
        """
        skeleton = self.known_space().skeleton
        size = float(self._size(pose))
        if not self.canonical:
            return replace(_HERE, scale=size)
        pelvis, right_hip, left_hip = map(skeleton.index, ("pelvis", "right_hip", "left_hip"))
        return replace(canonical_placement(pose, pelvis, right_hip, left_hip), scale=size)

    def _size(self, poses: np.ndarray) -> np.ndarray:
        """How large bodies are beside the training bodies: (..., J, 3) -> (...)."""
        if self.leg_length is None:
            return np.ones(poses.shape[:-2])
        size = leg_lengths(poses, self.known_space().skeleton) / self.leg_length
        if not (np.isfinite(size) & (size > 0)).all():
            raise InputError("a posture has legs of no length")
        return size

    def window(self, motion: Motion, start: float = 0.0) -> torch.Tensor:
        """The sequence of ``motion`` that the encoder sees.

        Arguments:
            motion: metres, any skeleton that converts, any frame rate.
            start: seconds into the motion.

        Returns:
            (T, N) normalized, min_length <= T <= length: as much as there is.

        Raises:
            InputError: the motion is masked, 2D, or too short from ``start`` on.
        """
        motion = self.at_rate(motion)
        first = _frame_at(start, self.fps)
        if first < 0 or first + self.min_length > motion.n_frames:
            raise InputError(
                f"motion '{motion.name}' is too short: a behavior needs {self.min_length / self.fps:.2f} s "
                f"from {start:g} s on, the motion ends at {motion.n_frames / self.fps:.2f} s"
            )
        return self._normalized(motion.positions[None, first : first + self.length])[0]

    def windows(self, motion: Motion, length: int, stride: int) -> tuple[np.ndarray, torch.Tensor]:
        """All sequences of one length that a motion holds, ``stride`` frames apart.

        Returns:
            first frames at the model's rate (W,), and the sequences (W, length, N), normalized; both empty
            where the motion is shorter.
        """
        motion = self.at_rate(motion)
        starts = np.arange(0, motion.n_frames - length + 1, stride)
        return starts, self._normalized(motion.positions[starts[:, None] + np.arange(length)])

    def _normalized(self, sequences: np.ndarray) -> torch.Tensor:
        """Sequences in the world (W, T, J, 3) as the encoder sees them (W, T, N)."""
        space = self.known_space()
        sequences = sequences.astype(np.float64)
        if self.canonical:
            sequences, _, _ = canonicalize_batch(sequences, space.skeleton)
        sequences = sequences / self._size(sequences[:, 0])[:, None, None, None]
        return torch.as_tensor(space.normalize(sequences), dtype=torch.float32)

    def at_rate(self, motion: Motion) -> Motion:
        """On the model's skeleton and at its frame rate; raises InputError where a motion cannot be used."""
        return self._usable(motion).resample(self.fps)

    def _usable(self, motion: Motion) -> Motion:
        if motion.dims != 3 or motion.unit != "m":
            raise InputError(
                f"motion '{motion.name}': {motion.dims}D in '{motion.unit}', the behavior net needs 3D in metres"
            )
        motion = motion.to_skeleton(self.known_space().skeleton)
        if not motion.is_complete:
            t, j = np.argwhere(motion.confidence == 0)[0]
            raise InputError(
                f"motion '{motion.name}': joint {motion.skeleton.joints[j]} is missing in frame {t}; "
                "the behavior net needs every joint in every frame"
            )
        return motion

    @torch.no_grad()
    def encode(self, motions: Sequence[Motion], start: float = 0.0, seed: int | None = None) -> torch.Tensor:
        """Behavior codes of motions (B, D): posterior means, or samples of the posterior when seeded."""
        windows = [self.window(motion, start) for motion in motions]
        x = torch.nn.utils.rnn.pad_sequence(windows, batch_first=True).to(self.device)  # (B, T, N)
        posterior = self.net.encode(x, torch.tensor([len(window) for window in windows], device=self.device))
        if seed is None:
            return posterior.mean
        return posterior.sample(generator=torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def sample_codes(
        self, count: int, temperature: float = 1.0, prior: str = "flow", seed: int = 0
    ) -> torch.Tensor:
        """Behavior codes that nobody performed: (count, D).

        Arguments:
            count: how many.
            temperature: standard deviation of the base distribution; below 1 more typical behaviors.
            prior: "flow" (the flow's inverse of a normal sample) or "normal" (the sample itself).
            seed: of a generator of its own.

        Raises:
            InputError: prior is "flow" and the model has none, or an unknown prior.
        """
        if prior not in ("flow", "normal"):
            raise InputError(f"prior '{prior}': expected flow or normal")
        if prior == "flow" and self.flow is None:
            raise InputError(f"{self.name} has no flow: train it (--flow) or sample with --prior normal")
        generator = torch.Generator().manual_seed(seed)
        if prior == "flow":
            return self.flow.sample(count, generator=generator, temperature=temperature)
        noise = torch.randn(count, self.net.dim_hidden_b, generator=generator)
        return (temperature * noise).to(self.device)

    # -- motions out ---------------------------------------------------------------------------------------

    @torch.no_grad()
    def realize(
        self,
        codes: torch.Tensor,
        posture: Motion,
        start: float = 0.0,
        length: int | None = None,
        keep_bone_lengths: bool = False,
    ) -> list[Motion]:
        """Behaviors performed from a start posture.

        Arguments:
            codes: (B, D).
            posture: the start posture is its frame at ``start`` seconds.
            length: frames to generate after the start posture; the training length by default.
            keep_bone_lengths: put every frame on the bone lengths of the start posture, exactly.

        Returns:
            B motions of length + 1 frames at the model's rate, in the world of ``posture``; the first frame
            is the start posture itself.
        """
        space = self.known_space()
        length = self.length if length is None else length
        if not 1 <= length <= _LONGEST:
            raise InputError(f"length is {length} frames, expected at least 1 and at most {_LONGEST}")
        posture = self._usable(posture)
        frame = _frame_at(start, posture.fps)
        if not 0 <= frame < posture.n_frames:
            raise InputError(
                f"motion '{posture.name}' has no posture at {start:g} s: it ends at {posture.duration:.2f} s"
            )
        pose = posture.positions[frame]  # (J, 3)
        placement = self.place(pose)
        x0 = torch.as_tensor(space.normalize(placement.to_canonical(pose)), dtype=torch.float32)
        x0 = x0.to(self.device).expand(len(codes), -1)  # (B, N)
        decoded = self.net.decode(codes, x0, length).float().cpu().numpy()  # (B, L, N)
        motions = []
        for sequence in placement.to_world(space.denormalize(decoded)):  # (L, J, 3)
            positions = np.concatenate([pose[None], sequence])
            motion = Motion(positions, space.skeleton, self.fps, name=posture.name)
            motions.append(with_first_bone_lengths(motion) if keep_bone_lengths else motion)
        return motions

    # -- files ---------------------------------------------------------------------------------------------

    def metadata(self) -> dict:
        """What :meth:`load` needs beside the tensors; plain JSON."""
        sizes: dict = self.net.sizes()
        if self.keeps_bones:
            sizes = {"kinematic": sizes}
        if self.flow is not None:
            sizes["flow"] = self.flow.sizes()
        if self.classifier is not None:
            sizes["classifier"] = self.classifier.sizes()
        return {
            "kind": "behavior_net",
            "version": 1,
            "sizes": sizes,
            "space": None if self.space is None else self.space.to_dict(),
            "actions": list(self.actions),
            **{key: getattr(self, key) for key in _PLAIN},
        }

    def tensors(self) -> dict[str, torch.Tensor]:
        """All tensors under the published key names (b_enc.*, decoder.*, flow.*), plus action_classifier.*."""
        tensors = dict(self.net.state_dict())
        if self.flow is not None:
            tensors.update(self.flow.state_dict())
        if self.classifier is not None:
            tensors.update({f"action_classifier.{k}": v for k, v in self.classifier.state_dict().items()})
        return tensors

    def save(self, path: str | Path) -> None:
        """One self-contained .safetensors file, written whole or not at all."""
        from bdsynth.learning.weights import save_weights

        save_weights(path, self.tensors(), self.metadata())

    @classmethod
    def from_tensors(cls, tensors: dict[str, torch.Tensor], metadata: dict, source: str) -> BehaviorModel:
        """Rebuilds the model that :meth:`metadata` and :meth:`tensors` describe.

        Raises:
            InputError: the metadata is not a behavior net's, or tensors are missing or of other shapes.
        """
        if metadata.get("kind") != "behavior_net":
            raise InputError(f"{source}: holds a '{metadata.get('kind')}', expected a behavior_net")
        try:
            sizes = metadata["sizes"]
            space = None if metadata["space"] is None else PoseSpace.from_dict(metadata["space"])
            if "kinematic" in sizes:
                net = KinematicNet(space, **sizes["kinematic"])
            else:
                net = BehaviorNet(sizes["n_dims"], sizes["dim_hidden_b"], sizes["linear_in_decoder"])
            flow = BehaviorFlow(**sizes["flow"]) if "flow" in sizes else None
            classifier = ActionClassifier(**sizes["classifier"]) if "classifier" in sizes else None
            rest = {key: metadata[key] for key in _PLAIN}
            actions = tuple(metadata["actions"])
            if not (0 < rest["fps"] < 1e6 and 1 <= rest["min_length"] <= rest["length"] <= _LONGEST):
                raise ValueError("fps, min_length or length")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{source}: metadata of the model is not usable ({error!r})") from None
        for module, prefix in ((net, ""), (flow, ""), (classifier, "action_classifier.")):
            if module is not None:  # net and flow have no prefix, so that others are known by their names only
                names = [prefix + key for key in module.state_dict()]
                fill(module, {name: tensors[name] for name in names if name in tensors}, source, prefix)
        return cls(net=net, space=space, flow=flow, classifier=classifier, actions=actions, **rest).frozen()


def _frame_at(start: float, fps: float) -> int:
    """The frame at ``start`` seconds; negative where there can be none."""
    return round(start * fps) if np.isfinite(start) else -1


def with_first_bone_lengths(motion: Motion) -> Motion:
    """The motion on the bone lengths of its first frame, exactly; that frame and the pelvis stay."""
    positions, parents = motion.positions.copy(), motion.skeleton.parents
    positions[1:] = set_bone_lengths(positions[1:], parents, bone_lengths(positions[0], parents))
    return motion.with_positions(positions)


def default_weights() -> Path:
    """The weights that come with the package."""
    return Path(__file__).parent.parent / "assets" / "behavior_net.safetensors"


def trained_checkpoint(folder: Path) -> Path | None:
    """The latest checkpoint with a flow in a run's folder of checkpoints, else the latest; None if none."""
    from bdsynth.learning.checkpoint import latest_checkpoint

    return latest_checkpoint(folder, "flow_ckpt") or latest_checkpoint(folder, "reg_ckpt")


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Tensors and metadata of a weights file, or of a checkpoint folder after checking all of its files."""
    from bdsynth.learning.checkpoint import load_checkpoint
    from bdsynth.learning.weights import load_weights

    if not (path / "manifest.json").exists():
        return load_weights(path)
    checkpoint = load_checkpoint(path)
    return checkpoint.weights, checkpoint.metadata


def load_model(path: str | Path | None = None, statistics: str | Path | None = None) -> BehaviorModel:
    """A behavior model from a file.

    Arguments:
        path: a weights file (.safetensors), a checkpoint folder of a run or the folder of all of them (then
            the latest one that has a flow counts), a published checkpoint (.pth; the flow is taken from
            ``flow_ckpt*.pth`` beside it), or a folder of published checkpoints; the embedded weights by
            default.
        statistics: for published checkpoints, which hold none: mean and standard deviation of the poses, as
            .npz with arrays ``mean`` and ``std``, or the index.json of a prepared data set.

    Raises:
        InputError: names the file and what is wrong with it.
    """
    path = default_weights() if path is None else Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; --weights takes a weights file or a checkpoint folder")
    path = trained_checkpoint(path) or path
    if (path / "manifest.json").exists() or (path.is_file() and path.suffix == ".safetensors"):
        return BehaviorModel.from_tensors(*read_weights(path), str(path))
    return _published(path, statistics)


def _published(path: Path, statistics: str | Path | None) -> BehaviorModel:
    from bdsynth.published.compvis import find_checkpoint, published_skeleton, read_behavior, read_flow
    from bdsynth.skeletons import get_skeleton

    folder = path if path.is_dir() else path.parent
    behavior_file = find_checkpoint(folder, "reg_ckpt") if path.is_dir() else path
    if behavior_file is None:
        raise InputError(f"{folder}: holds no checkpoint (manifest.json, *.safetensors or reg_ckpt*.pth)")
    read = read_behavior(behavior_file)
    net = BehaviorNet(read.n_dims, read.dim_hidden_b, read.linear_in_decoder)
    net.load_state_dict(read.state_dict)
    flow, flow_file = None, find_checkpoint(folder, "flow_ckpt")
    if flow_file is not None:
        found = read_flow(flow_file)
        flow = BehaviorFlow(found.dim, found.mid_channels, found.hidden_depth, found.n_flows)
        flow.load_state_dict(found.state_dict)
    space = None
    if statistics is not None:
        name = published_skeleton(read.n_dims)
        if name is None:
            raise InputError(f"{behavior_file}: {read.n_dims} pose dimensions fit no published skeleton")
        space = PoseSpace.from_statistics(statistics, get_skeleton(name), "world")
    model = BehaviorModel(
        net=net,
        space=space,
        fps=25.0,
        length=50,
        min_length=50,
        canonical=False,
        flow=flow,
        name=behavior_file.name,
    )
    return model.frozen()
