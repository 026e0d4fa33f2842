"""Motion capture: which collections are known, what their file names say, and how their files are read."""

from __future__ import annotations

__all__ = ["SOURCES", "Source", "bvh_source", "read_cmu_actions"]

import dataclasses
import functools
import json
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bdsynth.errors import InputError, nearest
from bdsynth.geometry import forward_kinematics
from bdsynth.motion import Motion
from bdsynth.skeletons import Skeleton, recognize

# --- Readers -----------------------------------------------------------------------------------------------


@functools.cache
def _cmu_skeleton() -> tuple[Skeleton, np.ndarray, float]:
    """The skeleton of the CMU action files, its offsets (38, 3) in file units, y up, and metres per unit."""
    table = json.loads((Path(__file__).parent / "cmu_skeleton.json").read_text(encoding="utf-8"))
    names = [joint["name"] for joint in table["joints"]]
    skeleton = recognize(names, [joint["parent"] for joint in table["joints"]])
    return skeleton, np.array([joint["offset"] for joint in table["joints"]]), table["meters_per_unit"]


def read_cmu_actions(path: Path) -> Motion:
    """A CMU action file: 117 columns, root translation and 38 exponential maps, 120 frames a second.

    The files begin with a rest pose that is no part of the motion (root rotation exactly zero); it is left
    out.

    Raises:
        InputError: not 117 numbers in every line.
    """
    from scipy.spatial.transform import Rotation

    skeleton, offsets, scale = _cmu_skeleton()
    columns = 3 + 3 * skeleton.n_joints
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # an empty file warns
            frames = np.loadtxt(path, delimiter=",", ndmin=2)  # (T, 117)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not lines of {columns} comma-separated numbers ({error})") from None
    if frames.shape[1] != columns or not np.isfinite(frames).all():
        raise InputError(f"{path}: has {frames.shape[1]} columns, expected {columns} finite numbers")
    if not frames[0, 3:6].any():
        frames = frames[1:]
    if not len(frames):
        raise InputError(f"{path}: has no frame after the rest pose")
    maps = frames[:, 3:].reshape(-1, 3)
    rotations = Rotation.from_rotvec(maps).as_matrix().reshape(len(frames), skeleton.n_joints, 3, 3)
    # The files multiply row vectors from the left; column vectors take the transposed rotations.
    rotations = np.swapaxes(rotations, -1, -2)
    positions = scale * forward_kinematics(offsets, skeleton.parents, rotations, frames[:, :3])
    positions = positions[..., [0, 2, 1]] * [1, -1, 1]  # y up to z up, handedness kept
    return Motion(positions, skeleton, fps=120.0, name=path.stem)


def read_bvh_file(path: Path) -> Motion:
    """A BVH file in metres, z up."""
    from bdsynth.formats.bvh import read_bvh

    return read_bvh(path)


# --- Sources -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """Where clips come from and what their file names say.

    Arguments:
        name: as given to ``--source``.
        archive: the stem of the archive, or the name of the folder it was unpacked to; empty: DIR itself.
        pattern: searched in the posix path below the archive or folder; its named groups clip, action,
            subject and style are the labels.
        licence: of the recordings.
        read: file to Motion in metres, z up.
        actions: names to use instead of those the pattern finds.
        fps: frame rates that files of an action have, whatever their headers say.
    """

    name: str
    archive: str
    pattern: re.Pattern[str]
    licence: str
    read: Callable[[Path], Motion] = read_bvh_file
    actions: dict[str, str] = dataclasses.field(default_factory=dict)
    fps: dict[str, float] = dataclasses.field(default_factory=dict)


def _bandai_namco(number: int) -> Source:
    clip = rf"(?:^|/)(?P<clip>dataset-{number}_(?P<action>[^_/]+)_(?P<style>[^_/]+)_\d+)\.bvh$"
    licence = "CC BY-NC 4.0 (Bandai-Namco Research Motiondataset)"
    return Source(f"bandai_namco_{number}", f"bandai_namco_{number}", re.compile(clip), licence)


_CMU = "CMU Graphics Lab Motion Capture Database: free for all uses"
SOURCES = {
    source.name: source
    for source in (
        Source(
            "cmu_actions",
            "cmu_actions_expmap",
            re.compile(r"(?:^|/)(?P<clip>(?:train|test)/(?P<action>\w+)/\w+_\d+)\.txt$"),
            _CMU,
            read=read_cmu_actions,
            actions={"walking_extra": "walking"},
        ),
        Source(
            "cmu_dance_martial",
            "cmu_dance_martial_bvh",
            re.compile(r"(?:^|/)(?P<clip>(?P<action>salsa|indian|martial)/\d+)\.bvh$"),
            _CMU,
            fps={"salsa": 60.0},  # its readme says so; the headers say 120
        ),
        Source(
            "reactidle",
            "reactidle_bvh",
            re.compile(r"(?:^|/)(?P<clip>(?P<subject>\d+)_(?P<action>acted|genuine))\.bvh$"),
            "MIT (ReActIdle)",
            actions={"acted": "acted_idle", "genuine": "genuine_idle"},
        ),
        _bandai_namco(1),
        _bandai_namco(2),
    )
}
LABELS = ("clip", "action", "subject", "style")


def bvh_source(pattern: str | None) -> Source:
    """A folder of BVH files whose names say the labels.

    Arguments:
        pattern: either a regular expression with named groups out of clip, action, subject and style,
            searched in the path below the folder, or a form such as "{subject}_{action}" of the whole file
            name without ".bvh". None: the action is the folder the file lies in.

    Raises:
        InputError: not a regular expression, or other names in it.
    """
    if pattern is None:
        expression = r"(?:^|/)(?P<action>[^/]+)/[^/]+\.bvh$"
    elif "(?P<" in pattern:
        expression = pattern
    else:
        parts = re.split(r"\{(\w*)\}", pattern)
        named = [rf"(?P<{part}>[^/]+?)" if i % 2 else re.escape(part) for i, part in enumerate(parts)]
        expression = rf"(?:^|/){''.join(named)}\.bvh$"
    try:
        compiled = re.compile(expression, re.IGNORECASE)
    except re.error as error:
        raise InputError(f"--pattern '{pattern}': not a pattern ({error})") from None
    for group in compiled.groupindex:
        if group not in LABELS:
            raise InputError(
                f"--pattern '{pattern}': '{group}' is no label{nearest(group, LABELS)}, "
                f"expected {', '.join(LABELS)}"
            )
    if "action" not in compiled.groupindex:
        raise InputError(f"--pattern '{pattern}': names no action, e.g. '{{subject}}_{{action}}'")
    return Source("bvh", "", compiled, "as the files it was made from")
