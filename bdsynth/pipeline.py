"""The whole way: a video of somebody who moves and a picture of somebody else become a video.

    video --detect--> keypoints --lift--> 3D motion --transfer--> motion of the person --render--> video
    picture --detect--> keypoints --lift--> start posture --^

The result of every stage is a file in a folder beside the output, with a note of what it was made of. A second run
keeps what is still made of the same, so one that was interrupted goes on after the last stage it finished.
"""

from __future__ import annotations

__all__ = ["AnimateResult", "Stage", "animate"]

import hashlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path

import numpy as np

from bdsynth import __version__
from bdsynth.appearance import model as appearance_model
from bdsynth.appearance.people import BEYOND, Person, person_from_picture
from bdsynth.appearance.render import render
from bdsynth.behavior import model as behavior_model
from bdsynth.behavior.transfer import transfer
from bdsynth.datasets.images import read_picture
from bdsynth.display.video import write_video
from bdsynth.errors import InputError
from bdsynth.formats import read_motion, write_motion
from bdsynth.formats.people import Person as Sighted
from bdsynth.formats.people import choose_people, read_people
from bdsynth.formats.source import check_file
from bdsynth.learning.atomic import atomic_write
from bdsynth.lifting import model as lifting_model
from bdsynth.lifting.lift import lift
from bdsynth.motion import Motion
from bdsynth.perception.detect import detect
from bdsynth.perception.detectors import make_detector
from bdsynth.perception.frames import Frames, open_frames

FPS = 25.0  # of the video
_SURE = 0.3  # confidence of joints in the picture of the person
_STANDING = Path(__file__).parent / "assets" / "clips" / "reactidle_standing.bvh"
_Name = str | PathLike


@dataclass(frozen=True)
class Stage:
    """What became of a stage.

    Arguments:
        name: "person", "posture", "keypoints", "motion3d", "transferred" or "video".
        how: "made", "kept" from a run before, or "given" by a file.
        seconds: that it took.
        file: where its result is.
        what: it is, in a few words.
    """

    name: str
    how: str
    seconds: float
    file: Path
    what: str

    def __str__(self) -> str:
        return f"{self.name:<12} {self.how:<5} {self.seconds:7.1f} s  {self.what}, {self.file}"


@dataclass(frozen=True, eq=False)
class AnimateResult:
    """What :func:`animate` made; None where a stage was not needed.

    Arguments:
        video: the file.
        stages: in the order in which they were done.
        keypoints: of the behavior's video, 2D.
        motion3d: the behavior in space.
        posture: how the person stands at the start.
        transferred: what the person performs.
    """

    video: Path
    stages: tuple[Stage, ...]
    keypoints: Motion | None
    motion3d: Motion | None
    posture: Motion | None
    transferred: Motion


def animate(
    behavior: _Name,
    person: _Name,
    out: _Name,
    *,
    keypoints: _Name | None = None,
    motion3d: _Name | None = None,
    posture: _Name | None = None,
    transferred: _Name | None = None,
    person_keypoints: _Name | None = None,
    performer: str = "largest",
    people: int = 1,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    smooth: float | None = None,
    detector: str = "blazepose",
    detector_weights: _Name | None = None,
    lifter_weights: _Name | None = None,
    behavior_weights: _Name | None = None,
    appearance_weights: _Name | None = None,
    ray_cast: bool = False,
    camera: str | float | None = None,
    background: str = "plain",
    device: str = "cpu",
    workdir: _Name | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> AnimateResult:
    """Lets a person perform what somebody does in a video.

    Arguments:
        behavior: the video; or a keypoint file, or a 3D motion, which skip the stages before them.
        person: "synthetic:SEED", or a picture.
        out: the video to write, .mp4 or .gif, 25 frames a second.
        keypoints, motion3d, posture, transferred: files in place of what these stages would make. The posture is
            the first frame of a 3D motion. By default it is the person in the picture lifted to 3D, and synthetic
            people start as somebody who stands.
        person_keypoints: of the picture, JSON of COCO, AlphaPose or OpenPose; by default the detector finds them.
        performer: who of the people in the video: "largest", "longest" or one by number.
        people: how many the detector follows.
        size, fps: width x height and frame rate of the video of keypoints in a file; fps also of picture folders.
        smooth: seconds over which tremor of the lifted motion is smoothed.
        detector: "blazepose" or "rtmpose".
        detector_weights, lifter_weights, behavior_weights, appearance_weights: in place of those that come along.
        ray_cast: draw a synthetic person by the ray caster, in place of the appearance net.
        camera, background: as :func:`~bdsynth.appearance.render.render` takes them.
        device: of the nets.
        workdir: the folder of the stages; by default named as the output, with ``.stages``.
        say: is told a line when a stage is done.

    Raises:
        InputError: what a stage refuses; nobody in the video or picture; missing weights or libraries.
    """
    behavior, out = Path(behavior), Path(out)
    if out.suffix.lower() not in (".mp4", ".gif"):
        raise InputError(f"{out}: a video is written as .mp4 or .gif, not as '{out.suffix}'")
    weights = {
        "lifter": _weights("lifter", lifter_weights, lifting_model.default_weights()),
        "behavior": _weights("behavior", behavior_weights, behavior_model.default_weights()),
        "appearance": ray_cast or _weights("appearance", appearance_weights, appearance_model.default_weights()),
    }
    picture = _picture(str(person), person_keypoints, ray_cast)
    kind = _kind(behavior)
    for given in filter(None, (keypoints, motion3d, posture, transferred)):
        if given != keypoints or not Path(given).is_dir():
            check_file(given)
    motion3d = motion3d or (behavior if kind == "motion" else None)
    keypoints = keypoints or (behavior if kind == "keypoints" else None)
    finder = _Finder(detector, detector_weights, people)
    stages = _Stages(Path(workdir) if workdir is not None else out.with_suffix(".stages"), say)

    def lifted(name: str, seen: Motion, size: tuple[int, int] | None) -> Motion:
        def make() -> Motion:
            model = lifting_model.load_lifter(weights["lifter"]).to(device)
            return lift(seen, model, size=size, smooth=smooth)

        return stages.motion(name, [seen, size, smooth, weights["lifter"]], make)

    who = str(person) if picture is None else _person(picture, person_keypoints, finder, stages)
    seen = moved = stance = None
    if transferred is not None:
        performed = stages.given("transferred", transferred, read_motion)
    else:
        if posture is not None or picture is None:
            stance = stages.given("posture", posture or _STANDING, read_motion)
        else:
            stance = lifted("posture", _still(who), who.picture.shape[1::-1])
        if motion3d is not None:
            moved = stages.given("motion3d", motion3d, read_motion)
        else:
            frames = open_frames(behavior, fps) if kind == "video" else None
            if keypoints is not None:
                if frames and Path(keypoints).suffix.lower() != ".npz":  # the others do not tell
                    fps = fps or frames.fps
                seen = stages.given("keypoints", keypoints, lambda p: _only(p, read_people(p, fps), performer))
            else:
                made_of = behavior, fps, performer, *finder.facts
                seen = stages.motion(
                    "keypoints", made_of, lambda: _only(behavior, finder.follow(frames), performer)
                )
            moved = lifted("motion3d", seen, size or (frames and frames.size))

        def make() -> Motion:
            model = behavior_model.load_model(weights["behavior"]).to(device)
            return transfer(moved, stance, model, keep_bone_lengths=True)

        performed = stages.motion("transferred", [moved, stance, weights["behavior"]], make)

    def frames_of_video() -> Iterator[np.ndarray]:
        drawn_by = None if ray_cast else appearance_model.load_appearance(weights["appearance"]).to(device)
        return render(performed, who, model=drawn_by, camera=camera, background=background, fps=FPS)

    drawn = [who] if picture is None else [picture, who.joints.tolist()]
    stages.video(out, [performed, *drawn, camera, background, weights["appearance"]], frames_of_video)
    return AnimateResult(out, tuple(stages.done), seen, moved, stance, performed)


# --- What is given -----------------------------------------------------------------------------------------


def _weights(net: str, path: _Name | None, default: Path) -> Path:
    """Refuses at the start what would otherwise be missed at the end."""
    found = default if path is None else Path(path)
    if found.exists():
        return found
    if path is not None:
        raise InputError(f"{path}: no such file or folder, expected the weights of a net (--{net}-weights)")
    hint = ", or draw a synthetic person with --ray-cast" if net == "appearance" else ""
    raise InputError(f"{default}: the {net} net did not come along, give --{net}-weights FILE{hint}")


def _picture(person: str, keypoints: _Name | None, ray_cast: bool) -> Path | None:
    """The picture of the person; None of synthetic people."""
    if person.startswith("synthetic:"):
        if not re.fullmatch(r"synthetic:\d{1,18}", person):
            raise InputError(f"person '{person}': expected synthetic:SEED with a number for SEED")
        if keypoints is not None:
            raise InputError(f"person '{person}': takes no keypoints, they are of a picture")
        from bdsynth.humans.body import require_humans

        require_humans()
        return None
    if not Path(person).is_file():
        raise InputError(f"person '{person}': no such file, expected a picture or synthetic:SEED")
    if ray_cast:
        raise InputError(f"person '{person}': the ray caster (--ray-cast) draws synthetic people only")
    return Path(person)


def _kind(behavior: Path) -> str:
    """Whether a file is a "motion" in space, "keypoints" or a "video", by what is in it."""
    if behavior.is_dir():
        return "keypoints" if any(behavior.glob("*_keypoints.json")) else "video"
    try:
        with open(check_file(behavior), "rb") as file:
            start = file.read(64)
    except OSError as error:
        raise InputError(f"{behavior}: cannot be read: {error.strerror or error}") from None
    if start[:2] == b"PK":
        in_space = any(one.motion.dims == 3 for one in read_people(behavior, fps=1.0).values())
        return "motion" if in_space else "keypoints"
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    starts = {"keypoints": (b"{", b"["), "motion": (b"HIERARCHY", b"PathFileType", b"# bdsynth-motion")}
    return next((kind for kind, words in starts.items() if text.startswith(words)), "video")


# --- People in pictures ------------------------------------------------------------------------------------


def _only(path: Path, found: Mapping[str, Sighted], performer: str) -> Motion:
    """The keypoints of one of the people."""
    try:
        chosen = list(choose_people(found, performer).values())
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if len(chosen) > 1:
        raise InputError(f"{path}: has {len(chosen)} people, expected one performer: largest, longest or a number")
    return chosen[0].motion


@dataclass
class _Finder:
    """The detector, made when it is needed."""

    detector: str
    weights: _Name | None
    people: int

    @property
    def facts(self) -> list:
        return [self.detector, self.people, self.weights and Path(self.weights)]

    def follow(self, frames: Frames) -> dict[str, Sighted]:
        net = make_detector(self.detector, self.weights, self.people)
        return detect(frames, detector=net, progress=partial(_bar, "looking", frames.n_frames))

    def look(self, path: Path) -> Motion:
        """A motion of one frame: the largest person in a picture, without joints that are only guessed."""
        rgb, net = read_picture(path), make_detector(self.detector, self.weights, self.people)
        found = net.detect(rgb)
        if not found:
            raise InputError(f"{path}: no person was found in the picture")
        keypoints = max(found, key=lambda one: one.box[2] * one.box[3]).keypoints.astype(np.float64)  # (17, 3)
        size = np.array(rgb.shape[1::-1])
        inside = ((keypoints[:, :2] >= -BEYOND * size) & (keypoints[:, :2] <= (1 + BEYOND) * size)).all(-1)
        sure = np.where(inside & (keypoints[:, 2] >= _SURE), np.clip(keypoints[:, 2], 0, 1), 0)
        return Motion(keypoints[None, :, :2], net.skeleton, 1.0, "px", sure[None], path.stem)


def _person(picture: Path, keypoints: _Name | None, finder: _Finder, stages: _Stages) -> Person:
    if keypoints is not None:
        return stages.given("person", keypoints, lambda file: person_from_picture(picture, file))
    seen = stages.motion("person", [picture, *finder.facts], lambda: finder.look(picture))
    joints = np.where(seen.confidence[0, :, None] > 0, seen.positions[0], np.nan)
    return person_from_picture(picture, joints, seen.skeleton)


def _still(person: Person) -> Motion:
    """The keypoints of a picture as those of a video in which nobody moves, for the lifter."""
    joints = np.stack([person.joints] * 2)
    return Motion(joints, person.skeleton, FPS, "px", np.isfinite(joints).all(-1), Path(person.name).stem)


# --- Results that are kept ---------------------------------------------------------------------------------


class _Stages:
    """A folder with a file for the result of each stage, and beside it a note of what it was made of."""

    def __init__(self, folder: Path, say: Callable[[str], object]) -> None:
        self.folder, self.say = folder, say
        self.done: list[Stage] = []

    def motion(self, name: str, made_of: Iterable, make: Callable[[], Motion]) -> Motion:
        started, file = time.perf_counter(), self.folder / f"{name}.npz"
        how = self._keep(name, made_of, file, lambda: write_motion(file, make()))
        motion = read_motion(file)  # the same numbers whether made or kept
        self._tell(name, how, started, file, motion)
        return motion

    def video(self, file: Path, made_of: Iterable, make: Callable[[], Iterator[np.ndarray]]) -> None:
        started = time.perf_counter()
        how = self._keep("video", made_of, file, lambda: write_video(file, _bar("drawing", None, make()), FPS))
        self._tell("video", how, started, file)

    def given(self, name: str, file: _Name, read: Callable) -> object:
        started, file = time.perf_counter(), Path(file)
        result = read(file)
        self._tell(name, "given", started, file, result)
        return result

    def _keep(self, name: str, made_of: Iterable, file: Path, make: Callable[[], object]) -> str:
        note = self.folder / f"{name}.json"
        key = _hash(name, __version__, *made_of)
        if file.is_file() and _read_note(note) == {"made of": key, "is": _hash(file)}:
            return "kept"
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be made: {error.strerror or error}") from None
        make()
        atomic_write(note, json.dumps({"made of": key, "is": _hash(file)}))
        return "made"

    def _tell(self, name: str, how: str, started: float, file: Path, result: object = None) -> None:
        if isinstance(result, Motion):
            what = f"{result.n_frames} frames of {result.skeleton.name} at {result.fps:g} fps"
        else:
            what = "joints of a picture" if name == "person" else f"{file.stat().st_size / 1e3:.0f} kB"
        self.done.append(Stage(name, how, time.perf_counter() - started, file, what))
        self.say(str(self.done[-1]))


def _bar(what: str, total: int | None, frames: Iterable) -> Iterable:
    from tqdm import tqdm

    return tqdm(frames, what, total, leave=False, disable=not sys.stderr.isatty())


def _read_note(path: Path) -> object:
    """None where there is none, or it is broken."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _hash(*things: object) -> str:
    """SHA-256 of motions, of files and folders by their content, and of plain data."""
    return hashlib.sha256(b"".join(map(_own_hash, things))).hexdigest()


def _own_hash(thing: object) -> bytes:
    if isinstance(thing, Motion):
        sure = None if thing.confidence is None else hashlib.sha256(thing.confidence.tobytes()).hexdigest()
        about = [thing.skeleton.to_dict(), thing.fps, thing.unit, thing.name, sure, thing.positions.shape]
        return hashlib.sha256(json.dumps(about).encode() + thing.positions.tobytes()).digest()
    if isinstance(thing, Path) and thing.is_dir():
        files = sorted(path for path in thing.rglob("*") if path.is_file())
        return _hash(*(part for file in files for part in (file.name, file))).encode()
    if isinstance(thing, Path):
        with open(thing, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    return hashlib.sha256(json.dumps(thing).encode()).digest()
