"""From a surface in a pose to pictures: rays against the moving mesh, on the processor or on CUDA.

The surface is bent once a frame and then seen by any number of cameras. Its bounding volumes are kept and only
fitted anew, and only the pixels around the body are looked at, so that a frame costs what the body covers.
"""

from __future__ import annotations

__all__ = ["Light", "Picture", "Raycaster", "View"]

from dataclasses import dataclass

import numpy as np

from bdsynth.camera import Camera
from bdsynth.errors import InputError
from bdsynth.humans.body import Mesh, require_humans

MARGIN = 0.06  # metres around the vertices that are looked at to find the body's box in a picture
SPARSE = 6  # one vertex in so many is looked at


@dataclass(frozen=True)
class Light:
    """One lamp far away, and soft light from everywhere.

    Arguments:
        toward: (3,) the direction to the lamp, in the world.
        direct: its strength.
        ambient: strength of the light from above; from below comes ``bounce`` times that.
        warmth: color of the lamp, -1 blue to 1 yellow.
        shadow: how dark the soft shadows on the floor are, 0 to 1.
    """

    toward: tuple[float, float, float] = (0.4, -0.5, 0.77)
    direct: float = 0.75
    ambient: float = 0.5
    bounce: float = 0.55
    warmth: float = 0.0
    shadow: float = 0.6

    @classmethod
    def from_seed(cls, seed: int) -> Light:
        """A lamp somewhere above, of some strength: a function of the seed alone."""
        random = np.random.default_rng([int(seed), 5])
        azimuth, elevation = random.uniform(0, 2 * np.pi), np.radians(random.uniform(25, 75))
        toward = (np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation))
        return cls(
            toward=tuple(map(float, toward)),
            direct=float(random.uniform(0.45, 0.85)),
            ambient=float(random.uniform(0.4, 0.6)),
            bounce=float(random.uniform(0.4, 0.7)),
            warmth=float(random.uniform(-0.5, 0.7)),
            shadow=float(random.uniform(0.4, 0.8)),
        )


@dataclass(frozen=True, eq=False)
class Picture:
    """What a camera sees.

    Arguments:
        image: (H, W, 3) uint8, sRGB.
        mask: (H, W) uint8, how much of a pixel the body covers, 0 to 255.
        depth: (H, W) float32 metres along the camera's axis, infinite beside the body.
    """

    image: np.ndarray
    mask: np.ndarray
    depth: np.ndarray


class View:
    """A camera with a background, made ready for many pictures.

    Arguments:
        camera: its width and height are those of the picture; the bend of its lens is followed.
        background: (H, W, 3) uint8, what stands behind the body.
        device: "cpu" or "cuda:0".
    """

    def __init__(self, camera: Camera, background: np.ndarray, device: str = "cpu") -> None:
        _, wp = require_humans()
        height, width = camera.height, camera.width
        if background.shape != (height, width, 3) or background.dtype != np.uint8:
            raise InputError(
                f"background is {background.dtype} {background.shape}, expected uint8 ({height}, {width}, 3)"
            )
        _check_device(device)
        self.camera, self.device = camera, device
        pixels = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)
        self.background = background

        def array(values: np.ndarray, dtype: object) -> object:
            return wp.array(np.ascontiguousarray(values, dtype=np.float32), dtype=dtype, device=device)

        self.rays = array(camera.rays(pixels), wp.vec2)
        self.linear = array((background / np.float32(255)) ** 2, wp.vec3)
        self.colors = wp.zeros((height, width), dtype=wp.vec3, device=device)
        self.ground = wp.zeros((height, width), dtype=wp.vec3, device=device)
        self.depth = wp.zeros((height, width), dtype=wp.float32, device=device)
        self.image = wp.zeros((height, width, 3), dtype=wp.uint8, device=device)
        self.mask = wp.zeros((height, width), dtype=wp.uint8, device=device)

    def box(self, points: np.ndarray, radius: np.ndarray | float) -> tuple[int, int, int, int]:
        """left, top, right, bottom of the pixels around some balls; empty when none is in the picture."""
        camera = self.camera
        z = camera.to_camera(points)[:, 2]
        seen = z > 0.05
        if not seen.any():
            return 0, 0, 0, 0
        pixels = camera.project(points[seen])
        reach = (np.broadcast_to(radius, z.shape)[seen] * max(camera.fx, camera.fy) / z[seen])[:, None]
        if not seen.all():  # somebody walks through the camera
            return 0, 0, camera.width, camera.height
        left, top = np.floor((pixels - reach).min(0)).clip(0, (camera.width, camera.height))
        right, bottom = np.ceil((pixels + reach).max(0)).clip(0, (camera.width, camera.height))
        return int(left), int(top), int(right), int(bottom)


class Raycaster:
    """A surface with its texture, ready to be posed and looked at.

    Arguments:
        mesh: V vertices on B bones.
        texture: (S, S, 3) uint8 sRGB, S a power of two.
        device: "cpu" or "cuda:0".

    Raises:
        InputError: warp is not installed, the texture is not square, or there is no such device.
    """

    def __init__(self, mesh: Mesh, texture: np.ndarray, device: str = "cpu") -> None:
        _, wp = require_humans()
        from bdsynth.humans import kernels

        size = len(texture)
        if texture.shape != (size, size, 3) or size < 16 or size & (size - 1):
            raise InputError(f"texture has shape {texture.shape}, expected (S, S, 3), S a power of two from 16")
        _check_device(device)
        self.mesh, self.device = mesh, device

        def array(values: np.ndarray, dtype: object) -> object:
            return wp.array(np.ascontiguousarray(values), dtype=dtype, device=device)

        count = np.bincount(mesh.faces.ravel(), minlength=len(mesh.vertices))
        around = np.argsort(mesh.faces.ravel(), kind="stable") // 3
        levels = _levels(texture)
        self._rest = array(mesh.vertices, wp.vec3)
        self._weights = array(mesh.weights, wp.float32)
        self._influences = array(mesh.influences, wp.int32)
        self._faces = array(mesh.faces.ravel(), wp.int32)
        self._first = array(np.concatenate([[0], count.cumsum()]).astype(np.int32), wp.int32)
        self._around = array(around.astype(np.int32), wp.int32)
        self._normals = wp.zeros(len(mesh.faces), dtype=wp.vec3, device=device)
        self._smooth = wp.zeros(len(mesh.vertices), dtype=wp.vec3, device=device)
        self._posed = array(mesh.vertices, wp.vec3)
        self._mesh = wp.Mesh(points=self._posed, indices=self._faces)
        surface = kernels.Surface()
        surface.mesh, surface.faces, surface.smooth = self._mesh.id, self._faces, self._smooth
        surface.uv = array(mesh.uv.reshape(-1, 2), wp.vec2)
        surface.texture = array(np.concatenate([level.reshape(-1, 3) for level in levels]), wp.vec3)
        surface.width, surface.levels = size, len(levels)
        surface.density = _density(mesh, size)
        self._surface = surface

    @property
    def vertices(self) -> np.ndarray:
        """(V, 3) float32 of the pose, metres."""
        return self._posed.numpy()

    def pose(self, rotations: np.ndarray, heads: np.ndarray) -> None:
        """Bend the surface: (B, 3, 3) rotations of the bones from rest, (B, 3) where they begin now."""
        _, wp = require_humans()
        from bdsynth.humans import kernels

        shift = heads - np.einsum("bij,bj->bi", rotations, self.mesh.heads)

        def launch(kernel: object, dim: int, inputs: list) -> None:
            wp.launch(kernel, dim=dim, inputs=inputs, device=self.device)

        bones = wp.array(np.ascontiguousarray(rotations, dtype=np.float32), dtype=wp.mat33, device=self.device)
        shifts = wp.array(np.ascontiguousarray(shift, dtype=np.float32), dtype=wp.vec3, device=self.device)
        n_vertices, n_faces = len(self.mesh.vertices), len(self.mesh.faces)
        skin = [self._rest, self._weights, self._influences, bones, shifts, self._posed]
        launch(kernels.skin_vertices, n_vertices, skin)
        launch(kernels.face_normals, n_faces, [self._posed, self._faces, self._normals])
        launch(kernels.vertex_normals, n_vertices, [self._normals, self._first, self._around, self._smooth])
        self._mesh.refit()

    def render(self, view: View, light: Light, blobs: np.ndarray | None = None) -> Picture:
        """What a camera sees of the pose.

        Arguments:
            blobs: (8, 4) soft shadows on the floor z = 0: x, y, radius, strength; None: no shadow.
        """
        _, wp = require_humans()
        from bdsynth.humans import kernels

        camera = view.camera
        blobs = np.tile([0.0, 0.0, 1.0, 0.0], (8, 1)) if blobs is None else blobs
        cast = blobs[:, 3] > 0.01
        points = np.concatenate([self.vertices[::SPARSE], np.pad(blobs[cast, :2], ((0, 0), (0, 1)))])
        radius = np.concatenate([np.full(len(points) - cast.sum(), MARGIN), 2.5 * blobs[cast, 2]])
        left, top, right, bottom = view.box(points, radius)
        view.image.assign(view.background)
        view.mask.zero_()
        view.depth.fill_(-1.0)
        if right > left and bottom > top:
            looked = kernels.View()
            looked.rotation = wp.mat33(*camera.rotation.T.ravel())
            looked.position = wp.vec3(*camera.position)
            looked.pixel, looked.left, looked.top = 1.0 / camera.fx, left, top
            lamp = _lamp(kernels, wp, light)
            spots = wp.array(blobs.astype(np.float32), dtype=wp.vec4, device=self.device)
            area = (bottom - top, right - left)

            def launch(kernel: object, *inputs: object) -> None:
                wp.launch(kernel, dim=area, inputs=list(inputs), device=self.device)

            step = wp.vec2(1 / camera.fx, 1 / camera.fy)
            seen = (self._surface, looked, lamp, view.rays)
            launch(kernels.cast_pixels, *seen, view.colors, view.depth)
            launch(kernels.shade_ground, looked, view.rays, spots, view.linear, view.ground)
            launch(kernels.refine_edges, *seen, step, view.colors, view.depth, view.ground, view.image, view.mask)
        depth = view.depth.numpy()
        depth = np.where(depth > 0, depth, np.float32(np.inf))
        return Picture(view.image.numpy().copy(), view.mask.numpy().copy(), depth)


def _check_device(device: str) -> None:
    _, wp = require_humans()
    known = ["cpu", *(str(found) for found in wp.get_cuda_devices())]
    if device not in known:
        raise InputError(f"no device '{device}' for rendering, expected one of {', '.join(known)}")


def _lamp(kernels, wp, light: Light) -> object:
    toward = np.array(light.toward, dtype=np.float64)
    lamp = kernels.Lamp()
    tint = np.array([1 + 0.12 * light.warmth, 1.0, 1 - 0.18 * light.warmth])
    lamp.toward = wp.vec3(*(toward / np.linalg.norm(toward)))
    lamp.direct = wp.vec3(*(light.direct * tint))
    lamp.above = wp.vec3(*(light.ambient * (2 - tint)))
    lamp.below = wp.vec3(*(light.ambient * light.bounce * np.array([1.0, 0.96, 0.9])))
    return lamp


def _levels(texture: np.ndarray) -> list[np.ndarray]:
    """The texture in linear light, then halved again and again down to 16 texels."""
    levels = [(texture.astype(np.float32) / 255) ** 2]
    while len(levels[-1]) > 16:
        half = len(levels[-1]) // 2
        levels.append(levels[-1].reshape(half, 2, half, 2, 3).mean((1, 3)))
    return levels


def _density(mesh: Mesh, size: int) -> float:
    """Texels per metre of the surface, from the areas of the triangles."""

    def area(corners: np.ndarray) -> np.ndarray:
        a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        normal = np.cross(a, b)
        return np.linalg.norm(normal, axis=-1) if normal.ndim == 2 else np.abs(normal)

    world = area(mesh.vertices[mesh.faces])
    flat = area(np.pad(mesh.uv, ((0, 0), (0, 0), (0, 1))))
    return float(size * np.sqrt(np.median(flat / np.maximum(world, 1e-12))))
