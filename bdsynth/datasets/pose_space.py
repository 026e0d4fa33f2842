"""Between positions in metres and the normalized vectors that behavior networks read and write."""

from __future__ import annotations

__all__ = ["REPRESENTATIONS", "PoseSpace"]

import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bdsynth.errors import InputError, nearest
from bdsynth.skeletons import Skeleton

REPRESENTATIONS = ("world", "root_relative")
SMALLEST_STD = 1e-4  # below it a dimension counts as constant and is only centered (std 1)


@dataclass(frozen=True, eq=False)
class PoseSpace:
    """An invertible affine map of poses, made of a representation and of training statistics.

    "world" writes a pose as its joints' coordinates one after another (x, y, z per joint). "root_relative"
    is the same with every joint but the pelvis written relative to the pelvis of the same frame. Both are
    then standardized, (x - mean) / std.

    Arguments:
        skeleton: the J joints.
        representation: "world" or "root_relative".
        mean: (J * 3,) of the representation.
        std: (J * 3,) of the representation, all > 0.
    """

    skeleton: Skeleton
    representation: str
    mean: np.ndarray
    std: np.ndarray

    def __post_init__(self) -> None:
        if self.representation not in REPRESENTATIONS:
            given = f"'{self.representation}'{nearest(self.representation, REPRESENTATIONS)}"
            raise InputError(f"no pose representation is named {given}, expected world or root_relative")
        for field in ("mean", "std"):
            values = np.array(getattr(self, field), dtype=np.float32)
            if values.shape != (self.n_dims,) or not np.isfinite(values).all():
                raise InputError(f"pose statistics: {field} is not {self.n_dims} finite numbers")
            object.__setattr__(self, field, values)
        if not (self.std > 0).all():
            raise InputError("pose statistics: std has an entry that is not positive")
        root = self.skeleton.index("pelvis") if self.representation == "root_relative" else 0
        object.__setattr__(self, "_root", root)
        object.__setattr__(self, "_torch", (torch.from_numpy(self.mean), torch.from_numpy(self.std)))

    @property
    def n_dims(self) -> int:
        """The width of a pose vector: three numbers a joint."""
        return 3 * self.skeleton.n_joints

    def normalize(self, positions):
        """Poses to vectors, (..., J, 3) in metres -> (..., J * 3); numpy or torch, as given."""
        if self.representation == "root_relative":
            positions = self._shifted(positions, -1)
        mean, std = self._statistics(positions)
        return (positions.reshape(*positions.shape[:-2], self.n_dims) - mean) / std

    def normalize_(self, x: torch.Tensor) -> torch.Tensor:
        """:meth:`normalize` in place, for positions in metres written as vectors already: (..., J * 3)."""
        flat, root = x.view(-1, self.n_dims), 3 * self._root
        if self.representation == "root_relative":
            minus = -torch.eye(3, dtype=x.dtype, device=x.device).repeat(1, self.skeleton.n_joints)  # (3, J * 3)
            minus[:, root : root + 3] = 0
            flat.addmm_(flat[:, root : root + 3].clone(), minus)
        mean, std = self._statistics(x)
        return x.sub_(mean).div_(std)

    def denormalize(self, x):
        """Vectors to poses, (..., J * 3) -> (..., J, 3) in metres; the inverse of :meth:`normalize`."""
        mean, std = self._statistics(x)
        positions = (x * std + mean).reshape(*x.shape[:-1], self.skeleton.n_joints, 3)
        return self._shifted(positions, 1) if self.representation == "root_relative" else positions

    def _shifted(self, positions, sign: int):
        """Positions plus or minus the pelvis, which itself stays where it is."""
        pelvis = positions[..., self._root : self._root + 1, :]
        if isinstance(positions, torch.Tensor):
            shift = pelvis.expand_as(positions).clone()
        else:
            shift = np.broadcast_to(pelvis, positions.shape).copy()
        shift[..., self._root, :] = 0
        return positions + sign * shift

    def _statistics(self, like):
        if not isinstance(like, torch.Tensor):
            return self.mean, self.std
        mean, std = self._torch
        return mean.to(like.device, like.dtype), std.to(like.device, like.dtype)

    @classmethod
    def fit(
        cls, batches: Iterable[np.ndarray], skeleton: Skeleton, representation: str = "world"
    ) -> PoseSpace:
        """Mean and population standard deviation over positions (..., J, 3), a batch at a time.

        Raises:
            InputError: no positions, or some that are not finite.
        """
        unit = cls(skeleton, representation, np.zeros(3 * skeleton.n_joints), np.ones(3 * skeleton.n_joints))
        count, offset, total, squares = 0, None, 0.0, 0.0
        for positions in batches:
            rows = unit.normalize(np.asarray(positions, dtype=np.float64)).reshape(-1, unit.n_dims)
            if offset is None and len(rows):
                offset = rows[0]  # near the mean, so that the squares do not cancel
            rows = rows - offset
            count, total, squares = count + len(rows), total + rows.sum(0), squares + np.square(rows).sum(0)
        if not count:
            raise InputError("pose statistics: no poses to compute them from")
        if not np.isfinite(squares).all():
            raise InputError("pose statistics: the training poses hold values that are not finite")
        mean = total / count
        std = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
        return cls(skeleton, representation, offset + mean, np.where(std < SMALLEST_STD, 1.0, std))

    @classmethod
    def from_statistics(
        cls, file: str | Path, skeleton: Skeleton, representation: str = "world"
    ) -> PoseSpace:
        """Mean and standard deviation out of a file, for networks that come without theirs.

        Arguments:
            file: ``.npz`` with arrays ``mean`` and ``std``, (J * 3,) in the order of ``skeleton``, or the
                ``index.json`` of a prepared dataset (put in order by joint names).

        Raises:
            InputError: the file cannot be read, mean or std is missing or of another size, or the dataset has
                other joints.
        """
        file = Path(file)
        try:
            if file.suffix == ".json":
                index = json.loads(file.read_text(encoding="utf-8"))
                given = dict(index["statistics"])
                source = Skeleton.from_dict(index["skeleton"])
            else:
                with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                    given = {field: arrays[field] for field in arrays.files}
                source = skeleton
            given |= {"representation": representation, "skeleton": source.to_dict()}
            space = cls.from_dict(given)
            if set(source.joints) != set(skeleton.joints):
                raise InputError(f"statistics of the joints of {source.name}, not of {skeleton.name}")
            order = [source.index(joint) for joint in skeleton.joints]
            mean, std = (values.reshape(-1, 3)[order].reshape(-1) for values in (space.mean, space.std))
            return cls(skeleton, representation, mean, std)
        except InputError as error:
            raise InputError(f"{file}: {error}") from None
        except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise InputError(f"{file}: cannot be read as .npz or index.json ({error})") from None

    def to_dict(self) -> dict:
        """Plain values for JSON; :meth:`from_dict` reads them back without loss."""
        return {
            "skeleton": self.skeleton.to_dict(),
            "representation": self.representation,
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
        }

    @classmethod
    def from_dict(cls, d: dict) -> PoseSpace:
        """Raises InputError naming the field that is missing or wrong."""
        for field in ("skeleton", "representation", "mean", "std"):
            if not isinstance(d, dict) or field not in d:
                raise InputError(f"pose statistics: field '{field}' is missing")
        try:
            mean, std = np.array(d["mean"], dtype=np.float32), np.array(d["std"], dtype=np.float32)
        except (TypeError, ValueError):
            raise InputError("pose statistics: mean or std is not a list of numbers") from None
        return cls(Skeleton.from_dict(d["skeleton"]), str(d["representation"]), mean, std)
