"""Human3.6M as it lies unpacked: which file shows which subject, action, take and camera.

Every subject does every action twice. Files carry base names ("Directions 1", "Directions"), and which of the
two is subaction 1 depends on the subject. The table of the release, ``metadata.xml``, says it where it lies in
DIR, DIR/archives or DIR/extracted. Without it the rule is: of the two names of an action, those with a number
come first, in ascending order, and the one without a number is the last: "Directions 1", "Directions" are 1 and
2, and so are "Discussion 2", "Discussion 3".
"""

from __future__ import annotations

__all__ = ["KNOWN_CORRUPT", "View", "find_views", "no_views"]

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bdsynth.datasets.human36m import ACTIONS, CAMERA_IDS, SUBJECTS
from bdsynth.errors import InputError

# Subject, action, subaction, camera of the video that is damaged in the release.
KNOWN_CORRUPT = (11, 2, 2, 54138969)

METADATA = "metadata.xml"
_FOLDERS = {**ACTIONS, 16: "WalkingTogether"}  # as the frames' folders are called
_NAMES = {name: number for number, name in _FOLDERS.items()} | {
    "Photo": 12, "WalkDog": 15, "WalkTogether": 16,
}  # fmt: skip
_BASE = re.compile(r"(?P<name>.+?)(?: (?P<number>\d+))?")
_POSES, _VIDEOS = "Poses_D3_Positions_mono_universal", "Videos"
_WORLD, _PIXELS = "Poses_D3_Positions", "Poses_D2_Positions"


@dataclass(frozen=True)
class View:
    """One take before one camera.

    Attributes:
        subject, action, subaction, camera: as numbers: 1.., 2..16, 1..2, 54138969...
        base: what its files are called: "Directions 1".
        universal: the pose in camera space, mm (Poses_D3_Positions_mono_universal); None where missing.
        video: None where missing.
        world: the pose in the world, mm (Poses_D3_Positions), an optional download.
        pixels: the pose in the picture (Poses_D2_Positions), an optional download.
        frames: the folder of its frames, relative to the datadir.
    """

    subject: int
    action: int
    subaction: int
    camera: int
    base: str
    universal: Path | None
    video: Path | None
    world: Path | None
    pixels: Path | None
    frames: Path

    @property
    def key(self) -> tuple[int, int, int, int]:
        return self.subject, self.action, self.subaction, self.camera

    @property
    def name(self) -> str:
        """S11/Directions-2/54138969"""
        return f"S{self.subject}/{_FOLDERS[self.action]}-{self.subaction}/{self.camera}"


def find_views(datadir: str | Path, *, videos: bool = True) -> tuple[list[View], list[str]]:
    """All views below ``datadir/extracted``.

    Arguments:
        datadir: the root of Human3.6M.
        videos: False: a missing video is no problem.

    Returns:
        The views, sorted by subject, action, subaction and camera, and one line for each problem: a video
        without its pose file or the other way round, a camera missing of a take, names that are no action of
        Human3.6M or that are one too many for it, and names of ``metadata.xml`` without a file.

    Raises:
        InputError: no such folder, it cannot be listed, or ``metadata.xml`` is damaged.
    """
    datadir = Path(datadir)
    extracted = datadir / "extracted"
    table = _read_metadata(datadir)
    views: list[View] = []
    problems: list[str] = []
    for subject in SUBJECTS:
        folder = extracted / f"S{subject}"
        files = {part: _cameras(folder / part, end) for part, end in ((_POSES, "cdf"), (_VIDEOS, "mp4"))}
        if not any(files.values()):
            continue
        bases = sorted({base for found in files.values() for base, _ in found})
        takes, unknown = _takes(subject, bases, table.get(subject) if table else None)
        problems += unknown
        pixels = _cameras(folder / _PIXELS, "cdf")
        for (action, subaction), base in takes.items():
            place = Path("processed", "all", f"S{subject}", f"{_FOLDERS[action]}-{subaction}", "imageSequence")
            world = folder / _WORLD / f"{base}.cdf"
            views += [
                View(
                    subject, action, subaction, camera, base,
                    universal=files[_POSES].get((base, camera)),
                    video=files[_VIDEOS].get((base, camera)),
                    world=world if world.is_file() else None,
                    pixels=pixels.get((base, camera)),
                    frames=place / str(camera),
                )
                for camera in CAMERA_IDS
            ]  # fmt: skip
    views.sort(key=lambda view: view.key)
    problems += _incomplete(views, videos)
    return [view for view in views if view.universal or view.video], problems


def no_views(datadir: Path) -> InputError:
    """What to say where nothing of Human3.6M lies."""
    return InputError(
        f"{datadir}: holds no unpacked Human3.6M, expected extracted/S1/{_POSES}/*.cdf and extracted/S1/"
        f"{_VIDEOS}/*.mp4 (python -m data.extract_tars --datadir {datadir} makes them from the archives)"
    )


def _cameras(folder: Path, suffix: str) -> dict[tuple[str, int], Path]:
    """(base, camera) to file, of the folder's files of a suffix; "_ALL" is no take."""
    if not folder.is_dir():
        return {}
    found = {}
    try:
        for path in sorted(folder.iterdir()):
            base, _, camera = path.name.removesuffix(f".{suffix}").rpartition(".")
            if path.name.endswith(f".{suffix}") and camera in map(str, CAMERA_IDS) and base[:4] != "_ALL":
                found[base, int(camera)] = path
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror}") from None
    return found


def _incomplete(views: Sequence[View], videos: bool) -> list[str]:
    """Lines for files that are missing; one where a camera is missing everywhere."""
    problems = []
    for subject in sorted({view.subject for view in views}):
        mine = [view for view in views if view.subject == subject]
        for part, of in ((_POSES, "universal"), (_VIDEOS, "video")):
            if part == _VIDEOS and not videos:
                continue
            lacking = [view for view in mine if getattr(view, of) is None]
            if len(lacking) == len(mine):
                problems.append(f"S{subject}: extracted/S{subject}/{part} has no file of any view")
                continue
            everywhere = [c for c in CAMERA_IDS if all(v in lacking for v in mine if v.camera == c)]
            for camera in everywhere:
                problems.append(f"S{subject}: camera {camera} is missing of every take in {part}")
            suffix = "mp4" if part == _VIDEOS else "cdf"
            for view in lacking:
                if view.camera not in everywhere:
                    problems.append(f"{view.name}: {part}/{view.base}.{view.camera}.{suffix} is missing")
    return problems


# --- From base names to actions ----------------------------------------------------------------------------


def _takes(
    subject: int, bases: Sequence[str], table: Mapping[tuple[int, int], str] | None
) -> tuple[dict[tuple[int, int], str], list[str]]:
    """(action, subaction) to base name, and lines for the names that find no place."""
    if table is not None:
        takes = {place: base for place, base in table.items() if base in bases}
        problems = [
            f"S{subject}/{_FOLDERS[place[0]]}-{place[1]}: {METADATA} calls it '{base}', no file is called so"
            for place, base in table.items()
            if base not in bases
        ]
        named = set(table.values())
        problems += [f"S{subject}: '{base}' is not in {METADATA}, left out" for base in bases if base not in named]
        return takes, problems
    problems = []
    numbered: dict[int, list[tuple[float, str]]] = defaultdict(list)
    for base in bases:
        parts = _BASE.fullmatch(base)
        action = _NAMES.get(parts["name"]) if parts else None
        if action is None:
            problems.append(f"S{subject}: '{base}' is no action of Human3.6M, left out")
        else:
            numbered[action].append((float(parts["number"] or "inf"), base))
    takes = {}
    for action, found in sorted(numbered.items()):
        kept = [base for _, base in sorted(found)]
        if len(kept) > 2:
            too_many = "', '".join(kept[2:])
            problems.append(
                f"S{subject}/{_FOLDERS[action]}: has {len(kept)} takes, expected 2; left out: '{too_many}'"
            )
        # A single take without a number is the second one: the first has the number.
        first = 2 if len(kept) == 1 and found[0][0] == float("inf") else 1
        for subaction, base in enumerate(kept[:2], start=first):
            takes[action, subaction] = base
    return takes, problems


def _read_metadata(datadir: Path) -> dict[int, dict[tuple[int, int], str]] | None:
    """Subject to (action, subaction) to base name; None where there is no metadata.xml.

    Its element ``mapping`` is a table of rows ``tr`` with cells ``td``: a header row with the subjects S1..S11,
    then action, subaction and the base name for each subject.
    """
    path = next(
        (p for f in (".", "archives", "extracted") if (p := datadir / f / METADATA).is_file()), None
    )  # fmt: skip
    if path is None:
        return None
    import xml.etree.ElementTree as ElementTree

    try:
        content = path.read_bytes() if path.stat().st_size <= 10_000_000 else b"\0"
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if b"\0" in content or b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise InputError(f"{path}: expected plain XML of at most 10 MB without DOCTYPE and ENTITY")
    try:
        mapping = ElementTree.fromstring(content).find(".//mapping")
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(f"{path}: is no XML ({error})") from None
    rows = [] if mapping is None else [[(td.text or "").strip() for td in tr] for tr in mapping.iter("tr")]
    header = next((row for row in rows if any(re.fullmatch(r"S\d+", cell) for cell in row)), None)
    if header is None:
        raise InputError(f"{path}: has no table 'mapping' with a row of subjects S1..S11")
    columns = {int(cell[1:]): i for i, cell in enumerate(header) if re.fullmatch(r"S\d{1,2}", cell)}
    table: dict[int, dict[tuple[int, int], str]] = {subject: {} for subject in columns}
    for row in rows:
        if len(row) < 2 or not (row[0].isdecimal() and row[1].isdecimal()):
            continue
        place = int(row[0]), int(row[1])
        if place[0] not in ACTIONS or place[1] not in (1, 2):
            continue  # action 1 is "_ALL"; the rows below the takes are of other things
        for subject, column in columns.items():
            if column < len(row) and row[column] and place not in table[subject]:
                table[subject][place] = row[column]
    if not any(table.values()):
        raise InputError(f"{path}: its table 'mapping' names no take of the actions 2 to 16")
    return table
