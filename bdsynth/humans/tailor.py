"""The shape of clothes: loose cloth stands off the body, shoes have no toes, skirts and long hair hang free."""

from __future__ import annotations

__all__ = ["dress"]

import functools

import numpy as np
from scipy.spatial import ConvexHull

from bdsynth.humans.atlas import HAIR_PATCH, SKIRT_PATCH, along_limb
from bdsynth.humans.body import INFLUENCES, Body, Mesh, topology
from bdsynth.humans.clothes import hair_amount
from bdsynth.humans.look import Look
from bdsynth.humans.rotations import smoothstep

HAIR_DEPTH = {  # metres
    "bald": 0.0, "buzz": 0.002, "short": 0.009, "full": 0.02, "long": 0.014, "ponytail": 0.007, "bun": 0.007,
}  # fmt: skip
ARM = ("upperarm", "lowerarm", "wrist", "finger", "metacarpal")  # how the names of its bones begin
SOLE = 0.016  # metres


def dress(body: Body, look: Look) -> Mesh:
    """The surface of a body with what it wears; its first vertices are those of the body."""
    vertices = body.vertices.astype(np.float64)
    offset = _cloth(body, look, vertices)
    vertices = _bridged(body, vertices, offset)
    hair = _hair_depth(body, look, vertices)
    normals = _normals(vertices, topology().faces)
    vertices = vertices + _evened(np.maximum(offset, hair))[:, None] * normals
    if look.shoes:
        vertices = _shoes(body, vertices)
    mesh = body.mesh
    dressed = Mesh(vertices.astype(np.float32), mesh.faces, mesh.uv, mesh.weights, mesh.influences, mesh.heads)
    extras = []
    if look.skirt:
        extras.append(_skirt(body, look, vertices))
    if look.hair_style == "long" and not look.hat:
        extras.append(_long_hair(body))
    if look.hair_style in ("ponytail", "bun") and not look.hat:
        extras.append(_tail(body, look.hair_style))
    return dressed.joined(extras)


def _cloth(body: Body, look: Look, vertices: np.ndarray) -> np.ndarray:
    """(V,) metres that cloth stands off."""
    shared = topology()

    def share(prefixes: tuple[str, ...]) -> np.ndarray:
        chosen = np.array([bone.startswith(prefixes) for bone in shared.bones])
        return (shared.weights * chosen[shared.influences]).sum(1)

    arm_part = share(ARM)
    head_part = share(("neck", "head", "eye"))
    foot_part = share(("foot", "toe"))
    left = vertices[:, 0] > 0

    def along(*bones: str) -> np.ndarray:
        sides = (along_limb(vertices, [body.head(f"{bone}.{letter}") for bone in bones]) for letter in "LR")
        return np.where(left, *sides)

    arm, leg = along("upperarm01", "lowerarm01", "wrist"), along("upperleg01", "lowerleg01", "foot")
    z = vertices[:, 2]
    waist, hips = body.head("spine03")[2], body.head("upperleg02.L")[2]
    end = waist - look.length * (waist - hips)
    sleeve = smoothstep(look.top.hem + 0.06, look.top.hem - 0.06, arm)
    top = np.where(arm_part > 0.5, sleeve, smoothstep(end - 0.03, end + 0.03, z)) * (head_part < 0.4)
    lying = smoothstep(body.head("spine01")[2], body.head("clavicle.L")[2], z) * (arm < 0.35)
    top = top * (1 - 0.7 * lying)  # cloth lies on the shoulders
    legs = smoothstep(look.bottom.hem + 0.05, look.bottom.hem - 0.05, leg) * (arm_part < 0.5)
    bottom = legs * smoothstep(waist + 0.02, waist - 0.06, z) * (foot_part < 0.5) * (not look.skirt)
    widening = 0.5 + 0.7 * np.clip(leg, 0, 2)  # trouser legs are widest at the bottom
    return np.maximum(top * (look.top.loose + 0.002), bottom * (0.002 + look.bottom.loose * widening))


def _bridged(body: Body, vertices: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Cloth spans the hollows of the body: what it covers is evened out, most of all between the legs."""
    waist, thigh = body.head("spine03")[2], body.head("upperleg02.L")[2] - 0.12
    trunk = smoothstep(0.0005, 0.003, offset) * (np.abs(vertices[:, 0]) < 0.16)
    seat = (
        trunk * smoothstep(thigh, thigh + 0.04, vertices[:, 2]) * smoothstep(waist, waist - 0.05, vertices[:, 2])
    )
    seat = seat * smoothstep(0.09, 0.04, np.abs(vertices[:, 0]))
    for turn in range(10):
        share = 0.8 * seat if turn >= 2 else np.maximum(0.8 * seat, 0.5 * trunk)
        vertices = vertices + share[:, None] * (_mean_of_neighbors(vertices) - vertices)
    return vertices


def _hair_depth(body: Body, look: Look, vertices: np.ndarray) -> np.ndarray:
    amount = hair_amount(body, look, vertices)
    if look.hat:
        above = smoothstep(-0.005, 0.01, vertices[:, 2] - body.head("eye.L")[2] - 0.035)
        return np.maximum(0.012 * above, 0.004 * amount)
    top = smoothstep(-0.06, 0.06, vertices[:, 2] - body.head("eye.L")[2])  # fuller on top than at the nape
    return HAIR_DEPTH[look.hair_style] * amount * (0.5 + 0.5 * top)


@functools.cache
def _edges() -> tuple[np.ndarray, np.ndarray]:
    faces = topology().faces
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    pairs = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
    return pairs[:, 0], pairs[:, 1]


def _mean_of_neighbors(values: np.ndarray) -> np.ndarray:
    """(V, D) -> (V, D)."""
    first, second = _edges()
    n = len(values)
    count = np.maximum(np.bincount(first, minlength=n), 1)
    sums = [np.bincount(first, weights=values[second, d], minlength=n) for d in range(values.shape[1])]
    return np.stack(sums, axis=-1) / count[:, None]


def _evened(values: np.ndarray, rounds: int = 2) -> np.ndarray:
    for _ in range(rounds):
        values = 0.5 * values + 0.5 * _mean_of_neighbors(values[:, None])[:, 0]
    return values


def _normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    total = np.zeros_like(vertices)
    for d in range(3):
        total[:, d] = np.bincount(faces.ravel(), weights=normal[:, d].repeat(3), minlength=len(vertices))
    return total / np.maximum(np.linalg.norm(total, axis=-1, keepdims=True), 1e-12)


def _shoes(body: Body, vertices: np.ndarray) -> np.ndarray:
    """Toes closed up to the hull of the foot, a sole below."""
    shared = topology()
    vertices = vertices.copy()
    floor = body.vertices[:, 2].min()
    for letter in "LR":
        chosen = np.array([b.startswith(("foot", "toe")) and b.endswith(letter) for b in shared.bones])
        part = (shared.weights * chosen[shared.influences]).sum(1)
        ball = body.head(f"toe2-1.{letter}")
        toes = np.flatnonzero((part > 0.3) & (vertices[:, 1] < ball[1] + 0.035))
        hull = ConvexHull(vertices[toes])
        inner = vertices[toes].mean(0) + (0.0, 0.015, 0.0)
        reach = -(hull.equations[:, :3] @ inner + hull.equations[:, 3])
        for _ in range(14):  # onto the hull and evened out in turn: the folds between the toes open
            direction = vertices[toes] - inner
            speed = direction @ hull.equations[:, :3].T  # (n, facets)
            factor = np.where(speed > 1e-9, reach / np.maximum(speed, 1e-9), np.inf).min(1)
            share = smoothstep(ball[1] + 0.035, ball[1] + 0.005, vertices[toes, 1])[:, None]
            vertices[toes] += share * (factor - 1)[:, None] * direction
            vertices[toes] += 0.7 * share * (_mean_of_neighbors(vertices)[toes] - vertices[toes])
        amount = smoothstep(0.3, 0.9, part)
        vertices = vertices + (0.005 * amount)[:, None] * _normals(vertices, shared.faces)
        low = amount * smoothstep(0.022, 0.008, vertices[:, 2] - floor)
        vertices[:, 2] = np.where(low > 0, (1 - low) * vertices[:, 2] + low * (floor - SOLE), vertices[:, 2])
    return vertices


# --- What hangs free ---------------------------------------------------------------------------------------


def _sheet(
    points: np.ndarray, patch: tuple[float, float, float, float], weights: dict[str, np.ndarray], body: Body
) -> Mesh:
    """A surface of (R, C, 3) points; ``weights`` (R, C) of the bones that move it."""
    rows, columns = points.shape[:2]
    number = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    v, u = np.meshgrid(np.linspace(0.03, 0.97, rows), np.linspace(0.03, 0.97, columns), indexing="ij")
    uv = np.stack([patch[0] + u * (patch[2] - patch[0]), patch[1] + v * (patch[3] - patch[1])], -1).reshape(-1, 2)
    all_weights = np.stack([weight.ravel() for weight in weights.values()], axis=-1)
    bones = np.array([topology().bone[name] for name in weights])
    order = np.argsort(-all_weights, axis=1)
    ordered = np.take_along_axis(all_weights, order, axis=1)
    ordered = ordered / ordered.sum(1, keepdims=True)
    pad = ((0, 0), (0, INFLUENCES - len(bones)))
    return Mesh(
        points.reshape(-1, 3).astype(np.float32),
        faces.astype(np.int32),
        uv[faces].astype(np.float32),
        np.pad(ordered, pad).astype(np.float32),
        np.pad(bones[order], pad).astype(np.int32),
        body.heads,
    )


def _skirt(body: Body, look: Look, vertices: np.ndarray) -> Mesh:
    """A tube from the waist to the hem, around the trunk above and around both legs below."""
    hip, knee = body.head("upperleg01.L"), body.head("lowerleg01.L")
    ankle = body.head("foot.L")
    waist = body.head("spine03")[2] * 0.75 + body.head("spine04")[2] * 0.25
    reach = look.skirt
    hem = hip[2] + min(reach, 1.0) * (knee[2] - hip[2]) + max(reach - 1.0, 0.0) * (ankle[2] - knee[2])
    shared = topology()
    arms = np.array([b.startswith(ARM) for b in shared.bones])
    trunk = vertices[: len(body.vertices)][(shared.weights * arms[shared.influences]).sum(1) < 0.1]
    heights = np.linspace(waist + 0.015, hem, 16)
    angles = np.linspace(-np.pi, np.pi, 49)
    rows = []
    widest = np.zeros(2)
    for number, z in enumerate(heights):
        ring = trunk[np.abs(trunk[:, 2] - z) < 0.02]
        share = number / (len(heights) - 1)
        extent = np.array([np.abs(ring[:, 0]).max(), np.ptp(ring[:, 1]) / 2])
        widest = np.maximum(extent + 0.008 + 0.03 * share, widest * (1.0 if share > 0.2 else 0.0))
        middle = (ring[:, 1].max() + ring[:, 1].min()) / 2
        folds = 1 + 0.03 * share * np.cos(angles * 12 + look.seed)
        x, y = np.sin(angles), -np.cos(angles)
        power = 0.85  # between an ellipse and a rectangle
        rows.append(np.stack([widest[0] * np.sign(x) * np.abs(x) ** power * folds,
                              middle + widest[1] * np.sign(y) * np.abs(y) ** power * folds,
                              np.full_like(x, z)], axis=-1))  # fmt: skip
    points = np.array(rows)
    x, z = points[..., 0], points[..., 2]
    thigh = smoothstep(hip[2] + 0.05, hip[2] - 0.22, z)
    left = smoothstep(-0.14, 0.14, x)
    weights = {"root": 1 - thigh, "upperleg02.L": thigh * left, "upperleg02.R": thigh * (1 - left)}
    return _sheet(points, SKIRT_PATCH, weights, body)


def _long_hair(body: Body) -> Mesh:
    """A curtain from ear to ear around the back of the head, down to the shoulder blades."""
    eye, crown = body.head("eye.L"), body.crown
    scale = (crown[2] - body.nose[2]) / 0.158
    center = np.array([0.0, eye[1] + 0.085 * scale, 0.0])
    top, bottom = crown[2] - 0.045 * scale, body.head("clavicle.L")[2] - 0.03
    heights = np.linspace(top, bottom, 14)
    drop = (top - heights) / (top - bottom)
    angles = np.radians(180 + np.linspace(-1, 1, 29) * np.interp(drop, [0, 0.4, 1], [104, 98, 76])[:, None])
    width = np.interp(drop, [0, 0.2, 0.5, 0.75, 1], [0.068, 0.092, 0.094, 0.1, 0.095]) * scale
    depth = np.interp(drop, [0, 0.2, 0.5, 0.75, 1], [0.08, 0.11, 0.105, 0.125, 0.14]) * scale
    folds = 1 + 0.03 * drop[:, None] * np.cos(angles * 9)
    x = width[:, None] * np.sin(angles) * folds
    y = center[1] - depth[:, None] * np.cos(angles) * folds
    z = np.broadcast_to(heights[:, None], x.shape) - 0.03 * drop[:, None] * np.cos(angles) ** 2
    points = np.stack([x, y, z], axis=-1)
    body_share = 0.65 * smoothstep(0.55, 1.0, np.broadcast_to(drop[:, None], x.shape))
    return _sheet(points, HAIR_PATCH, {"head": 1 - body_share, "spine01": body_share}, body)


def _tail(body: Body, style: str) -> Mesh:
    """A ponytail or a bun at the back of the head: a tube along a curve."""
    eye, crown = body.head("eye.L"), body.crown
    scale = (crown[2] - body.nose[2]) / 0.158
    start = np.array([0.0, eye[1] + 0.165 * scale, eye[2] + 0.045 * scale])
    t = np.linspace(0, 1, 14)[:, None]
    if style == "bun":
        line = start + t * np.array([0.0, 0.075, 0.045]) * scale
        radius = 0.042 * np.sqrt(np.clip(1 - (2 * t - 1) ** 2, 0.002, 1)) * scale
    else:
        line = start + np.concatenate([0 * t, 0.05 * np.sin(np.pi * np.minimum(t * 1.1, 1)) + 0.015 * t,
                                       0.03 * np.sin(np.pi * t) - 0.23 * t**1.5], axis=1) * scale  # fmt: skip
        radius = np.interp(t, [0, 0.12, 0.4, 0.8, 1], [0.018, 0.024, 0.032, 0.024, 0.003]) * scale
    angle = np.linspace(0, 2 * np.pi, 17)
    along = np.gradient(line, axis=0)
    along = along / np.linalg.norm(along, axis=-1, keepdims=True)
    side = np.array([1.0, 0.0, 0.0])
    up = np.cross(along, side)
    ring = np.cos(angle)[None, :, None] * side + np.sin(angle)[None, :, None] * up[:, None]
    points = line[:, None] + radius[..., None] * ring
    swing = 0.4 * np.broadcast_to(t, points.shape[:2]) ** 2 * (style == "ponytail")
    return _sheet(points, HAIR_PATCH, {"head": 1 - swing, "spine01": swing}, body)
