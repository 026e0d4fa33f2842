"""Which videos and folders of pictures a user has, where their keypoints lie, and what is to be taken of them."""

from __future__ import annotations

__all__ = ["Options", "Plan", "Source", "find_sources", "plan"]

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from bdsynth.errors import InputError
from bdsynth.formats.keypoints_json import Detection, read_keypoints
from data.pictures import PICTURES, choose_person, count_from_zero, find_pictures, outside, pair
from data.video_frames import Video, look_at_video

VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".mts")
_BESIDE = ("{}.json", "{}_keypoints", "{}_json")  # of a video or a folder of pictures
_WITHIN = ("keypoints.json", "alphapose-results.json", "keypoints")  # of a folder of pictures
_MOST_OUTSIDE = 0.1  # of the joints of a source; above it the keypoints are of pictures of another size


@dataclass(frozen=True)
class Source:
    """A video, or a folder of pictures.

    Arguments:
        name: its path below the folder of the user, without extension.
        person: who is seen: the first folder in ``name``, or ``name`` itself where there is none.
        path: of the video or the folder.
        keypoints: of the file or folder of keypoints.
    """

    name: str
    person: str
    path: Path
    keypoints: Path

    @property
    def is_video(self) -> bool:
        return self.path.suffix.lower() in VIDEOS and self.path.is_file()


def find_sources(datadir: Path, output: Path) -> tuple[list[Source], list[str]]:
    """All sources below a folder, sorted, and a line for everything that has no counterpart.

    Hidden folders, folders called "prepared" or with an index.p, and ``output`` are left out.
    """
    sources: list[Source] = []
    problems: list[str] = []
    used: set[Path] = set()
    spare: list[Path] = []  # what could be keypoints, if nobody uses it
    for place, folders, names in os.walk(datadir):
        here = Path(place)
        folders[:] = sorted(
            name for name in folders
            if name != "prepared" and not name.startswith(".") and (here / name).resolve() != output.resolve()
            and not (here / name / "index.p").is_file()
        )  # fmt: skip
        names = sorted(name for name in names if not name.startswith("."))
        spare += [here / name for name in names if name.endswith(".json")]
        spare += [here / name for name in folders if name.endswith(("_keypoints", "_json"))]
        if here in used:  # a folder of keypoints
            used |= {here / name for name in names}
            continue
        videos = [here / name for name in names if name.lower().endswith(VIDEOS)]
        if any(name.lower().endswith(PICTURES) for name in names):
            own = [here / name for name in _WITHIN]
            own += [here.with_name(form.format(here.name)) for form in _BESIDE if here != datadir]
            if any(name.endswith("_keypoints.json") for name in names):
                own.append(here)
                used |= {here / name for name in names if name.endswith("_keypoints.json")}
            _match(here, own, "keypoints.json or a folder keypoints in it", datadir, sources, problems, used)
        for video in videos:
            beside = [here / form.format(video.stem) for form in _BESIDE]
            wanted = f"{video.stem}.json, {video.stem}_keypoints/ or {video.stem}_json/ beside it"
            if sum(other.stem == video.stem for other in videos) > 1:
                problems.append(f"{video}: another video has the same name: whose are the keypoints?")
                used |= set(beside)
            else:
                _match(video, beside, wanted, datadir, sources, problems, used)
    inside = {parent for path in used for parent in path.parents}
    for path in spare:
        if path not in used and path not in inside and not used.intersection(path.parents):
            problems.append(f"{path}: keypoints without a video or pictures of that name")
    names = Counter(source.name for source in sources)
    problems += [f"{s.path}: there is both a video and a folder '{s.name}'" for s in sources if names[s.name] > 1]
    unique = (source for source in sources if names[source.name] == 1)
    return sorted(unique, key=lambda source: source.name), problems


def _match(
    path: Path,
    candidates: Sequence[Path],
    wanted: str,
    datadir: Path,
    sources: list[Source],
    problems: list[str],
    used: set[Path],
) -> None:
    found = [candidate for candidate in candidates if candidate.exists()]
    used.update(found)
    if len(found) != 1:
        several = f"has several keypoints: {', '.join(p.name for p in found)}"
        problems.append(f"{path}: {several if found else f'has no keypoints (expected {wanted})'}")
        return
    relative = PurePosixPath(path.relative_to(datadir).as_posix())
    name = relative if path.is_dir() else relative.with_suffix("")
    name = name if name.parts else PurePosixPath(datadir.resolve().name)
    sources.append(Source(str(name), name.parts[0], path, found[0]))


# --- What is taken of a source -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Options:
    """What decides about the pictures of a source.

    Arguments:
        size: of the square pictures.
        every: take the frames 0, every, 2 every, …
        fps: of videos, take so many frames a second; None: as ``every`` says.
        person: "main", the largest in every frame; "each", all whom a tracker follows; or a tracker's number.
    """

    size: int = 256
    every: int = 1
    fps: float | None = None
    person: str = "main"


@dataclass(frozen=True, eq=False)
class Plan:
    """What is to be cut out of a source.

    Arguments:
        frames: by number of frame and name of person the joints (18, 2) in pixels, NaN where missing.
        video: None for pictures.
        pictures: names of the pictures, by number of frame.
        counts: what there is to tell.
    """

    source: Source
    frames: Mapping[int, Mapping[str, np.ndarray]]
    video: Video | None
    pictures: Sequence[str]
    counts: Mapping[str, int]


def plan(source: Source, options: Options) -> Plan:
    """Decide which frames of a source are taken, and who in them.

    Raises:
        InputError: a damaged video, unreadable pictures, keypoints that do not fit, or nobody to be cut out.
    """
    found = read_keypoints(source.keypoints)
    try:
        return _plan(source, options, found)
    except InputError as error:
        told = str(error)
        raise InputError(told if str(source.path) in told else f"{source.path}: {told}") from None


def _plan(source: Source, options: Options, found: Sequence[Detection]) -> Plan:
    video, pictures, from_one = None, [], False
    if source.is_video:
        video = look_at_video(source.path)
        detections, from_one = count_from_zero(found, video.frames)
        n_frames, sizes = video.frames, dict.fromkeys(detections, (video.width, video.height))
    else:
        pictures = [name for name in find_pictures(source.path) if "/" not in name]
        detections, problems = pair(pictures, [(d.image, d) for d in found])
        n_frames, sizes = len(pictures), _picture_sizes(source.path, pictures, detections, problems)
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise InputError(f"{problems[0]}{more}")
    beyond, total = np.sum([(0, 0), *(outside(detections[t], *sizes[t]) for t in detections)], axis=0)
    if beyond > _MOST_OUTSIDE * total:
        raise InputError(f"{beyond} of {total} joints lie outside of the pictures: keypoints of another size?")
    taken = _taken(n_frames, options, video)
    frames = {}
    for t in taken:
        people = _people(detections.get(t, []), source, options.person, sizes.get(t))
        if people:
            frames[t] = people
    if not frames:
        who = "a person" if options.person in ("main", "each") else f"person {options.person}"
        raise InputError(f"in none of {len(taken)} frames are both shoulders and both hips of {who} to be seen")
    counts = {
        "frames": n_frames,
        "taken": len(taken),
        "kept": len(frames),
        "crowded": sum(len(detections[t]) > 1 for t in frames),
        "outside": int(beyond),
        "from_one": int(from_one),
    }
    return Plan(source, frames, video, pictures, counts)


def _taken(n_frames: int, options: Options, video: Video | None) -> list[int]:
    if options.fps is None or video is None:
        return list(range(0, n_frames, options.every))
    share = min(1.0, options.fps / video.fps)
    number = np.floor(np.arange(-1, n_frames) * share + 1e-6)  # of the picture that a frame would be
    return np.flatnonzero(np.diff(number) > 0).tolist()


def _picture_sizes(
    folder: Path, pictures: Sequence[str], frames: Mapping[int, object], problems: list[str]
) -> dict[int, tuple[int, int]]:
    from bdsynth.datasets.images import picture_size

    sizes = {}
    for t in frames:
        try:
            sizes[t] = picture_size(folder / pictures[t])
        except InputError as error:
            problems.append(str(error))
    return sizes


def _people(
    detections: Sequence[Detection], source: Source, wanted: str, size: tuple[int, int] | None
) -> dict[str, np.ndarray]:  # fmt: skip
    """The joints of those in a frame who are wanted, by name; a tracker's numbers hold within one source."""
    if not detections or size is None:
        return {}
    if wanted == "main":
        groups = {source.person: list(detections)}
    else:
        if all(detection.person is None for detection in detections):
            raise InputError("--person needs the numbers of a tracker, which its keypoints do not have")
        groups = {}
        for number in sorted({d.person for d in detections if d.person is not None}):
            if wanted in ("each", str(number)):
                who = f"{source.name} {number}" if wanted == "each" else source.person
                groups[who] = [d for d in detections if d.person == number]
    chosen = {who: choose_person(group, *size) for who, group in groups.items()}
    return {who: joints for who, joints in chosen.items() if joints is not None}
