"""Patterns of cloth: colors as functions of where on the body, and the soft edges between them."""

from __future__ import annotations

__all__ = ["cloth", "cover", "noise", "soft"]

import numpy as np

from bdsynth.humans.look import Garment

EDGE = 0.003  # metres over which one color turns into the next


def soft(distance: np.ndarray, width: float = EDGE) -> np.ndarray:
    """0 to 1 over an edge, from a signed distance in metres, positive inside."""
    return np.clip(0.5 + distance / (2 * width), 0.0, 1.0)


def cover(colors: np.ndarray, color: np.ndarray | tuple, amount: np.ndarray) -> None:
    """Paint over: ``amount`` (N,) of ``color`` (3,) or (N, 3) over ``colors`` (N, 3), in place."""
    chosen = amount > 0
    color = np.broadcast_to(np.asarray(color, dtype=np.float32), colors.shape)[chosen]
    share = amount[chosen, None].astype(np.float32)
    colors[chosen] += share * (color - colors[chosen])


def noise(points: np.ndarray, size: float, seed: int, octaves: int = 2) -> np.ndarray:
    """(N,) smooth noise about -1 to 1 at points (N, 3), with bumps of ``size`` metres."""
    random = np.random.default_rng([int(seed), 3])
    total = np.zeros(len(points), dtype=np.float32)
    for octave in range(octaves):
        directions = random.normal(size=(3, 7)) * (2.0 * 2**octave / size)
        waves = np.sin(points @ directions.astype(np.float32) + random.uniform(0, 6.28, 7).astype(np.float32))
        total += waves.sum(1) * (0.4 / 2**octave)
    return total


def _wave(x: np.ndarray, repeat: float, share: float = 0.5) -> np.ndarray:
    """1 on a share of every repeat, 0 on the rest, soft between."""
    inside = share / 2 * repeat - np.abs((x / repeat) % 1 - 0.5) * repeat
    return soft(inside)


def cloth(garment: Garment, position: np.ndarray, around: np.ndarray, height: np.ndarray, seed: int) -> np.ndarray:
    """(N, 3) float32 colors of a garment at places on the body (Places)."""
    first, second, third = (np.array(color, dtype=np.float32) for color in garment.colors)
    size = garment.size
    along = height + garment.phase * size
    colors = np.tile(first, (len(position), 1))
    match garment.pattern:
        case "stripes":
            cover(colors, second, _wave(along, size, 0.25 + 0.4 * garment.phase))
        case "pinstripes":
            cover(colors, second, 0.8 * _wave(around, size, 0.18))
        case "checks":
            rows, columns = _wave(along, size), _wave(around, size)
            cover(colors, second, np.abs(rows - columns))
        case "plaid":
            cover(colors, second, 0.55 * _wave(along, size, 0.45))
            cover(colors, second, 0.55 * _wave(around, size, 0.45))
            cover(colors, third, 0.7 * _wave(along + size / 2, size, 0.08))
            cover(colors, third, 0.7 * _wave(around + size / 2, size, 0.08))
        case "dots":
            row = np.floor(along / size)
            x = (around / size + 0.5 * (row % 2)) % 1 - 0.5
            y = (along / size) % 1 - 0.5
            cover(colors, second, soft((0.26 - np.hypot(x, y)) * size))
        case "gradient":
            span = np.ptp(height) + 1e-6
            share = (height - height.min()) / span
            colors = first + (second - first) * (share * share * (3 - 2 * share))[:, None]
        case "camouflage":
            for number, color in enumerate((second, third)):
                bumps = noise(position, 1.2 * size, seed + 10 + number)
                cover(colors, color, np.clip(0.5 + (bumps - 0.25) * 6, 0, 1))
        case "blocks":
            middle = height.min() + (0.35 + 0.4 * garment.phase) * np.ptp(height)
            cover(colors, second, soft(height - middle))
            cover(colors, third, soft(0.018 - np.abs(height - middle)))
        case "mottled":
            bumps = np.clip(0.5 + 0.5 * noise(position, 0.3 * size, seed + 20, 3), 0, 1)
            cover(colors, second, 0.6 * bumps)
    weave = 1 + 0.025 * noise(position, 0.02, seed + 30) + 0.03 * noise(position, 0.15, seed + 31)
    return np.clip(colors * weave[:, None], 0, 1).astype(np.float32)
