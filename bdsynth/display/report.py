"""The report: one HTML page that holds everything it shows.

It works from a file, without a network: style, script, motions and pictures are inside. A content security
policy lets the page run its own script (named by hash) and nothing else; all text is escaped besides.
"""

from __future__ import annotations

__all__ = ["Picture", "Plot", "Section", "Table", "Text", "Viewer", "embed_image", "write_report"]

import base64
import hashlib
import html
import importlib.metadata
import importlib.resources
import io
import json
import math
import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from bdsynth import __version__
from bdsynth.display.figure import center_joints, figure_of, ground_height, heading
from bdsynth.display.plot import line_plot
from bdsynth.errors import InputError, nearest
from bdsynth.learning.atomic import atomic_write
from bdsynth.motion import Motion

MAX_PICTURE = 8_000_000  # bytes of one embedded picture or video
MAX_MOTIONS = 32_000_000  # bytes of the positions in one viewer
_SCRIPTS = ("clip.js", "panel.js", "viewer.js")


@dataclass(frozen=True)
class Viewer:
    """Motions to look at from all sides, in step.

    Arguments:
        motions: caption -> motion; one panel each.
        title: heading of the section.
        caption: a line below the panels.
        groups: panel caption -> names of the motions that are laid over each other in it.
    """

    motions: Mapping[str, Motion]
    title: str = ""
    caption: str = ""
    groups: Mapping[str, Sequence[str]] | None = None


@dataclass(frozen=True)
class Table:
    """Rows of numbers and words. Floats are shown with four digits, None as a dash."""

    rows: Sequence[Sequence[object]]
    columns: Sequence[str]
    title: str = ""
    caption: str = ""


@dataclass(frozen=True)
class Plot:
    """Curves over a common x (their index where there is none); see :func:`line_plot`."""

    series: Mapping[str, np.ndarray]
    x: np.ndarray | None = None
    x_label: str = ""
    y_label: str = ""
    title: str = ""
    caption: str = ""


@dataclass(frozen=True)
class Text:
    """Plain text; an empty line starts a new paragraph."""

    text: str
    title: str = ""


@dataclass(frozen=True)
class Picture:
    """An image or a short video, from a file or as uint8 (H, W), (H, W, 3) or (H, W, 4)."""

    source: str | Path | np.ndarray
    caption: str = ""
    title: str = ""


Section = Viewer | Table | Plot | Text | Picture


def write_report(
    path: str | Path, title: str, sections: Sequence[Section], command: str | Sequence[str] = ""
) -> Path:
    """Write a self-contained HTML page.

    Arguments:
        path: the file; its folder must exist.
        title: shown on top and in the browser's tab.
        sections: what the page shows, in this order.
        command: the command line that made the page, as typed or as a list of arguments.

    Returns:
        The path.

    Raises:
        InputError: a section that cannot be shown, a picture or motions too large to embed, or a file that
            cannot be written.
    """
    files = importlib.resources.files("bdsynth.display")
    script = "\n".join(files.joinpath(part).read_text(encoding="utf-8") for part in _SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    line = command if isinstance(command, str) else shlex.join(command)
    words = " ".join(f"<span>{html.escape(word)}</span>" for word in line.split(" "))  # lines break between
    parts = {
        "TITLE": html.escape(title),
        "DATE": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z").strip(),
        "COMMAND": f'<pre class="command"><code>{words}</code></pre>' if line else "",
        "VERSIONS": html.escape(_versions()),
        "BODY": "\n".join(_section(section, number) for number, section in enumerate(sections)),
        "SCRIPT": script,
        "HASH": digest,
    }
    template = files.joinpath("report.html").read_text(encoding="utf-8")
    page = re.sub(r"@@([A-Z]+)@@", lambda found: parts[found[1]], template)
    atomic_write(path, page)
    return Path(path)


def _versions() -> str:
    versions = [f"bdsynth {__version__}", f"Python {platform.python_version()}"]
    for package in ("numpy", "torch"):
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return " · ".join(versions)


def _section(section: Section, number: int) -> str:
    writers = {Viewer: _viewer, Table: _table, Plot: _plot, Text: _text, Picture: _picture}
    if type(section) not in writers:
        raise TypeError(f"a report has no section of type {type(section).__name__}")
    title = f"<h2>{html.escape(section.title)}</h2>" if section.title else ""
    return f'<section id="section-{number}">{title}{writers[type(section)](section)}</section>'


def _figure(content: str, caption: str) -> str:
    note = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{content}{note}</figure>"


# --- Words and numbers -------------------------------------------------------------------------------------


def _text(section: Text) -> str:
    paragraphs = re.split(r"\n\s*\n", section.text.strip())
    return "".join(f"<p>{html.escape(paragraph)}</p>" for paragraph in paragraphs)


def _table(section: Table) -> str:
    for row in section.rows:
        if len(row) != len(section.columns):
            raise InputError(
                f"report: a row of {len(row)} cells, the table has {len(section.columns)} columns"
            )
    numeric = [all(_is_number(row[c]) for row in section.rows) for c in range(len(section.columns))]
    kinds = [' class="number"' if number else "" for number in numeric]
    head = "".join(
        f'<th scope="col"{kind}>{html.escape(str(name))}</th>'
        for name, kind in zip(section.columns, kinds, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{kind}>{_cell(value)}</td>" for value, kind in zip(row, kinds, strict=True))
        + "</tr>"
        for row in section.rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    label = html.escape(section.title or section.caption or "table")
    scroll = f'<div class="scroll" role="region" aria-label="{label}" tabindex="0">{table}</div>'
    return _figure(scroll, section.caption)


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float | np.floating):
        return f"{value:.4g}" if math.isfinite(value) else "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return html.escape(str(value))


def _plot(section: Plot) -> str:
    plot = line_plot(section.series, section.x, section.x_label, section.y_label)
    return _figure(plot, section.caption)


# --- Pictures ----------------------------------------------------------------------------------------------

# What a file starts with, at which byte, and what it is. (No SVG: it could carry scripts.)
_KINDS = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
)


def embed_image(source: str | Path | np.ndarray) -> str:
    """A picture or a short video as a data URI.

    Arguments:
        source: a PNG, JPEG, GIF, WebP, MP4 or WebM file, or uint8 (H, W), (H, W, 3) or (H, W, 4).

    Raises:
        InputError: another kind of file or array, or more than 8 MB.
    """
    too_large = f"more than {MAX_PICTURE // 1_000_000} MB, too large to embed in a report"
    if isinstance(source, np.ndarray):
        from PIL import Image

        if source.dtype != np.uint8 or source.ndim not in (2, 3) or source.shape[2:] not in ((), (3,), (4,)):
            raise InputError(f"picture: {source.dtype} {source.shape}, expected uint8 (H, W), (H, W, 3 or 4)")
        buffer = io.BytesIO()
        Image.fromarray(source).save(buffer, format="PNG")
        name, data = "picture", buffer.getvalue()
    else:
        name = str(source)
        try:
            if Path(source).stat().st_size > MAX_PICTURE:
                raise InputError(f"{name}: {too_large}")
            data = Path(source).read_bytes()
        except OSError as error:
            raise InputError(f"{name}: cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_PICTURE:
        raise InputError(f"{name}: {too_large}")
    kind = next((kind for at, start, kind in _KINDS if data[at : at + len(start)] == start), None)
    if kind is None:
        raise InputError(f"{name}: not a PNG, JPEG, GIF, WebP, MP4 or WebM file")
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _picture(section: Picture) -> str:
    uri, label = embed_image(section.source), html.escape(section.caption or section.title or "picture")
    if uri.startswith("data:video"):
        shown = f'<video controls loop muted playsinline aria-label="{label}" src="{uri}"></video>'
    else:
        shown = f'<img alt="{label}" src="{uri}">'
    return _figure(shown, section.caption)


# --- Motions -----------------------------------------------------------------------------------------------


def _viewer(section: Viewer) -> str:
    names = list(section.motions)
    if not names:
        raise InputError("report: a viewer without motions")
    groups = section.groups or {name: [name] for name in names}
    for caption, members in groups.items():
        if not members:
            raise InputError(f"report: group '{caption}' has no motion")
        for member in members:
            if member not in section.motions:
                hint = nearest(member, names)
                raise InputError(f"report: group '{caption}' names an unknown motion '{member}'{hint}")
    size = sum(motion.positions.size * 2 for motion in section.motions.values())
    if size > MAX_MOTIONS:
        raise InputError(
            f"report: {size / 1e6:.0f} MB of motions in one viewer, at most {MAX_MOTIONS / 1e6:.0f}; "
            "resample them to fewer frames per second or show a part"
        )
    data = {
        "panels": [
            {"caption": caption, "motions": [names.index(member) for member in members]}
            for caption, members in groups.items()
        ],
        "motions": [_motion_data(name, motion) for name, motion in section.motions.items()],
    }
    text = json.dumps(data, allow_nan=False)
    for sign in "<>&":  # nothing in it can end the script element
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    content = (
        '<div class="viewer"><noscript>The motions are shown by a script; scripts are off here.</noscript>'
        f'<script type="application/json">{text}</script></div>'
    )
    return _figure(content, section.caption)


def _motion_data(name: str, motion: Motion) -> dict:
    """A motion for the page: position = offset + step * int16, -32768 where a joint is masked.

    The step is 1 mm; for motions that are wider than 65 m, or not in metres, the range of int16 is used.
    """
    figure = figure_of(motion)
    seen = np.isfinite(motion.positions).all(-1)  # (T, J)
    if motion.confidence is not None:
        seen &= motion.confidence > 0
    points = motion.positions[seen].astype(np.float64) if seen.any() else np.zeros((1, motion.dims))
    offset = (points.min(0) + points.max(0)) / 2
    needed = max(float(np.ptp(points, axis=0).max()), 1e-6) / 65_000
    step = max(needed, 0.001) if motion.unit == "m" else needed
    whole = np.full(motion.positions.shape, -32768, dtype="<i2")
    whole[seen] = np.round((motion.positions[seen] - offset) / step)
    return {
        "name": name,
        "fps": motion.fps,
        "frames": motion.n_frames,
        "joints": motion.n_joints,
        "dims": motion.dims,
        "unit": motion.unit,
        "offset": offset.tolist(),
        "step": step,
        "positions": base64.b64encode(whole.tobytes()).decode(),
        "bones": [[bone.child, bone.parent, bone.side, bone.width] for bone in figure.bones],
        "head": list(figure.head),
        "headRadius": figure.head_radius,
        "torso": list(figure.torso),
        "center": list(center_joints(motion.skeleton)),
        "stature": figure.stature,
        "ground": ground_height(motion) if motion.dims == 3 else 0.0,
        "heading": heading(motion) if motion.dims == 3 else 0.0,
    }
