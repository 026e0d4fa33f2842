"""The warp kernels of the ray caster: bending the surface, its normals, and the light that reaches each pixel.

They run on the processor and on CUDA alike. Colors are linear inside and become sRGB (as its square root) at the
end. Importing this file imports warp.
"""

from __future__ import annotations

__all__ = ["cast_pixels", "face_normals", "refine_edges", "shade_ground", "skin_vertices", "vertex_normals"]

import warp as wp

wp.set_module_options({"enable_backward": False, "fast_math": True})

BLOBS = wp.constant(8)  # soft shadows below the body
BIAS = wp.constant(0.004)  # metres, by which edges of depth are told from slopes


@wp.kernel
def skin_vertices(
    rest: wp.array(dtype=wp.vec3),
    weights: wp.array2d(dtype=wp.float32),
    influences: wp.array2d(dtype=wp.int32),
    rotations: wp.array(dtype=wp.mat33),
    shifts: wp.array(dtype=wp.vec3),
    posed: wp.array(dtype=wp.vec3),
):
    v = wp.tid()
    p = rest[v]
    total = wp.vec3(0.0, 0.0, 0.0)
    for k in range(weights.shape[1]):
        w = weights[v, k]
        if w <= 0.0:  # they are sorted
            break
        b = influences[v, k]
        total += w * (rotations[b] * p + shifts[b])
    posed[v] = total


@wp.kernel
def face_normals(
    posed: wp.array(dtype=wp.vec3), faces: wp.array(dtype=wp.int32), normals: wp.array(dtype=wp.vec3)
):
    f = wp.tid()
    a = posed[faces[3 * f]]
    normals[f] = wp.cross(posed[faces[3 * f + 1]] - a, posed[faces[3 * f + 2]] - a)


@wp.kernel
def vertex_normals(
    normals: wp.array(dtype=wp.vec3),
    first: wp.array(dtype=wp.int32),
    around: wp.array(dtype=wp.int32),
    smooth: wp.array(dtype=wp.vec3),
):
    """The sum of the normals of the faces around each vertex: those of v are around[first[v]:first[v + 1]]."""
    v = wp.tid()
    total = wp.vec3(0.0, 0.0, 0.0)
    for i in range(first[v], first[v + 1]):
        total += normals[around[i]]
    smooth[v] = total


@wp.struct
class Surface:
    mesh: wp.uint64
    faces: wp.array(dtype=wp.int32)
    uv: wp.array(dtype=wp.vec2)  # (F * 3)
    smooth: wp.array(dtype=wp.vec3)
    texture: wp.array(dtype=wp.vec3)  # levels of detail one after another, each half as wide
    width: wp.int32
    levels: wp.int32
    density: wp.float32  # texels per metre


@wp.struct
class View:
    rotation: wp.mat33  # camera to world
    position: wp.vec3
    pixel: wp.float32  # width of a pixel at the distance of one metre
    left: wp.int32  # of the pixels that are looked at
    top: wp.int32


@wp.struct
class Lamp:
    toward: wp.vec3
    direct: wp.vec3
    above: wp.vec3  # ambient light from above and from below
    below: wp.vec3


@wp.func
def texel(surface: Surface, start: wp.int32, width: wp.int32, x: wp.int32, y: wp.int32) -> wp.vec3:
    x = wp.clamp(x, 0, width - 1)
    y = wp.clamp(y, 0, width - 1)
    return surface.texture[start + y * width + x]


@wp.func
def look_up(surface: Surface, uv: wp.vec2, level: wp.int32) -> wp.vec3:
    """The texture between its texels, at a level of detail."""
    start = wp.int32(0)
    width = surface.width
    for _ in range(level):
        start += width * width
        width = width / 2
    x = uv[0] * float(width) - 0.5
    y = uv[1] * float(width) - 0.5
    x0 = int(wp.floor(x))
    y0 = int(wp.floor(y))
    a = x - float(x0)
    b = y - float(y0)
    upper = (1.0 - a) * texel(surface, start, width, x0, y0) + a * texel(surface, start, width, x0 + 1, y0)
    lower = (1.0 - a) * texel(surface, start, width, x0, y0 + 1) + a * texel(surface, start, width, x0 + 1, y0 + 1)
    return (1.0 - b) * upper + b * lower


@wp.func
def shade(
    surface: Surface, lamp: Lamp, view: View, face: wp.int32, u: wp.float32, v: wp.float32, sign: wp.float32,
    distance: wp.float32, ray: wp.vec3,
) -> wp.vec3:  # fmt: skip
    w = 1.0 - u - v
    i = 3 * face
    faces = surface.faces
    n = u * surface.smooth[faces[i]] + v * surface.smooth[faces[i + 1]] + w * surface.smooth[faces[i + 2]]
    n = wp.normalize(n)
    if sign < 0.0:  # cloth seen from its inner side
        n = -n
    facing = wp.dot(n, ray)
    if facing > 0.0:  # a smooth normal at the rim may look away
        n = wp.normalize(n - facing * ray)
    uv = u * surface.uv[i] + v * surface.uv[i + 1] + w * surface.uv[i + 2]
    footprint = distance * view.pixel * surface.density  # texels that a pixel covers
    level = wp.clamp(int(wp.log2(wp.max(footprint, 1.0)) + 0.3), 0, surface.levels - 1)
    albedo = look_up(surface, uv, level)
    up = 0.5 + 0.5 * n[2]
    ambient = up * lamp.above + (1.0 - up) * lamp.below
    rim = 0.75 + 0.25 * wp.abs(facing)  # folds and contours are a little darker
    diffuse = wp.max((wp.dot(n, lamp.toward) + 0.15) / 1.15, 0.0)
    return wp.cw_mul(albedo, rim * ambient + diffuse * lamp.direct)


@wp.func
def direction(view: View, ray: wp.vec2) -> wp.vec3:
    return wp.normalize(view.rotation * wp.vec3(ray[0], ray[1], 1.0))


@wp.func
def along_axis(view: View, ray: wp.vec3) -> wp.float32:
    """The share of a ray that goes along the camera's axis: distance times this is depth."""
    return view.rotation[0, 2] * ray[0] + view.rotation[1, 2] * ray[1] + view.rotation[2, 2] * ray[2]


@wp.kernel
def cast_pixels(
    surface: Surface,
    view: View,
    lamp: Lamp,
    rays: wp.array2d(dtype=wp.vec2),
    colors: wp.array2d(dtype=wp.vec3),
    depth: wp.array2d(dtype=wp.float32),
):
    """One ray through the middle of each pixel; depth is negative where it meets nothing."""
    i, j = wp.tid()
    y = view.top + i
    x = view.left + j
    ray = direction(view, rays[y, x])
    hit = wp.mesh_query_ray(surface.mesh, view.position, ray, 1.0e3)
    if hit.result:
        depth[y, x] = hit.t * along_axis(view, ray)
        colors[y, x] = shade(surface, lamp, view, hit.face, hit.u, hit.v, hit.sign, hit.t, ray)


@wp.kernel
def shade_ground(
    view: View,
    rays: wp.array2d(dtype=wp.vec2),
    blobs: wp.array(dtype=wp.vec4),
    background: wp.array2d(dtype=wp.vec3),
    ground: wp.array2d(dtype=wp.vec3),
):
    """The background with soft shadows on the floor; a blob is x, y, radius and strength."""
    i, j = wp.tid()
    y = view.top + i
    x = view.left + j
    light = wp.float32(1.0)
    ray = view.rotation * wp.vec3(rays[y, x][0], rays[y, x][1], 1.0)
    if ray[2] < -1.0e-4:
        t = -view.position[2] / ray[2]
        px = view.position[0] + t * ray[0]
        py = view.position[1] + t * ray[1]
        for k in range(BLOBS):
            blob = blobs[k]
            dx = (px - blob[0]) / blob[2]
            dy = (py - blob[1]) / blob[2]
            rest = wp.max(1.0 - (dx * dx + dy * dy) / 6.25, 0.0)  # nothing beyond 2.5 radii
            light *= 1.0 - blob[3] * rest * rest
    ground[y, x] = light * background[y, x]


@wp.func
def is_edge(depth: wp.array2d(dtype=wp.float32), y: wp.int32, x: wp.int32) -> wp.bool:
    here = depth[y, x]
    height = depth.shape[0]
    width = depth.shape[1]
    left = depth[y, wp.max(x - 1, 0)]
    right = depth[y, wp.min(x + 1, width - 1)]
    above = depth[wp.max(y - 1, 0), x]
    below = depth[wp.min(y + 1, height - 1), x]
    if here < 0.0:
        return left > 0.0 or right > 0.0 or above > 0.0 or below > 0.0
    if left < 0.0 or right < 0.0 or above < 0.0 or below < 0.0:
        return True
    bend = wp.max(wp.abs(left + right - 2.0 * here), wp.abs(above + below - 2.0 * here))
    return bend > 6.0 * BIAS


@wp.func
def encoded(color: wp.vec3, channel: wp.int32) -> wp.uint8:
    return wp.uint8(255.0 * wp.sqrt(wp.clamp(color[channel], 0.0, 1.0)) + 0.5)


@wp.kernel
def refine_edges(
    surface: Surface,
    view: View,
    lamp: Lamp,
    rays: wp.array2d(dtype=wp.vec2),
    step: wp.vec2,
    colors: wp.array2d(dtype=wp.vec3),
    depth: wp.array2d(dtype=wp.float32),
    ground: wp.array2d(dtype=wp.vec3),
    image: wp.array3d(dtype=wp.uint8),
    mask: wp.array2d(dtype=wp.uint8),
):
    """The picture: four rays a pixel where the body ends or overlaps itself, else the one that was cast."""
    i, j = wp.tid()
    y = view.top + i
    x = view.left + j
    color = ground[y, x]
    cover = wp.float32(0.0)
    if is_edge(depth, y, x):
        behind = color
        color = wp.vec3(0.0, 0.0, 0.0)
        for k in range(4):  # a grid turned by 27 degrees
            a = float(k % 2) - 0.5
            b = float(k / 2) - 0.5
            dx = 0.5 * a + 0.25 * b
            dy = 0.5 * b - 0.25 * a
            ray = direction(view, rays[y, x] + wp.vec2(dx * step[0], dy * step[1]))
            hit = wp.mesh_query_ray(surface.mesh, view.position, ray, 1.0e3)
            if hit.result:
                cover += 0.25
                color += 0.25 * shade(surface, lamp, view, hit.face, hit.u, hit.v, hit.sign, hit.t, ray)
            else:
                color += 0.25 * behind
    elif depth[y, x] > 0.0:
        color = colors[y, x]
        cover = 1.0
    for channel in range(3):
        image[y, x, channel] = encoded(color, channel)
    mask[y, x] = wp.uint8(255.0 * cover + 0.5)
