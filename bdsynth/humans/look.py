"""Looks: what somebody wears, drawn from a seed."""

from __future__ import annotations

__all__ = ["Garment", "Look"]

import colorsys
from dataclasses import dataclass

import numpy as np

Color = tuple[float, float, float]  # sRGB, 0 to 1

PATTERNS = (
    "plain", "stripes", "pinstripes", "checks", "plaid", "dots", "gradient", "camouflage", "blocks", "mottled",
)  # fmt: skip
HAIR = ("bald", "buzz", "short", "full", "long", "ponytail", "bun")

# From fair to dark, and from black over brown, red and blond to gray.
SKINS = ((245, 214, 190), (234, 192, 164), (222, 176, 142), (201, 150, 115), (172, 119, 84), (134, 88, 60),
         (101, 64, 43), (74, 46, 32))  # fmt: skip
HAIRS = ((22, 19, 18), (40, 28, 22), (68, 44, 28), (96, 62, 36), (140, 80, 42), (178, 134, 78), (214, 184, 128),
         (128, 124, 120), (196, 194, 190))  # fmt: skip


@dataclass(frozen=True)
class Garment:
    """Cloth on a part of the body.

    Arguments:
        hem: where the sleeve or leg ends: 0 shoulder or hip, 1 elbow or knee, 2 wrist or ankle.
        colors: of the pattern, the first one covers most.
        pattern: one of PATTERNS.
        size: of the pattern's repeat, metres.
        phase: where the pattern begins, in repeats.
        loose: how far the cloth stands off, metres.
        trim: color of hems and stripes along the limb; None: none.
    """

    hem: float
    colors: tuple[Color, Color, Color]
    pattern: str
    size: float
    phase: float
    loose: float
    trim: Color | None


@dataclass(frozen=True)
class Look:
    """Everything that can be seen of somebody but their shape; made by :meth:`from_seed`."""

    seed: int
    skin: Color
    lips: Color
    eyes: Color
    hair: Color
    hair_style: str
    hairline: float  # degrees that it has receded
    beard: float  # 0 none, 1 full
    hat: Color | None
    top: Garment
    neckline: str  # crew, v, scoop, turtle
    length: float  # where the top ends: 0 waist, 1 hips
    front: str | None  # zip, buttons, logo, bar
    sleeves: Color | None  # of another color than the trunk
    bottom: Garment
    skirt: float  # length of a skirt as a hem; 0: trousers
    belt: Color | None
    shoes: Color | None
    soles: Color
    boot: float  # where the shoe ends, as a hem of the leg
    socks: Color | None

    @classmethod
    def from_seed(cls, seed: int, gender: float = 0.5) -> Look:
        """A look: a function of the seed and of the gender (0 male, 1 female) alone."""
        random = np.random.default_rng([int(seed), 2])
        woman = random.random() < gender
        tone = random.uniform(0, len(SKINS) - 1)
        skin = _mixed(SKINS, tone, random, 0.03)
        age = random.random()
        dark = tone / (len(SKINS) - 1)
        shade = random.uniform(0, 1.5) if dark > 0.55 or random.random() < 0.3 else random.uniform(0, 6)
        hair = _mixed(HAIRS, shade if age < 0.85 else random.uniform(7, 8), random, 0.03)
        styles = (0.01, 0.02, 0.16, 0.16, 0.32, 0.2, 0.13) if woman else (0.1, 0.2, 0.42, 0.2, 0.05, 0.02, 0.01)
        style = str(random.choice(HAIR, p=styles))
        top, bottom = _top(random, skin), _bottom(random, skin)
        dress = woman and random.random() < 0.3
        skirt = float(random.uniform(0.45, 1.15)) if dress or (woman and random.random() < 0.2) else 0.0
        if dress and random.random() < 0.6:
            bottom = Garment(skirt, top.colors, top.pattern, top.size, top.phase, 0.01, top.trim)
        front = random.choice(["none", "zip", "buttons", "logo", "bar"], p=[0.45, 0.1, 0.12, 0.23, 0.1])
        return cls(
            seed=int(seed),
            skin=skin,
            lips=tuple(float(c) for c in np.clip(np.array(skin) * (0.93, 0.70, 0.70), 0, 1)),
            eyes=[(0.25, 0.16, 0.1), (0.18, 0.12, 0.08), (0.3, 0.42, 0.55), (0.33, 0.42, 0.28)][
                random.choice(4, p=[0.4, 0.3, 0.18, 0.12])
            ],
            hair=hair,
            hair_style=style,
            hairline=float(max(0.0, random.normal(0, 10))) if not woman else 0.0,
            beard=float(random.uniform(0.3, 1)) if not woman and random.random() < 0.35 else 0.0,
            hat=_color(random) if random.random() < 0.1 else None,
            top=top,
            neckline=str(random.choice(["crew", "v", "scoop", "turtle"], p=[0.5, 0.22, 0.16, 0.12])),
            length=float(random.uniform(0.1, 1.0)),
            front=None if front == "none" else str(front),
            sleeves=_color(random) if random.random() < 0.15 else None,
            bottom=bottom,
            skirt=skirt,
            belt=_color(random, muted=True) if random.random() < 0.35 else None,
            shoes=_color(random, muted=random.random() < 0.5) if random.random() < 0.95 else None,
            soles=(0.92, 0.91, 0.88) if random.random() < 0.6 else (0.12, 0.11, 0.1),
            boot=float(random.choice([1.93, 1.84, 1.6, 1.3], p=[0.6, 0.25, 0.1, 0.05])),
            socks=_color(random, muted=random.random() < 0.7) if random.random() < 0.6 else None,
        )


def _top(random: np.random.Generator, skin: Color) -> Garment:
    hem = random.choice([0.12, 0.45, 0.62, 1.35, 1.93], p=[0.1, 0.3, 0.15, 0.08, 0.37]) + random.uniform(
        -0.04, 0.04
    )
    return _garment(random, skin, hem, loose=(0.004, 0.018), muted=0.25, plain=0.36)


def _bottom(random: np.random.Generator, skin: Color) -> Garment:
    hem = random.choice([0.35, 0.65, 0.85, 1.5, 1.92], p=[0.06, 0.12, 0.12, 0.1, 0.6]) + random.uniform(
        -0.04, 0.03
    )
    return _garment(random, skin, hem, loose=(0.003, 0.02), muted=0.65, plain=0.65)


def _garment(
    random: np.random.Generator, skin: Color, hem: float, loose: tuple[float, float], muted: float, plain: float
) -> Garment:
    """``muted`` and ``plain`` are how often its color is muted and it has no pattern."""
    chances = np.array([0.13, 0.06, 0.07, 0.08, 0.05, 0.06, 0.05, 0.08, 0.06])
    chances = np.concatenate([[plain], (1 - plain) * chances / chances.sum()])
    pattern = str(random.choice(PATTERNS, p=chances))
    size = {"stripes": (0.03, 0.14), "pinstripes": (0.018, 0.04), "checks": (0.04, 0.12), "plaid": (0.06, 0.14),
            "dots": (0.03, 0.08)}.get(pattern, (0.06, 0.16))  # fmt: skip
    first = _color(random, random.random() < muted)
    while _apart(first, skin) < 0.45:  # would look naked
        first = _color(random, random.random() < muted)
    second = _color(random, muted=random.random() < 0.3)
    while _apart(first, second) < 0.5:
        second = _color(random)
    return Garment(
        hem=float(hem),
        colors=(first, second, _color(random)),
        pattern=pattern,
        size=float(random.uniform(*size)),
        phase=float(random.random()),
        loose=float(random.uniform(*loose)),
        trim=_color(random) if random.random() < 0.25 else None,
    )


def _apart(first: Color, second: Color) -> float:
    return sum(abs(a - b) for a, b in zip(first, second, strict=True))


def _color(random: np.random.Generator, muted: bool = False) -> Color:
    """A color of cloth: vivid, or one of black, gray, white, navy, denim, khaki and the like."""
    if muted:
        hue, saturation, value = [
            (0.0, 0.0, 0.1), (0.0, 0.0, 0.3), (0.0, 0.0, 0.55), (0.1, 0.04, 0.9), (0.62, 0.55, 0.25),
            (0.6, 0.45, 0.5), (0.6, 0.3, 0.7), (0.11, 0.35, 0.65), (0.07, 0.5, 0.32), (0.25, 0.3, 0.35),
        ][random.integers(10)]  # fmt: skip
        hue, saturation = hue + random.normal(0, 0.015), saturation * random.uniform(0.7, 1.2)
        value = value * random.uniform(0.85, 1.1)
    else:
        hue, saturation, value = random.random(), random.beta(3, 1.6), random.uniform(0.35, 0.97)
    return colorsys.hsv_to_rgb(hue % 1, float(np.clip(saturation, 0, 1)), float(np.clip(value, 0.04, 0.97)))


def _mixed(table: tuple, place: float, random: np.random.Generator, jitter: float) -> Color:
    """Between two entries of a table of colors, a little off."""
    low = int(place)
    share = place - low
    first, second = np.array(table[low]), np.array(table[min(low + 1, len(table) - 1)])
    color = ((1 - share) * first + share * second) / 255 + random.normal(0, jitter, 3) * (1.0, 0.6, 0.6)
    return tuple(float(c) for c in np.clip(color, 0.03, 0.97))
