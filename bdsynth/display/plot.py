"""Line plots as inline SVG for the report."""

from __future__ import annotations

__all__ = ["line_plot"]

import html
import math
from collections.abc import Mapping

import numpy as np

from bdsynth.errors import InputError


def line_plot(
    series: Mapping[str, np.ndarray], x: np.ndarray | None = None, x_label: str = "", y_label: str = ""
) -> str:
    """Curves as inline SVG with a legend, an HTML fragment.

    The curves stretch with the page, the words do not: curves live in a stretched viewBox, labels at
    percentages. Gaps (NaN) stay gaps. Its colors are those of the report's style sheet.

    Arguments:
        series: name -> (N,) values.
        x: (N,), common to all; None counts from 0.

    Raises:
        InputError: not one finite value, or a series that is not as long as x.
    """
    curves = {name: np.asarray(values, dtype=np.float64).ravel() for name, values in series.items()}
    longest = max((len(values) for values in curves.values()), default=0)
    xs = np.arange(longest, dtype=np.float64) if x is None else np.asarray(x, dtype=np.float64).ravel()
    for name, values in curves.items():
        if x is not None and len(values) != len(xs):
            raise InputError(f"plot: series '{name}' has {len(values)} values, x has {len(xs)}")
    finite = [values[np.isfinite(values)] for values in curves.values()]
    everything = np.concatenate(finite) if finite else np.zeros(0)
    xs_finite = xs[np.isfinite(xs)]
    if not len(everything) or not len(xs_finite):
        raise InputError(f"plot of {', '.join(curves) or 'nothing'}: there is no finite value to show")
    x_low, x_high = _room(xs_finite, 0.0)
    y_low, y_high = _room(everything, 0.06)
    grid, labels = [], []
    for value, word in _ticks(y_low, y_high):
        at = f"{100 * (y_high - value) / (y_high - y_low):.2f}%"
        grid.append(f'<line x1="0" x2="100%" y1="{at}" y2="{at}"/>')
        labels.append(f'<text x="0" y="{at}" dx="-8" dy="0.32em" text-anchor="end">{word}</text>')
    for value, word in _ticks(x_low, x_high):
        at = f"{100 * (value - x_low) / (x_high - x_low):.2f}%"
        labels.append(f'<text x="{at}" y="100%" dy="1.5em" text-anchor="middle">{word}</text>')
    paths = []
    for number, values in enumerate(curves.values()):
        across = 1000 * (xs[: len(values)] - x_low) / (x_high - x_low)
        down = 1000 * (y_high - values) / (y_high - y_low)
        paths.append(f'<path class="series-{number % 6}" d="{_path(across, down)}"/>')
    legend = "".join(
        f'<li><span class="swatch series-{number % 6}"></span>{html.escape(name)}</li>'
        for number, name in enumerate(curves)
    )
    described = html.escape(f"{y_label or 'values'} over {x_label or 'index'}: {', '.join(curves)}")
    return (
        f'<div class="plot"><div class="plot-head"><span class="y-label">{html.escape(y_label)}</span>'
        f'<ul class="legend">{legend}</ul></div>'
        f'<svg width="100%" height="260" role="img" aria-label="{described}">'
        f'<svg x="8%" y="4%" width="90%" height="82%" overflow="visible"><g class="grid">{"".join(grid)}</g>'
        f'<g class="ticks">{"".join(labels)}</g>'
        f'<svg width="100%" height="100%" viewBox="0 0 1000 1000" preserveAspectRatio="none">'
        f'{"".join(paths)}</svg></svg></svg><div class="x-label">{html.escape(x_label)}</div></div>'
    )


def _path(x: np.ndarray, y: np.ndarray) -> str:
    """The d attribute of a curve with gaps; of long curves the lowest and highest point of every bin."""
    if len(x) > 3000:
        bins = np.array_split(np.arange(len(x)), 1000)
        filled = np.where(np.isfinite(y), y, 0)
        keep = sorted({int(i) for b in bins for i in (b[filled[b].argmin()], b[filled[b].argmax()])})
        x, y = x[keep], y[keep]
    words, pen_up = [], True
    for i, visible in enumerate(np.isfinite(x) & np.isfinite(y)):
        if visible:
            alone = pen_up and not (i + 1 < len(y) and np.isfinite(y[i + 1]))
            words.append(f"{'M' if pen_up else 'L'}{x[i]:.1f} {y[i]:.1f}{'h0' if alone else ''}")
        pen_up = not visible
    return "".join(words)


def _room(values: np.ndarray, margin: float) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-300):
        half = 0.5 * abs(low) or 0.5
        return low - half, high + half
    return low - margin * (high - low), high + margin * (high - low)


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Three to seven round numbers between low and high, and how they are written."""
    rough = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    ticks = np.arange(math.ceil(low / step), math.floor(high / step) + 1) * step
    biggest = max(abs(low), abs(high))
    if biggest >= 1e5 or biggest < 1e-3:
        return [(float(value), f"{value:.3g}") for value in ticks]
    digits = max(0, -math.floor(math.log10(step) + 1e-9) + (step / power == 2.5))
    return [(float(value), f"{value:.{digits}f}".replace("-", "−")) for value in ticks]
