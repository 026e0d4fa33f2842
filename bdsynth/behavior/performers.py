"""Whatever can read a behavior off a sequence and perform it from another posture, behind one interface.

The evaluation knows performers only, so that networks and the baselines that need none are measured alike.
All of them take and give positions in the world, in metres, on bodies as large as they are.
"""

from __future__ import annotations

__all__ = ["CopySource", "MTVAEPerformer", "NetPerformer", "Performer", "StandStill", "load_performer", "of_model"]

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from bdsynth.behavior.model import BehaviorModel, load_model, read_weights, trained_checkpoint
from bdsynth.behavior.mt_vae import MTVAE
from bdsynth.datasets.canonical import canonicalize_batch, leg_lengths, place_batch
from bdsynth.datasets.pose_space import PoseSpace
from bdsynth.errors import InputError
from bdsynth.skeletons import Skeleton


class Performer(Protocol):
    """What the evaluation asks of anything that it measures.

    Attributes:
        name: of its row in the table.
        past: frames before a start posture that it looks at.
    """

    name: str
    past: int

    def read(self, sequences: Tensor) -> Tensor:
        """The behaviors of sequences (S, P + 1 + T, J, 3), P at least ``past`` -> codes (S, D); D may be 0."""

    def draw(self, count: int, seed: int) -> Tensor:
        """Codes of behaviors that nobody asked for, (count, D)."""

    def perform(self, codes: Tensor, starts: Tensor) -> Tensor:
        """Codes (S, D) performed from start postures (S, P + 1, J, 3), the last frame, -> (S, T, J, 3)."""


@dataclass(frozen=True)
class Placed:
    """Sequences (S, F, J, 3) over the origin, facing +x and of one body size, and the way back."""

    positions: np.ndarray
    origin: np.ndarray
    heading: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, world: Tensor, skeleton: Skeleton, canonical: bool, leg_length: float | None) -> Placed:
        """Placed by the first frame.

        Raises:
            InputError: a posture has legs of no length.
        """
        positions = world.numpy().astype(np.float64)  # (S, F, J, 3)
        origin, heading = np.zeros((len(positions), 2)), np.zeros(len(positions))
        scale = np.ones(len(positions))
        if leg_length is not None:
            scale = leg_lengths(positions[:, 0], skeleton) / leg_length
            if not (np.isfinite(scale) & (scale > 0)).all():
                raise InputError("a start posture has legs of no length")
        if canonical:
            positions, origin, heading = canonicalize_batch(positions, skeleton)
        return cls(positions / scale[:, None, None, None], origin, heading, scale)

    def back(self, positions: np.ndarray) -> Tensor:
        """Other positions (S, ..., 3) from here to the world; float32."""
        world = place_batch(positions, self.origin, self.heading, self.scale)
        return torch.as_tensor(world, dtype=torch.float32)


@dataclass(frozen=True)
class NetPerformer:
    """A behavior net; codes are posterior means, drawn from the flow or a standard normal.

    Arguments:
        prior: "flow" or "normal"; the flow where there is one by default.
    """

    model: BehaviorModel
    name: str
    prior: str | None = None
    past: int = 0

    def _placed(self, world: Tensor) -> tuple[Placed, Tensor]:
        space = self.model.known_space()
        placed = Placed.of(world, space.skeleton, self.model.canonical, self.model.leg_length)
        x = torch.as_tensor(space.normalize(placed.positions), dtype=torch.float32)
        return placed, x.to(self.model.device)

    @torch.no_grad()
    def read(self, sequences: Tensor) -> Tensor:
        _, x = self._placed(sequences[:, -self.model.length - 1 : -1])  # (S, T, N)
        return torch.cat([self.model.net.encode(part).mean for part in x.split(256)]).cpu()

    def draw(self, count: int, seed: int) -> Tensor:
        prior = self.prior or ("flow" if self.model.flow is not None else "normal")
        return self.model.sample_codes(count, prior=prior, seed=seed).cpu()

    @torch.no_grad()
    def perform(self, codes: Tensor, starts: Tensor) -> Tensor:
        placed, x = self._placed(starts[:, -1:])
        parts = zip(codes.to(x.device).split(512), x[:, 0].split(512), strict=True)
        decoded = torch.cat([self.model.net.decode(code, x0, self.model.length) for code, x0 in parts])
        return placed.back(self.model.known_space().denormalize(decoded.cpu()).numpy())


@dataclass(frozen=True)
class MTVAEPerformer:
    """An MT-VAE; codes are latent transformations, means of the posterior or drawn from a standard normal.

    Arguments:
        past: frames it observes before the start posture, which is the last observed one.
        length: frames T it generates.
        canonical, leg_length: how its sequences were placed, by their first observed frame.
    """

    net: MTVAE
    space: PoseSpace
    name: str
    past: int
    length: int
    canonical: bool
    leg_length: float | None

    def _placed(self, world: Tensor) -> tuple[Placed, Tensor]:
        placed = Placed.of(world, self.space.skeleton, self.canonical, self.leg_length)
        x = torch.as_tensor(self.space.normalize(placed.positions), dtype=torch.float32)
        return placed, x.to(next(self.net.parameters()).device)

    @torch.no_grad()
    def read(self, sequences: Tensor) -> Tensor:
        _, x = self._placed(sequences[:, -self.past - 1 - self.length :])  # (S, P + 1 + T, N)
        parts = (part.split([self.past + 1, self.length], 1) for part in x.split(256))
        return torch.cat([self.net.encode(*part).mean for part in parts]).cpu()

    def draw(self, count: int, seed: int) -> Tensor:
        return torch.randn(count, self.net.dim_latent, generator=torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def perform(self, codes: Tensor, starts: Tensor) -> Tensor:
        placed, x = self._placed(starts[:, -self.past - 1 :])
        parts = zip(codes.to(x.device).split(512), x.split(512), strict=True)
        decoded = torch.cat([self.net.decode(code, seen, self.length) for code, seen in parts])
        return placed.back(self.space.denormalize(decoded.cpu()).numpy())


@dataclass(frozen=True)
class CopySource:
    """The source's motion, glued to the target's start posture: no network.

    A code is how far every joint is from where it started, in canonical coordinates and leg lengths; it is
    added to the start posture. Behaviors are drawn from recorded ones.

    Arguments:
        known: recorded sequences to draw behaviors from, (S, P + 1 + T, J, 3).
        length: frames T after the start posture.
    """

    skeleton: Skeleton
    known: Tensor
    length: int
    name: str = "copy the source"
    past: int = 0

    def read(self, sequences: Tensor) -> Tensor:
        placed = Placed.of(sequences[:, -self.length - 1 :], self.skeleton, True, 1.0)
        moved = placed.positions[:, 1:] - placed.positions[:, :1]  # (S, T, J, 3)
        return torch.as_tensor(moved, dtype=torch.float32).flatten(1)

    def draw(self, count: int, seed: int) -> Tensor:
        which = np.random.default_rng(seed).integers(len(self.known), size=count)
        return self.read(self.known)[which]

    def perform(self, codes: Tensor, starts: Tensor) -> Tensor:
        placed = Placed.of(starts[:, -1:], self.skeleton, True, 1.0)
        moved = codes.unflatten(1, (self.length, self.skeleton.n_joints, 3)).numpy()
        return placed.back(placed.positions + moved)


@dataclass(frozen=True)
class StandStill:
    """The start posture, held: no network and nothing read.

    Arguments:
        length: frames T after the start posture.
    """

    length: int
    name: str = "stand still"
    past: int = 0

    def read(self, sequences: Tensor) -> Tensor:
        return sequences.new_zeros(len(sequences), 0)

    def draw(self, count: int, seed: int) -> Tensor:
        return torch.zeros(count, 0)

    def perform(self, codes: Tensor, starts: Tensor) -> Tensor:
        return starts[:, -1:].repeat(1, self.length, 1, 1)


@dataclass(frozen=True)
class Loaded:
    """A performer, and what of the data it is for: skeleton, frames per second, frames after a start posture."""

    performer: NetPerformer | MTVAEPerformer
    skeleton: Skeleton
    fps: float
    length: int


def load_performer(path: str | Path, name: str | None = None, device: str = "cpu") -> Loaded:
    """A trained behavior net or MT-VAE, as a performer.

    Arguments:
        path: a weights file or a checkpoint folder; of a behavior net all that ``load_model`` takes.
        name: of its row; that of the run by default.
        device: where it computes.

    Raises:
        InputError: names the file and what is wrong with it.
    """
    path = Path(path)
    path = trained_checkpoint(path) or path
    if path.suffix == ".safetensors" or (path / "manifest.json").exists():
        tensors, metadata = read_weights(path)
        if metadata.get("kind") == "mt_vae":
            return _mt_vae(tensors, metadata, path, name, device)
    return of_model(load_model(path).to(device), name)


def of_model(model: BehaviorModel, name: str | None = None, prior: str | None = None) -> Loaded:
    """A behavior model as a performer."""
    performer = NetPerformer(model, name or model.name, prior)
    return Loaded(performer, model.known_space().skeleton, model.fps, model.length)


def _mt_vae(tensors: dict[str, Tensor], metadata: dict, path: Path, name: str | None, device: str) -> Loaded:
    if "fps" not in metadata:
        raise InputError(f"{path}: an MT-VAE without its frame rate (fps); train it again")
    space, config = PoseSpace.from_dict(metadata["space"]), metadata["config"]
    net = MTVAE(space.n_dims, metadata["dim_hidden"])
    net.load_state_dict(tensors)
    data = config["data"]
    performer = MTVAEPerformer(
        net=net.to(device).eval(),
        space=space,
        name=name or config["general"]["project_name"],
        past=data["n_cond"] - 1,
        length=data["seq_length"] + 1 - data["n_cond"],
        canonical=data["canonical"],
        leg_length=metadata["leg_length"],
    )
    return Loaded(performer, space.skeleton, metadata["fps"], performer.length)
