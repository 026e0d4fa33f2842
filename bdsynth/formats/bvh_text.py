"""BVH (Biovision hierarchy) as text: the tree of joints with their channels, and one row of numbers a frame.

Reads what is found in the wild: any order of channels, any number of them per joint, position channels on any
joint, joint names with dots and spaces, tabs, CRLF, byte order marks.
"""

from __future__ import annotations

__all__ = ["BvhFile", "format_bvh", "joint_positions", "parse_bvh"]

import re
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike

import numpy as np

from bdsynth.errors import InputError, nearest
from bdsynth.formats.source import read_bytes
from bdsynth.geometry import forward_kinematics

CHANNELS = ("Xposition", "Yposition", "Zposition", "Xrotation", "Yrotation", "Zrotation")


@dataclass(frozen=True, eq=False)
class BvhFile:
    """What a BVH file says, in its own words, units and axes.

    Arguments:
        joints: unique names in the (depth-first) order of the file. An End Site is a joint without
            channels called ``<parent>_end``.
        parents: parent indices, -1 for the root.
        offsets: (J, 3).
        channels: for each joint the channels as the file lists them, like ``("Zrotation", "Xrotation")``.
        frame_time: seconds from one frame to the next.
        values: (T, C), one column per channel, joint after joint; rotations in degrees.
    """

    joints: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray
    channels: tuple[tuple[str, ...], ...]
    frame_time: float
    values: np.ndarray

    def is_end_site(self, joint: int) -> bool:
        parent = self.parents[joint]
        if parent < 0 or joint in self.parents or self.channels[joint]:
            return False
        return re.fullmatch(re.escape(self.joints[parent]) + r"_end(_\d+)?", self.joints[joint]) is not None


# --- Reading -----------------------------------------------------------------------------------------------


def parse_bvh(source: str | PathLike, name: str = "BVH text") -> BvhFile:
    """Read a BVH file.

    Arguments:
        source: a path, or the text itself (a ``str`` with more than one line).
        name: what error messages call a text.

    Raises:
        InputError: names the file, the line and what was expected there.
    """
    if isinstance(source, str) and "\n" in source:
        text = source.removeprefix("\ufeff")
    else:
        name, data = str(source), read_bytes(source)
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{name}: not a BVH file (byte {error.start} is not UTF-8 text)") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.lstrip()[:9].upper() != "HIERARCHY":
        raise InputError(f"{name}: not a BVH file (expected HIERARCHY at its beginning)")
    motion = re.search(r"^[ \t]*MOTION\b", text, re.MULTILINE | re.IGNORECASE)
    if motion is None:
        raise InputError(f"{name}: truncated or not a BVH file (no MOTION line)")
    joints, parents, offsets, channels = _parse_hierarchy(text[: motion.start()], name)
    n_channels = sum(map(len, channels))
    if n_channels == 0:
        raise InputError(f"{name}: no joint has CHANNELS, so nothing can move")
    frame_time, values = _parse_motion(text, motion.end(), n_channels, name)
    return BvhFile(joints, parents, offsets, channels, frame_time, values)


class _Words:
    """The words of the hierarchy, each with its line."""

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self.words = [
            (word, number)
            for number, line in enumerate(text.split("\n"), start=1)
            for word in re.findall(r"[{}]|[^\s{}]+", line)
        ]
        self.next = 0

    def __iter__(self) -> Iterator[str]:
        while self.next < len(self.words):
            self.next += 1
            yield self.words[self.next - 1][0]

    def take(self, expected: str) -> str:
        for word in self:
            return word
        raise self.error(f"the hierarchy ends where {expected} was expected")

    def take_name(self) -> str:
        """Everything up to the opening brace on the next line or this one; names may hold spaces."""
        words, line = [], self.words[self.next - 1][1]
        while self.next < len(self.words) and self.words[self.next][1] == line:
            if self.words[self.next][0] == "{":
                break
            words.append(self.take("a name"))
        brace = self.take("'{'")
        if brace != "{":
            raise self.error(f"expected '{{', found '{brace}'")
        return " ".join(words)

    def take_number(self, field: str) -> float:
        word = self.take(f"a number of {field}")
        try:
            number = float(word)
        except ValueError:
            number = np.nan
        if not np.isfinite(number):
            raise self.error(f"{field} has '{word}', expected a finite number")
        return number

    def error(self, message: str) -> InputError:
        line = self.words[self.next - 1][1] if self.next else 1
        return InputError(f"{self.name}, line {line}: {message}")


def _parse_hierarchy(text: str, name: str) -> tuple[tuple, tuple, np.ndarray, tuple]:
    """(joints, parents, offsets (J, 3), channels) of the part above MOTION."""
    joints: list[str] = []
    parents: list[int] = []
    offsets: list[list[float] | None] = []
    channels: list[tuple[str, ...]] = []
    taken: dict[str, int] = {}
    open_joints: list[int] = []
    words = _Words(text, name)
    words.take("HIERARCHY")
    for word in words:
        keyword = word.upper()
        if keyword == "}":
            if not open_joints:
                raise words.error("'}' without '{' before it")
            closed = open_joints.pop()
            if offsets[closed] is None:
                raise words.error(f"joint {joints[closed]} has no OFFSET")
        elif keyword == "ROOT" and joints:
            raise words.error("a second ROOT, expected one skeleton per file")
        elif keyword == "ROOT" or (keyword in ("JOINT", "END") and open_joints):
            parent = open_joints[-1] if open_joints else -1
            written = words.take_name()
            if keyword == "END":
                written = f"{joints[parent]}_end"
            elif not written:
                raise words.error(f"{keyword} without a name")
            joints.append(_unique(written, taken))
            parents.append(parent)
            offsets.append(None)
            channels.append(())
            open_joints.append(len(joints) - 1)
        elif keyword == "OFFSET" and open_joints:
            offsets[open_joints[-1]] = [words.take_number("OFFSET") for _ in range(3)]
        elif keyword == "CHANNELS" and open_joints:
            channels[open_joints[-1]] = _parse_channels(words)
        else:
            expected = "JOINT, End Site, OFFSET, CHANNELS or '}'" if open_joints else "ROOT, then MOTION"
            raise words.error(f"found '{word}', expected {expected}")
    if open_joints:
        raise words.error(f"{len(open_joints)} '{{' not closed before MOTION")
    if not joints:
        raise words.error("no ROOT joint before MOTION")
    return tuple(joints), tuple(parents), np.array(offsets), tuple(channels)


def _unique(written: str, taken: dict[str, int]) -> str:
    """The name, or with _2, _3, ... when it was there before."""
    name = written
    while name in taken:
        taken[written] += 1
        name = f"{written}_{taken[written]}"
    taken[name] = 1
    return name


def _parse_channels(words: _Words) -> tuple[str, ...]:
    count = words.take_number("CHANNELS")
    if count < 0 or count != int(count):
        raise words.error(f"CHANNELS has {count:g}, expected a count")
    channels: list[str] = []
    while len(channels) < count:  # the count may be absurd: the words run out first
        word = words.take(f"channel {len(channels) + 1} of {count:g}")
        channel = word.capitalize()
        if channel not in CHANNELS:
            hint = nearest(channel, CHANNELS)
            raise words.error(f"unknown channel '{word}'{hint}, expected {count:g} channels")
        if channel in channels and channel.endswith("position"):
            raise words.error(f"channel {channel} twice on one joint")
        channels.append(channel)
    return tuple(channels)


def _parse_motion(text: str, start: int, n_channels: int, name: str) -> tuple[float, np.ndarray]:
    """(frame time, values (T, C)) of the part behind the word MOTION."""

    def fail(message: str, at: int) -> InputError:
        return InputError(f"{name}, line {text.count(chr(10), 0, at) + 1}: {message}")

    start += len(text[start:]) - len(text[start:].lstrip())
    found = re.compile(r"Frames\s*:[ \t]*(\S*)\s*", re.IGNORECASE).match(text, start)
    if not found:
        raise fail("expected 'Frames: <count>'", start)
    try:
        n_frames = int(found[1])
    except ValueError:
        n_frames = 0
    if n_frames < 1:
        raise fail(f"Frames is '{found[1][:20]}', expected a count of at least 1", start)
    start = found.end()
    found = re.compile(r"Frame\s*Time\s*:[ \t]*(\S*)", re.IGNORECASE).match(text, start)
    if not found:
        raise fail("expected 'Frame Time: <seconds>'", start)
    try:
        frame_time = float(found[1])
    except ValueError:
        frame_time = np.nan
    if not (np.isfinite(frame_time) and frame_time > 0):
        raise fail(f"Frame Time is '{found[1][:20]}', expected seconds above 0", start)

    words = text[found.end() :].split()
    if len(words) != n_frames * n_channels:
        raise fail(
            f"found {len(words)} numbers behind Frame Time, expected {n_frames} frames x "
            f"{n_channels} channels = {n_frames * n_channels}",
            start,
        )
    try:
        values = np.array(words, dtype=np.float64)
        finite = np.isfinite(values).all()
    except ValueError:
        finite = False
    if not finite:
        for word in re.compile(r"\S+").finditer(text, found.end()):
            if not _is_finite(word[0]):
                raise fail(f"found '{word[0][:20]}', expected a finite number", word.start())
    return frame_time, values.reshape(n_frames, n_channels)


def _is_finite(word: str) -> bool:
    try:
        return bool(np.isfinite(float(word)))
    except ValueError:
        return False


# --- Poses -------------------------------------------------------------------------------------------------


def joint_positions(file: BvhFile) -> np.ndarray:
    """Forward kinematics: (T, J, 3) in the units and axes of the file.

    A joint's rotation is the product of its rotation channels in the order of the file
    (``Zrotation Xrotation Yrotation``: Rz Rx Ry), and its position channels replace its OFFSET.
    """
    from scipy.spatial.transform import Rotation

    n_frames = len(file.values)
    offsets = np.tile(file.offsets, (n_frames, 1, 1))  # (T, J, 3)
    rotations = np.tile(np.eye(3), (n_frames, len(file.joints), 1, 1))  # (T, J, 3, 3)
    column = 0
    for joint, channels in enumerate(file.channels):
        turns = []
        for channel in channels:
            if channel.endswith("position"):
                offsets[:, joint, "XYZ".index(channel[0])] = file.values[:, column]
            else:
                turns.append((channel[0], file.values[:, [column]]))
            column += 1
        if turns:
            product = Rotation.from_euler(*turns[0], degrees=True)
            for axis, angles in turns[1:]:
                product = product * Rotation.from_euler(axis, angles, degrees=True)
            rotations[:, joint] = product.as_matrix()
    return forward_kinematics(offsets, file.parents, rotations, offsets[:, file.parents.index(-1)])


# --- Writing -----------------------------------------------------------------------------------------------


def format_bvh(file: BvhFile) -> str:
    """The text of a BVH file: numbers with six decimals, the frame time with all digits it needs."""
    lines, open_joints = ["HIERARCHY"], []
    for joint, (name, parent) in enumerate(zip(file.joints, file.parents, strict=True)):
        while open_joints and open_joints[-1] != parent:
            open_joints.pop()
            lines.append("\t" * len(open_joints) + "}")
        if not open_joints and joint > 0:
            raise ValueError(f"joint {name} does not follow its parent depth first")
        indent = "\t" * len(open_joints)
        end_site = file.is_end_site(joint)
        kind = "End Site" if end_site else f"{'JOINT' if parent >= 0 else 'ROOT'} {name}"
        lines += [f"{indent}{kind}", f"{indent}{{", f"{indent}\tOFFSET {_numbers(file.offsets[joint])}"]
        if not end_site:
            channels = file.channels[joint]
            lines.append(" ".join([f"{indent}\tCHANNELS {len(channels)}", *channels]))
        open_joints.append(joint)
    while open_joints:
        open_joints.pop()
        lines.append("\t" * len(open_joints) + "}")
    lines += ["MOTION", f"Frames: {len(file.values)}", f"Frame Time: {float(file.frame_time)!r}"]
    lines += [_numbers(row) for row in file.values]
    return "\n".join(lines) + "\n"


def _numbers(row: np.ndarray) -> str:
    rounded = np.round(row, 6) + 0.0  # no "-0.000000"
    return " ".join(["%.6f"] * len(rounded)) % tuple(rounded.tolist())
