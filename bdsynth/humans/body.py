"""Bodies: the shape of an adult drawn from a seed, as a mesh on a skeleton of bones.

The body is anny's (Brégier et al., "Human Mesh Modeling for Anny Body", 2025; code Apache-2.0, shapes CC0, all of
it inside the package). Its parts that are never seen (tongue, mouth, the inside of the eye sockets) are left out.
Rest pose: metres, z up, facing -y, left is +x, the arms hanging obliquely, the origin near the pelvis.
"""

from __future__ import annotations

__all__ = ["Body", "Mesh", "Phenotype", "Topology", "require_humans", "sample_phenotype", "topology"]

import dataclasses
import functools
import os
import sys
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from bdsynth.errors import InputError, nearest

HIDDEN = ("tongue", "mouth_cavity", "eye_cavity.L", "eye_cavity.R", "eye_back.L", "eye_back.R")
PARTS = ("body", "head", "hand.L", "hand.R", "foot.L", "foot.R", "eye_front.L", "eye_front.R")
EYE_PATCHES = {"L": (0.8, 0.035), "R": (0.8, 0.1)}  # middle of a free place in the texture
INFLUENCES = 6  # bones that move a vertex: 98 of 100 vertices have no more
HEIGHTS = {"male": (1.77, 0.07), "female": (1.645, 0.065)}  # of adults: mean and standard deviation, metres


def require_humans() -> tuple[ModuleType, ModuleType]:
    """The packages anny and warp; raises InputError saying how to install them."""
    try:
        import warp

        _start_warp()
        import anny
    except ImportError as error:
        raise InputError(f"synthetic people need anny and warp ({error}): install bdsynth[humans]") from None
    return anny, warp


@functools.cache
def _start_warp() -> None:
    """Starts warp without its greeting on the standard output, which may be somebody's data, and without the
    line that its library writes to the standard error of every computer that has no GPU."""
    import warp

    warp.config.log_level = warp.LOG_ERROR
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        warp.init()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@dataclass(frozen=True)
class Phenotype:
    """What a body looks like; all but ``height`` in [0, 1].

    Arguments:
        gender: 0 male, 1 female.
        age: 0.67 a young adult, 1 old.
        muscle, weight, proportions: little to much.
        height: metres.
    """

    gender: float
    age: float
    muscle: float
    weight: float
    proportions: float
    height: float

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, most = getattr(self, field.name), 2.3 if field.name == "height" else 1.0
            least = 1.3 if field.name == "height" else 0.0
            if not (isinstance(value, int | float) and least <= value <= most):
                raise InputError(f"phenotype: {field.name} is {value}, expected {least} to {most}")


def sample_phenotype(seed: int, **fixed: float) -> Phenotype:
    """An adult: a function of the seed alone; ``fixed`` overrides fields.

    Raises:
        InputError: a field that does not exist, or lies out of its range.
    """
    known = [field.name for field in dataclasses.fields(Phenotype)]
    for name in fixed:
        if name not in known:
            raise InputError(f"no phenotype is named '{name}'{nearest(name, known)}, expected {', '.join(known)}")
    random = np.random.default_rng([int(seed), 1])
    female = random.random() < 0.5
    gender = float(random.uniform(0.8, 1.0) if female else random.uniform(0.0, 0.2))
    drawn = {
        "gender": gender,
        "age": float(0.62 + 0.33 * random.beta(1.2, 1.8)),
        "muscle": float(random.beta(2.5, 2.5) * 0.8 + 0.1),
        "weight": float(random.beta(2.0, 2.2)),
        "proportions": float(random.uniform(0.2, 0.9)),
    }
    drawn |= {name: value for name, value in fixed.items() if name != "height"}
    mean, std = HEIGHTS["female" if drawn["gender"] > 0.5 else "male"]
    height = float(np.clip(random.normal(mean, std), mean - 2.5 * std, mean + 2.5 * std))
    return Phenotype(**drawn, height=fixed.get("height", height))


# --- What all bodies share ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Topology:
    """The mesh and bones that all bodies share: V vertices, F triangles, B bones.

    Arguments:
        faces: (F, 3) int32, counter-clockwise seen from outside.
        uv: (F, 3, 2) float32, texture coordinates in [0, 1], v down, per corner.
        part: (F,) index into PARTS.
        bones: names; parents: index of the parent of each, -1 for the root.
        weights: (V, INFLUENCES) float32, descending, rows sum to one; of the bones ``influences`` (V, same).
        kept: (V,) which of anny's vertices these are.
    """

    faces: np.ndarray
    uv: np.ndarray
    part: np.ndarray
    bones: tuple[str, ...]
    parents: tuple[int, ...]
    weights: np.ndarray
    influences: np.ndarray
    kept: np.ndarray

    @functools.cached_property
    def bone(self) -> dict[str, int]:
        return {name: b for b, name in enumerate(self.bones)}


@functools.cache
def _model():
    """anny's model; the very first construction on a machine takes a minute, later ones read its cache."""
    anny, _ = require_humans()
    return anny.Anny()


@functools.cache
def topology() -> Topology:
    """The mesh that all bodies share; raises InputError where anny is not installed."""
    model = _model()  # says so where anny is missing
    from anny.face_segmentation import get_face_segmentation_mask

    hidden = get_face_segmentation_mask(model, HIDDEN).numpy()
    part = np.zeros(len(hidden), dtype=np.int32)
    for number, name in enumerate(PARTS):
        part[get_face_segmentation_mask(model, [name]).numpy()] = number
    faces = model.faces.numpy()[~hidden]
    kept, faces = np.unique(faces, return_inverse=True)
    uv = model.texture_coordinates.numpy()[model.face_texture_coordinate_indices.numpy()[~hidden]]
    uv = np.stack([uv[..., 0], 1 - uv[..., 1]], axis=-1)
    part = part[~hidden]
    for side, (u, v) in EYE_PATCHES.items():  # anny gives them too few texels for an iris
        ball = part == PARTS.index(f"eye_front.{side}")
        center = model.template_bone_heads[model.bone_labels.index(f"eye.{side}")].numpy()
        off = model.template_vertices.numpy()[kept][faces.reshape(-1, 3)[ball]] - center  # (n, 3, 3)
        uv[ball] = np.stack([u + off[..., 0] / 0.6, v - off[..., 2] / 0.6], axis=-1)
    weights = model.vertex_bone_weights.numpy()[kept]
    bones = model.vertex_bone_indices.numpy()[kept]
    strongest = np.argsort(-weights, axis=1, kind="stable")[:, :INFLUENCES]
    weights = np.take_along_axis(weights, strongest, axis=1)
    return Topology(
        faces=faces.reshape(-1, 3).astype(np.int32),
        uv=uv.astype(np.float32),
        part=part,
        bones=tuple(model.bone_labels),
        parents=tuple(model.bone_parents),
        weights=(weights / weights.sum(1, keepdims=True)).astype(np.float32),
        influences=np.take_along_axis(bones, strongest, axis=1).astype(np.int32),
        kept=kept,
    )


# --- One body ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Mesh:
    """A surface that bones move: what is rendered.

    Arguments:
        vertices: (V, 3) float32 at rest, metres.
        faces: (F, 3) int32.
        uv: (F, 3, 2) float32.
        weights, influences: (V, K), of every vertex the bones that move it.
        heads: (B, 3) float32, where the bones begin at rest.
    """

    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    weights: np.ndarray
    influences: np.ndarray
    heads: np.ndarray

    def posed(self, rotations: np.ndarray, heads: np.ndarray) -> np.ndarray:
        """The vertices in some poses, by linear blending: (T, B, 3, 3) and (T, B, 3) -> (T, V, 3) float32.

        ``rotations`` turn each bone from rest into the pose, about its head, which comes to lie at ``heads``.
        """
        shift = heads - np.einsum("tbij,bj->tbi", rotations, self.heads)  # (T, B, 3)
        transforms = np.concatenate([rotations, shift[..., None]], axis=-1).astype(np.float32)  # (T, B, 3, 4)
        blended = np.einsum("vk,tvkij->tvij", self.weights, transforms[:, self.influences])
        return np.einsum("tvij,vj->tvi", blended[..., :3], self.vertices) + blended[..., 3]

    def joined(self, others: list[Mesh]) -> Mesh:
        """This surface and others on the same bones as one."""
        meshes, offset, faces = [self, *others], 0, []
        for mesh in meshes:
            faces.append(mesh.faces + offset)
            offset += len(mesh.vertices)
        together = {
            name: np.concatenate([getattr(mesh, name) for mesh in meshes])
            for name in ("vertices", "uv", "weights", "influences")
        }
        return Mesh(faces=np.concatenate(faces).astype(np.int32), heads=self.heads, **together)


@dataclass(frozen=True, eq=False)
class Body:
    """A bare body at rest. Made by :meth:`of` or :meth:`from_seed`.

    Arguments:
        phenotype: what it was made from.
        vertices: (V, 3) float32, metres.
        heads: (B, 3) float32, where the bones begin.
    """

    phenotype: Phenotype
    vertices: np.ndarray
    heads: np.ndarray

    @classmethod
    def from_seed(cls, seed: int, **fixed: float) -> Body:
        """The body of :func:`sample_phenotype`."""
        return cls.of(sample_phenotype(seed, **fixed))

    @classmethod
    def of(cls, phenotype: Phenotype) -> Body:
        """The body of a phenotype, of exactly its height."""
        shared, model = topology(), _model()
        asked = dataclasses.asdict(phenotype)
        wanted = asked.pop("height")

        def rest(height: float) -> tuple[np.ndarray, np.ndarray]:
            coefficients = model._get_phenotype_blendshape_coefficients(
                *model.get_tensor_inputs(None, {**asked, "height": height}, None, None)[1:]
            )
            found = model.get_rest_model(coefficients)
            return found["rest_vertices"][0].numpy()[shared.kept], found["rest_bone_heads"][0].numpy()

        low, high = (np.ptp(rest(end)[0][:, 2]) for end in (0.0, 1.0))  # anny's height is linear in its parameter
        vertices, heads = rest(float((wanted - low) / (high - low)))
        return cls(phenotype, vertices.astype(np.float32), heads.astype(np.float32))

    @property
    def mesh(self) -> Mesh:
        shared = topology()
        return Mesh(self.vertices, shared.faces, shared.uv, shared.weights, shared.influences, self.heads)

    def head(self, bone: str) -> np.ndarray:
        """(3,) where a bone begins at rest."""
        return self.heads[topology().bone[bone]]

    @functools.cached_property
    def crown(self) -> np.ndarray:
        """(3,) the top of the head at rest."""
        return self.vertices[self.vertices[:, 2].argmax()]

    @functools.cached_property
    def nose(self) -> np.ndarray:
        """(3,) the tip of the nose at rest."""
        face = (np.abs(self.vertices[:, 0]) < 0.006) & (self.vertices[:, 2] > self.head("neck03")[2])
        return self.vertices[face][self.vertices[face][:, 1].argmin()]
