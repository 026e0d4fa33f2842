"""Human3.6M: from unpacked archives to frames and annotations.

``python -m data.process --datadir DIR`` reads DIR/extracted, which ``python -m data.extract_tars`` makes, and
writes DIR/processed/all: the frames of every view as JPEG files (as many as its pose file has) and
``annot_export.h5``. The authors' annotation file is kept where it lies there already. Views that are done are
skipped, so the same command continues; what is wrong is told once, at the end, and in DIR/processed/report.json.
"""

from __future__ import annotations

__all__ = ["main", "process"]

import argparse
import json
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bdsynth.datasets.human36m import SUBJECTS, camera
from bdsynth.errors import InputError
from bdsynth.formats.cdf import cdf_frames, read_cdf_pose
from bdsynth.learning.atomic import atomic_write
from data.frames import FRAME, extract_frames, frames_in, video_size
from data.h36m_views import KNOWN_CORRUPT, View, find_views, no_views
from data.jobs import Meter, cores, end_cleanly, in_parallel, positive

ANNOTATIONS = Path("processed", "all", "annot_export.h5")
REPORT = Path("processed", "report.json")
_BYTES_PER_FRAME = 60_000  # of 1000 x 1000 pixels at quality 3: for an estimate of the disk space


@dataclass
class Report:
    """What came out.

    Attributes:
        views: how many there are.
        done: how many of them are as they should be.
        frames: that lie on the disk, of the views that are done.
        problems: a line for all that is unreadable, mismatching or missing.
        known: the same for what is known to be damaged in the release.
        notes: what else there is to know.
        annotations: of the annotation file made here: its size and time, and the views in it; None for a file
            of the user's own.
    """

    views: int = 0
    done: int = 0
    frames: int = 0
    problems: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    annotations: dict | None = None

    def blame(self, view: View, reason: str) -> None:
        if view.key == KNOWN_CORRUPT:
            self.known.append(f"{view.name}: known to be corrupt in the distributed Human3.6M ({reason})")
        else:
            self.problems.append(f"{view.name}: {reason}")

    def text(self) -> str:
        lines = [f"error: {line}" for line in self.problems]
        lines += [f"known: {line}" for line in self.known]
        lines += [f"note: {line}" for line in self.notes]
        lines.append(f"{self.done} of {self.views} views are done, {self.frames} frames")
        return "\n".join(lines)


def process(
    datadir: Path,
    subjects: Sequence[str] | None = None,
    jobs: int | None = None,
    *,
    frames: bool = True,
    force: bool = False,
    say: Callable[[str], object] = print,
) -> Report:
    """Extract the frames of every view and see to the annotation file.

    Arguments:
        datadir: the root of Human3.6M.
        subjects: "S1", …; they all have to be there. None: whoever is.
        jobs: how many videos at a time; None: one per core.
        frames: False: leave the videos alone (they may be missing), make the annotations only.
        force: extract frames and make annotations anew; the authors' annotation file is still kept.
        say: takes one line of news at a time.

    Raises:
        InputError: there is nothing of Human3.6M, or metadata.xml is damaged.
    """
    views, problems = find_views(datadir, videos=frames)
    if not views:
        raise no_views(datadir)
    there = {f"S{view.subject}" for view in views}
    report = Report(annotations=_made_here(datadir))
    others: list[View] = []
    if subjects:
        missing = [s for s in subjects if s not in there]
        report.problems += [f"{s}: nothing of it is in {datadir / 'extracted'}" for s in missing]
        others = [view for view in views if f"S{view.subject}" not in subjects]
        views = [view for view in views if f"S{view.subject}" in subjects]
        problems = [line for line in problems if line.startswith(tuple(f"{s}{c}" for s in subjects for c in ":/"))]
    elif absent := [f"S{s}" for s in SUBJECTS if f"S{s}" not in there]:
        report.notes.append(f"nothing of {', '.join(absent)} is in {datadir / 'extracted'}")
    for line in problems:
        _tell(report, views, line)
    report.views = len(views)

    writable = _can_write(datadir, report)
    done = _do_views(datadir, views, report, jobs or cores(), frames, frames and writable, force, say)
    _compare_sizes(done, report)
    if writable:
        report.done = len(done)
        report.frames = sum(n_frames for n_frames, _ in done.values()) if frames else 0
        if done:
            _annotate(datadir, done, others, report, force)
        try:
            atomic_write(datadir / REPORT, json.dumps(asdict(report), indent=1, ensure_ascii=False) + "\n")
        except InputError as error:
            report.problems.append(str(error))
    return report


def _tell(report: Report, views: Sequence[View], line: str) -> None:
    """A problem found in the folders, under its view's name where it has one."""
    name, _, reason = line.partition(": ")
    view = next((view for view in views if view.name == name), None)
    if view is None:
        report.problems.append(line)
    else:
        report.blame(view, reason)


def _can_write(datadir: Path, report: Report) -> bool:
    target = datadir / ANNOTATIONS.parent
    try:
        target.mkdir(parents=True, exist_ok=True)
        atomic_write(target / ".writable", b"")
        (target / ".writable").unlink()
    except (FileExistsError, NotADirectoryError):
        report.problems.append(f"{target}: cannot be written: a file is where a folder should be")
        return False
    except OSError as error:
        report.problems.append(f"{target}: cannot be written: {error.strerror}")
        return False
    except InputError as error:
        report.problems.append(str(error))
        return False
    return True


# --- Frames ------------------------------------------------------------------------------------------------


def _do_views(
    datadir: Path,
    views: Sequence[View],
    report: Report,
    jobs: int,
    look_at_videos: bool,
    extract: bool,
    force: bool,
    say: Callable[[str], object],
) -> dict[View, tuple[int, tuple[int, int] | None]]:
    """(frames, size of the pictures) of every view that is as it should be; the others are blamed."""
    plan: dict[View, int] = {}  # frames to come, where the pose file says so
    for view in views:
        try:
            plan[view] = cdf_frames(view.universal) if view.universal else 0
        except InputError:
            plan[view] = 0  # told when it is read
    todo = [v for v in views if force or (plan[v] and frames_in(datadir / v.frames) != plan[v])]
    if extract and todo:
        n_frames = sum(plan[view] for view in todo)
        need, free = n_frames * _BYTES_PER_FRAME, shutil.disk_usage(datadir).free
        say(
            f"{len(todo)} of {len(views)} views to extract, {n_frames} frames, about {need / 1e9:.1f} GB; "
            f"{free / 1e9:.1f} GB are free"
        )
        if need > free:
            say(f"warning: {datadir} may become full")
    # Views whose frames lie there count too: their pose files are read, which is most of the work without frames.
    meter = Meter(sum(plan.values()), "frame", "frames")

    def do(view: View) -> tuple[int, tuple[int, int] | None] | None:
        progress = meter.job(plan[view])
        progress(0)
        if view.universal is None or (view.video is None and look_at_videos):
            return None  # find_views has told it
        pose = read_cdf_pose(view.universal)
        if pose.shape[-1] != 3:
            raise InputError(f"{view.universal}: has 2 numbers for each joint, expected 3")
        folder = datadir / view.frames
        size = None
        if extract and (force or frames_in(folder) != len(pose)):
            extract_frames(view.video, folder, len(pose), progress=progress)
        if extract:
            size = _picture_size(folder / FRAME.format(1))
        elif view.video is not None:
            size = video_size(view.video)
        progress(plan[view])
        return len(pose), size

    done = {}
    not_begun = 0
    for view, result in zip(views, in_parallel(views, do, jobs, meter, "No space left"), strict=True):
        if isinstance(result, InputError):
            report.blame(view, str(result))
        elif result is not None:
            done[view] = result
        elif view.universal is not None and (view.video is not None or not look_at_videos):
            not_begun += 1
    if not_begun:
        report.problems.append(f"{datadir}: the disk is full, {not_begun} views were not begun")
    return done


def _picture_size(path: Path) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.size
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be read as a picture ({error})") from None


def _compare_sizes(done: Mapping[View, tuple[int, tuple[int, int] | None]], report: Report) -> None:
    """A line for each size that is not the one of its camera."""
    odd: dict[tuple[int, tuple[int, int], tuple[int, int]], list[str]] = defaultdict(list)
    of_camera = Counter(view.camera for view in done)
    for view, (_, size) in done.items():
        lens = camera(view.subject, view.camera)
        if size is not None and size != (lens.width, lens.height):
            odd[view.camera, size, (lens.width, lens.height)].append(view.name)
    for (number, size, expected), names in odd.items():
        report.problems.append(
            f"camera {number}: {len(names)} of {of_camera[number]} videos are {size[0]}x{size[1]}, expected "
            f"{expected[0]}x{expected[1]}: {', '.join(names[:3])}{', …' if len(names) > 3 else ''}"
        )


# --- Annotations -------------------------------------------------------------------------------------------


def _annotate(
    datadir: Path,
    done: Mapping[View, tuple[int, tuple[int, int] | None]],
    others: Sequence[View],
    report: Report,
    force: bool,
) -> None:
    """Make the annotation file, unless there is one: the authors', or one made here of the same views.

    Views that this run leaves alone (``others``) stay in a file made here.
    """
    from data.h36m_annotate import make_annotations

    path = datadir / ANNOTATIONS
    made = report.annotations
    if path.is_file() and made is None:
        report.notes.append(f"{path}: was there and is kept")
        return
    sizes = {view: size for view, (_, size) in done.items() if size is not None}
    views = list(done)
    for view in others:
        if made is not None and view.name in made["views"]:
            views.append(view)
            first = datadir / view.frames / FRAME.format(1)
            if first.is_file():
                sizes[view] = _picture_size(first)
    views.sort(key=lambda view: view.key)
    names = [view.name for view in views]
    if path.is_file() and made["views"] == names and not force:
        return
    try:
        *lines, summary = make_annotations(datadir, views, sizes, path)
    except InputError as error:
        report.problems += str(error).splitlines()
        return
    report.problems += lines
    report.notes.append(summary)
    report.annotations = {**_stat(path), "views": names}


def _made_here(datadir: Path) -> dict | None:
    """What the last report says of the annotation file, if it is still that file."""
    try:
        made = json.loads((datadir / REPORT).read_bytes())["annotations"]
        if _stat(datadir / ANNOTATIONS).items() <= made.items() and "views" in made:
            return made
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        pass  # no report, or none of ours: then the file is not either
    return None


def _stat(path: Path) -> dict[str, int]:
    stat = path.stat()
    return {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}


# --- Command -----------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data.process",
        description="Human3.6M: frames and annotations from DIR/extracted to DIR/processed/all. The same command "
        "continues what was interrupted.",
    )
    add = parser.add_argument
    names = [f"S{subject}" for subject in SUBJECTS]
    # fmt: off
    add("--datadir", type=Path, required=True, help="holds extracted/S1/…, as data.extract_tars leaves it")
    add("--subjects", nargs="+", choices=names, metavar="S",
        help=f"whom to do, out of {', '.join(names)} (default: everybody who is there)")
    add("--jobs", type=positive, help="videos at a time (default: one per core)")
    add("--no-frames", action="store_true", help="only the annotations; the videos may be missing")
    add("--force", action="store_true", help="do again what is done; the authors' annot_export.h5 is kept")
    # fmt: on
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    try:
        if not args.datadir.is_dir():
            raise InputError(f"--datadir {args.datadir}: no such folder")
        with end_cleanly():
            report = process(
                args.datadir, args.subjects, args.jobs, frames=not args.no_frames, force=args.force
            )  # fmt: skip
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report.text(), file=sys.stderr if report.problems else sys.stdout)
    return 2 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
