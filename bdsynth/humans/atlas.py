"""Where every texel of the texture lies on the body, so that cloth is painted where it is worn.

Everything is painted as a function of places on the resting body, never of the texture's own coordinates: hems
are smooth, and the seams between the pieces of the texture cannot be seen. Every limb measures along its bones:
0 at the shoulder or hip, 1 at the elbow or knee, 2 at the wrist or ankle.
"""

from __future__ import annotations

__all__ = ["HAIR_PATCH", "SKIRT_PATCH", "Places", "along_limb", "places"]

import functools
from dataclasses import dataclass

import numpy as np

from bdsynth.humans.body import PARTS, Body, Topology, topology
from bdsynth.humans.rotations import unit

# Corners that the body leaves free: u and v from, u and v to.
SKIRT_PATCH = (0.85, 0.01, 0.99, 0.15)
HAIR_PATCH = (0.69, 0.01, 0.75, 0.13)


@dataclass(frozen=True, eq=False)
class Places:
    """The N texels that lie on the body.

    Arguments:
        texels: (N,) flat indices into the texture.
        nearest: (S * S,) for every texel the number of the nearest of the N.
        position: (N, 3) float32 on the resting body.
        part: (N,) index into body.PARTS.
        arm, leg: (N,) along the limb; the side is that of x.
        is_arm: (N,) share of the arm's bones in moving the place, 0 to 1.
        around: (N,) metres around the trunk or the limb, from the front.
        height: (N,) metres up the trunk, or up the limb (0 at the shoulder or hip).
        above_sole: (N,) metres above the lowest point of the shoes.
    """

    texels: np.ndarray
    nearest: np.ndarray
    position: np.ndarray
    part: np.ndarray
    arm: np.ndarray
    leg: np.ndarray
    is_arm: np.ndarray
    around: np.ndarray
    height: np.ndarray
    above_sole: np.ndarray

    def on(self, *names: str) -> np.ndarray:
        """(N,) bool: the parts of these names."""
        return np.isin(self.part, [PARTS.index(name) for name in names])


def along_limb(points: np.ndarray, joints: list[np.ndarray]) -> np.ndarray:
    """(N,) where points (N, 3) lie along a limb of three joints: 0, 1 and 2 at the joints."""
    (a, b, c), total = joints, 0.0
    for low, high, limits in ((a, b, (-2.0, 1.0)), (b, c, (0.0, 2.0))):
        bone = high - low
        total = total + np.clip((points - low) @ (bone / (bone @ bone)), *limits)
    return total


def places(body: Body, dressed: np.ndarray, size: int) -> Places:
    """Of a texture of ``size`` by ``size`` texels; ``dressed`` (V or more, 3) are the vertices in clothes."""
    shared, (texels, face, corner, nearest) = topology(), _map(size)
    corners = shared.faces[face]  # (N, 3)

    def over(values: np.ndarray) -> np.ndarray:
        return np.einsum("nc,nc...->n...", corner, values[corners])

    position = over(body.vertices)
    is_arm = over(_share(shared, ("upperarm", "lowerarm", "wrist", "finger", "metacarpal")))
    x, y, z = position.T
    left = x > 0
    arms, legs, turns = [], [], []
    for letter in "LR":
        upper, elbow, wrist = (body.head(f"{bone}.{letter}") for bone in ("upperarm01", "lowerarm01", "wrist"))
        hip, knee, ankle = (body.head(f"{bone}.{letter}") for bone in ("upperleg01", "lowerleg01", "foot"))
        arms.append(along_limb(position, [upper, elbow, wrist]))
        legs.append(along_limb(position, [hip, knee, ankle]))
        axis = unit(wrist - upper)
        off = position - upper
        off = off - (off @ axis)[:, None] * axis
        forward = unit(np.array([0.0, -1.0, 0.0]) - axis * -axis[1])
        turns.append(np.arctan2(off @ np.cross(axis, forward), off @ forward) * 0.05)
    arm, leg = np.where(left, *arms), np.where(left, *legs)
    arm_length = np.linalg.norm(body.head("wrist.L") - body.head("upperarm01.L")) / 2
    on_arm = is_arm > 0.5
    girth = 0.13 * np.linalg.norm(body.head("neck01") - body.head("root")) / 0.52
    trunk = np.arctan2(x, -(y + 0.02)) * girth
    thigh_x = np.where(left, body.head("upperleg01.L")[0], body.head("upperleg01.R")[0])
    on_leg = leg > 0.25
    limb = np.arctan2(x - thigh_x * (1 + 0.5 * np.clip(leg, 0, 2)), -(y + 0.02)) * 0.08
    around = np.where(on_arm, np.where(left, *turns), np.where(on_leg, limb, trunk))
    height = np.where(on_arm, -arm * arm_length, z)
    return Places(
        texels=texels,
        nearest=nearest,
        position=position.astype(np.float32),
        part=shared.part[face],
        arm=arm.astype(np.float32),
        leg=leg.astype(np.float32),
        is_arm=is_arm.astype(np.float32),
        around=around.astype(np.float32),
        height=height.astype(np.float32),
        above_sole=over(dressed[: len(body.vertices), 2] - dressed[:, 2].min()),
    )


def _share(shared: Topology, prefixes: tuple[str, ...]) -> np.ndarray:
    """(V,) how much of a vertex is moved by the bones whose names begin so."""
    chosen = np.array([bone.startswith(prefixes) for bone in shared.bones])
    return (shared.weights * chosen[shared.influences]).sum(1)


@functools.lru_cache(maxsize=2)
def _map(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """texels (N,), their faces (N,), their places in the face (N, 3), and the nearest of them (S * S,)."""
    from scipy.ndimage import distance_transform_edt

    uv = topology().uv.astype(np.float64) * size - 0.5  # (F, 3, 2) in texels
    low = np.floor(uv.min(1)).astype(int)
    extent = (np.ceil(uv.max(1)).astype(int) - low + 1).max(1)
    face_of = np.full(size * size, -1)
    corner_of = np.zeros((size * size, 3), dtype=np.float32)
    for reach in sorted({1 << int(n).bit_length() for n in extent}):
        chosen = np.flatnonzero((extent < reach) & (extent >= reach // 2))
        step = np.stack(np.meshgrid(np.arange(reach), np.arange(reach)), axis=-1).reshape(-1, 2)
        for part in np.array_split(chosen, max(1, len(chosen) * reach * reach // 2_000_000)):
            texel = low[part][:, None] + step  # (n, reach * reach, 2)
            a, b, c = uv[part].transpose(1, 0, 2)[:, :, None]
            area = _turn(b - a, c - a)
            area = np.where(np.abs(area) < 1e-12, 1e-12, area)
            second, third = _turn(texel - a, c - a) / area, _turn(b - a, texel - a) / area
            corner = np.stack([1 - second - third, second, third], axis=-1)
            inside = (corner > -1e-6).all(-1) & ((texel >= 0) & (texel < size)).all(-1)
            n, k = np.nonzero(inside)
            flat = texel[n, k, 1] * size + texel[n, k, 0]
            face_of[flat], corner_of[flat] = part[n], corner[n, k]
    on_body = face_of >= 0
    texels = np.flatnonzero(on_body)
    number = np.zeros(size * size, dtype=np.int64)
    number[texels] = np.arange(len(texels))
    rows, columns = distance_transform_edt(
        ~on_body.reshape(size, size), return_distances=False, return_indices=True
    )
    nearest = number[(rows * size + columns).ravel()]
    return texels, face_of[texels], corner_of[texels], nearest


def _turn(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
