"""Clothes, skin and hair painted on a body: from a look to a texture."""

from __future__ import annotations

__all__ = ["hair_amount", "paint"]

import numpy as np

from bdsynth.humans.atlas import HAIR_PATCH, SKIRT_PATCH, Places, places
from bdsynth.humans.body import Body
from bdsynth.humans.look import Garment, Look
from bdsynth.humans.patterns import cloth, cover, noise, soft


def paint(body: Body, look: Look, dressed: np.ndarray, size: int = 512) -> np.ndarray:
    """The texture of a body whose vertices in clothes are ``dressed``: (size, size, 3) uint8 sRGB."""
    at = places(body, dressed, size)
    colors = _skin(body, look, at)
    _hair(body, look, at, colors)
    _feet(look, at, colors, body)
    _bottom(body, look, at, colors)
    _top(body, look, at, colors)
    texture = (np.clip(colors, 0, 1) * 255 + 0.5).astype(np.uint8)[at.nearest].reshape(size, size, 3)
    _patches(body, look, texture)
    return texture


# --- Skin and hair -----------------------------------------------------------------------------------------


def _skin(body: Body, look: Look, at: Places) -> np.ndarray:
    skin = np.array(look.skin, dtype=np.float32)
    tint = 1 + 0.03 * noise(at.position, 0.05, look.seed) + 0.02 * noise(at.position, 0.01, look.seed + 1)
    colors = skin * tint[:, None].astype(np.float32)
    x, y, z = (at.position - body.nose).T
    scale = (body.crown[2] - body.nose[2]) / 0.158
    front = at.on("head") & (y < 0.08 * scale)

    def oval(dx: np.ndarray, dz: np.ndarray, a: float, b: float, edge: float = 0.25) -> np.ndarray:
        return front * np.clip((1 - np.hypot(dx / (a * scale), dz / (b * scale))) / edge, 0, 1)

    cover(colors, look.lips, 0.85 * oval(x, z + 0.034 * scale, 0.026, 0.0085, 0.35))
    cheeks = oval(np.abs(x) - 0.042 * scale, z - 0.004 * scale, 0.024, 0.018, 1)
    cover(colors, skin * (1.0, 0.82, 0.8), 0.35 * cheeks)
    eye = body.head("eye.L")
    for side in ("L", "R"):
        center = body.head(f"eye.{side}")
        across, up = at.position[:, 0] - center[0], at.position[:, 2] - center[2]
        cover(colors, skin * 0.72, 0.5 * oval(across, up, 0.022, 0.013, 0.6))
        ball = at.on(f"eye_front.{side}")
        reach = np.hypot(across, up)
        ahead = at.position[:, 1] < center[1]
        cover(colors, (0.78, 0.76, 0.74), ball.astype(np.float32))
        cover(colors, look.eyes, ball * ahead * soft(0.0068 * scale - reach, 0.001))
        cover(colors, (0.02, 0.02, 0.02), ball * ahead * soft(0.003 * scale - reach, 0.001))
    brow = np.array(look.hair) * 0.7 if look.hair_style != "bald" else np.array(look.skin) * 0.45
    arch = 0.021 * scale - 4.0 * (np.abs(x) - 0.034 * scale) ** 2
    brows = oval(np.abs(x) - eye[0] * 1.05, at.position[:, 2] - eye[2] - arch, 0.021, 0.0045, 0.4)
    cover(colors, brow, 0.8 * brows)
    if look.beard:
        jaw = _beard(x / scale, y / scale, z / scale) * front
        rough = np.clip(0.75 + 0.3 * noise(at.position, 0.008, look.seed + 2), 0, 1)
        cover(colors, np.array(look.hair) * 0.9, look.beard * jaw * rough)
        cover(colors, look.lips, 0.8 * look.beard * oval(x, z + 0.034 * scale, 0.022, 0.006, 0.35))
    return colors


def _beard(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """From the nose's tip, metres: below a line from the upper lip over the cheeks to the ears."""
    edge = np.interp(np.abs(x), [0, 0.02, 0.035, 0.05, 0.07, 0.09], [-0.015, -0.017, -0.03, -0.028, 0.0, 0.02])
    return np.clip((edge - z) / 0.008, 0, 1) * np.clip((z + 0.115) / 0.02, 0, 1)


def hair_amount(body: Body, look: Look, points: np.ndarray) -> np.ndarray:
    """(N,) 0 to 1: how much hair grows at points (N, 3) of the resting head."""
    if look.hair_style == "bald":
        return np.zeros(len(points))
    eye, crown = body.head("eye.L"), body.crown
    scale = (crown[2] - body.nose[2]) / 0.158
    center = np.array([0.0, eye[1] + 0.078 * scale, eye[2] + 0.012 * scale])
    x, y, z = ((points - center) / scale).T
    azimuth = np.degrees(np.arctan2(np.abs(x), -y))
    elevation = np.degrees(np.arctan2(z, np.hypot(x, y)))
    line = [41, 38, 22, 16, -8, -14, -10, -28, -36, -38]
    if look.hair_style in ("long", "ponytail", "bun", "full"):
        line = [43, 38, 20, 14, -12, -24, -24, -36, -44, -46]
    line = np.interp(azimuth, [0, 25, 42, 58, 70, 84, 100, 120, 150, 180], line)
    line = line + look.hairline * np.clip(1 - azimuth / 75, 0, 1)
    line = line + 2.5 * noise(points, 0.02, look.seed + 4)
    amount = np.clip((elevation - line) / 5 + 0.5, 0, 1)
    ear = (np.abs(x) > 0.0745) & (elevation < 12) & (azimuth > 65) & (azimuth < 135)
    return amount * ~ear * (z > -0.13)


def _hair(body: Body, look: Look, at: Places, colors: np.ndarray) -> None:
    amount = hair_amount(body, look, at.position) * at.on("head", "body")
    if look.hair_style == "buzz":
        amount = amount * 0.75
    strands = noise(at.position * (1.0, 1.0, 0.25), 0.006, look.seed + 5) * 0.1
    color = np.array(look.hair, dtype=np.float32) * (1 + strands[:, None]).astype(np.float32)
    cover(colors, np.clip(color, 0, 1), amount)
    if look.hat:
        rim = body.head("eye.L")[2] + 0.035 - 0.15 * (at.position[:, 1] - body.nose[1] - 0.09) * 0.6
        above = at.position[:, 2] - rim
        knit = 1 + 0.06 * np.sign(np.sin(at.position[:, 0] * 700))
        hat = np.array(look.hat, dtype=np.float32) * knit[:, None].astype(np.float32)
        cover(colors, np.clip(hat, 0, 1), soft(above) * at.on("head"))
        cover(colors, np.array(look.hat) * 0.75, soft(above) * soft(0.022 - above) * at.on("head"))


# --- Cloth -------------------------------------------------------------------------------------------------


def _feet(look: Look, at: Places, colors: np.ndarray, body: Body) -> None:
    shank = float(np.linalg.norm(body.head("foot.L") - body.head("lowerleg01.L")))
    if look.socks:
        cover(colors, look.socks, soft((at.leg - 1.72) * shank) * (at.leg > 1))
    if not look.shoes:
        return
    worn = soft((at.leg - look.boot) * shank) * (at.leg > 1)
    worn = np.maximum(worn, at.on("foot.L", "foot.R") * soft(0.02 + (at.leg - look.boot) * shank))
    leather = np.array(look.shoes) * (1 + 0.04 * noise(at.position, 0.03, look.seed + 6))[:, None]
    cover(colors, np.clip(leather, 0, 1), worn)
    cover(colors, look.soles, worn * soft(0.024 - at.above_sole))
    height = at.position[:, 2] - body.vertices[:, 2].min()
    laces = soft(0.02 - np.abs(np.abs(at.position[:, 0]) - body.head("toe2-1.L")[0])) * soft(height - 0.045)
    ahead = at.position[:, 1] < body.head("foot.L")[1] - 0.04
    rows = np.sin(at.position[:, 1] * 2 * np.pi / 0.016) > 0
    cover(colors, look.soles, 0.8 * worn * laces * ahead * rows)


def _waist(body: Body) -> tuple[float, float]:
    """Height of the waist and of the hips."""
    waist = body.head("spine03")[2] * 0.75 + body.head("spine04")[2] * 0.25
    return float(waist), float(body.head("upperleg02.L")[2])


def _bottom(body: Body, look: Look, at: Places, colors: np.ndarray) -> None:
    waist, _ = _waist(body)
    thigh = float(np.linalg.norm(body.head("lowerleg01.L") - body.head("upperleg01.L")))
    garment, hem = look.bottom, look.skirt * 0.8 or look.bottom.hem  # below a skirt the legs are its color
    trunk = soft(waist + 0.03 - at.position[:, 2]) * (at.is_arm < 0.5)
    edge = (hem - at.leg) * thigh
    worn = trunk * soft(edge)
    color = cloth(garment, at.position, at.around, at.height, look.seed + 40)
    cover(colors, color, worn)
    if garment.trim is not None and not look.skirt:
        cover(colors, garment.trim, worn * soft(0.012 - np.abs(edge - 0.012)))
        outside = np.abs(at.around * np.sign(at.position[:, 0]) - 0.08 * np.pi / 2) < 0.014
        cover(colors, garment.trim, worn * outside * (at.leg > 0.26))
    if not look.skirt:  # fly, pockets and inseam as thin dark lines
        dark = np.array(garment.colors[0]) * 0.6
        x, y, z = at.position.T
        fly = soft(0.0025 - np.abs(x)) * (y < 0) * (z > body.head("upperleg02.L")[2] - 0.02)
        cover(colors, dark, 0.6 * worn * fly)
    if look.belt:
        band = soft(0.02 - np.abs(at.position[:, 2] - waist)) * (at.is_arm < 0.5)
        cover(colors, look.belt, band)
        buckle = (np.abs(at.position[:, 0]) < 0.025) & (at.position[:, 1] < 0)
        cover(colors, (0.75, 0.72, 0.62), band * buckle * soft(0.018 - np.abs(at.position[:, 2] - waist)))


def _top(body: Body, look: Look, at: Places, colors: np.ndarray) -> None:
    garment = look.top
    waist, hips = _waist(body)
    x, y, z = at.position.T
    end = waist + 0.01 - look.length * (waist - hips)
    arm_length = float(np.linalg.norm(body.head("lowerarm01.L") - body.head("upperarm01.L")))
    below = z - end
    edge = (garment.hem - at.arm) * arm_length
    on_arm = at.is_arm > 0.5
    covered = np.maximum(edge, 0.12 * (0.5 - at.is_arm))  # all of the trunk, and the arm down to the hem
    neck = _neckline(body, look.neckline, at.position)
    worn = soft(below) * soft(covered) * soft(neck)
    worn = np.where(on_arm, soft(covered) * (at.arm > -0.5), worn)
    worn = worn * ~at.on("hand.L", "hand.R", "eye_front.L", "eye_front.R")
    color = cloth(garment, at.position, at.around, at.height, look.seed + 60)
    if look.sleeves:
        cover(color, look.sleeves, np.clip((at.is_arm - 0.45) * 10, 0, 1))
    if look.front:
        _front(look, at, color, body)
    if garment.trim is not None:
        band = np.minimum(np.where(on_arm, edge, 1.0), neck)
        band = np.minimum(band, np.where(on_arm, 1.0, below))
        cover(color, garment.trim, soft(0.016 - band))
    else:  # a hem is a little darker
        band = np.minimum(np.where(on_arm, edge, below), neck)
        cover(color, color * 0.75, 0.6 * soft(0.006 - band))
    cover(colors, color, worn)


def _neckline(body: Body, kind: str, position: np.ndarray) -> np.ndarray:
    """(N,) metres below the neckline, negative above it."""
    neck, axis = body.head("neck01"), body.head("neck03") - body.head("neck01")
    axis = axis / np.linalg.norm(axis)
    x, y, _ = (position - neck).T
    ahead = np.clip(-y / 0.1, -0.5, 1.0)
    rise = (position - neck) @ axis
    if kind == "turtle":
        return 0.055 - rise
    below = 0.012 - 0.045 * np.clip(ahead, 0, 1) - rise + 0.18 * np.clip(np.abs(x) - 0.055, 0, None)
    if kind == "v":
        hole = 0.83 * (np.abs(x) - 0.65 * (rise + 0.14))
    elif kind == "scoop":
        hole = 0.085 * (np.hypot(x / 0.08, np.minimum(rise + 0.01, 0) / 0.12) - 1)
    else:
        return below
    return np.minimum(below, hole + 3 * np.clip(y + 0.05, 0, None))


def _front(look: Look, at: Places, color: np.ndarray, body: Body) -> None:
    """What is on the chest: a zip, buttons, a print, a bar across."""
    x, y, z = at.position.T
    second = np.array(look.top.colors[2])
    ahead = (y < body.head("spine01")[1] - 0.03) & (at.is_arm < 0.5)
    chest = body.head("clavicle.L")[2] - 0.13
    match look.front:
        case "zip":
            cover(color, (0.7, 0.7, 0.72), ahead * soft(0.004 - np.abs(x)))
        case "buttons":
            cover(color, color * 0.7, 0.8 * ahead * soft(0.002 - np.abs(x - 0.018)))
            height = (z - chest) % 0.085 - 0.04
            cover(color, second, ahead * soft(0.008 - np.hypot(x, height)))
        case "bar":
            cover(color, second, soft(0.035 - np.abs(z - chest)) * (at.is_arm < 0.5))
        case "logo":
            random = np.random.default_rng([look.seed, 4])
            width = random.uniform(0.05, 0.1)
            cells = random.random((7, 4)) < 0.5
            cells = np.concatenate([cells, cells[:, 2::-1]], axis=1)  # (7, 7), the same left and right
            column = np.floor((x / width + 1) * 3.5).astype(int)
            row = np.floor((z - chest) / width * 3.5 + 3.5).astype(int)
            inside = ahead & (column >= 0) & (column < 7) & (row >= 0) & (row < 7)
            shape = cells[row.clip(0, 6), column.clip(0, 6)]
            reach = np.hypot(x, z - chest) / width
            chosen = shape if random.random() < 0.6 else (reach < 1) & (shape | (reach > 0.8))
            cover(color, second, (inside & chosen).astype(np.float32))


def _patches(body: Body, look: Look, texture: np.ndarray) -> None:
    """Skirt and long hair have meshes of their own, painted in corners that the body leaves free."""
    size = len(texture)
    for patch, draw in ((SKIRT_PATCH, _skirt_colors), (HAIR_PATCH, _hair_colors)):
        left, top, right, bottom = (round(edge * size) for edge in patch)
        v, u = np.mgrid[0 : bottom - top, 0 : right - left] + 0.5
        u, v = u / (right - left), v / (bottom - top)
        colors = draw(body, look, u.ravel(), v.ravel())
        texture[top:bottom, left:right] = (colors.reshape(*u.shape, 3).clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _skirt_colors(body: Body, look: Look, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """u goes around from the back, v down."""
    waist, _ = _waist(body)
    length = 0.42 * max(look.skirt, 0.3)
    angle = (u - 0.5) * 2 * np.pi
    around, height = angle * 0.15, waist - v * length
    position = np.stack([0.15 * np.sin(angle), -0.15 * np.cos(angle), height], axis=-1).astype(np.float32)
    garment: Garment = look.bottom
    color = cloth(garment, position, around, height, look.seed + 40)
    color = color * (1 + 0.06 * np.sin(angle * 16))[:, None]  # folds
    if garment.trim is not None:
        cover(color, garment.trim, soft(0.02 - (1 - v) * length))
    return color


def _hair_colors(body: Body, look: Look, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    strands = 0.1 * noise(np.stack([u * 0.3, u * 0, v * 0.03], axis=-1).astype(np.float32), 0.006, look.seed + 5)
    return np.array(look.hair, dtype=np.float32) * (1 + strands - 0.1 * (u - 0.5) ** 2)[:, None]
