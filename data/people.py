"""Own videos and pictures of people, with keypoints beside them, made ready for the shape-and-posture net.

``python -m data.people --datadir DIR`` cuts the person out of every frame as a square picture, and writes these
with an ``index.p`` of the form that DeepFashion has. Sources that are done are kept: after an interruption, or
when videos were added (then with ``--force``), the same command does the rest.
"""

from __future__ import annotations

__all__ = ["main", "prepare"]

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from bdsynth.errors import InputError
from bdsynth.formats.people_index import PeopleIndex, write_people_index
from bdsynth.learning.atomic import atomic_write
from data.jobs import Meter, cores, exit_code, in_parallel, positive
from data.people_sources import Options, Plan, Source, find_sources, plan
from data.pictures import check_target, check_writable, replace_folder, save_picture, square_picture, told
from data.video_frames import stream_frames

RECORD, SUMMARY, VERSION = "source.json", "people.json", 1


def prepare(
    datadir: Path,
    output: Path,
    options: Options,
    *,
    test_fraction: float = 0.2,
    skip_bad: bool = False,
    jobs: int = 1,
    say: Callable[[str], object] = print,
) -> PeopleIndex:
    """Cut out everybody in a folder of videos and pictures, and write the index last.

    Arguments:
        datadir: holds videos and folders of pictures, with keypoints; only read.
        output: the folder to write; what is done there already stays.
        options: which frames and whom.
        test_fraction: the last part of every source tests.
        skip_bad: leave out what cannot be used.
        jobs: how many sources at a time.
        say: takes one line of news at a time.

    Raises:
        InputError: what cannot be used (all in one message), nothing to use, or nothing can be written.
    """
    sources, problems = find_sources(datadir, output)
    if not sources and not problems:
        raise InputError(f"{datadir}: holds no videos and no pictures")
    folders = _folders(sources, output)
    records = {source.name: _read_record(folders[source.name], source, options) for source in sources}
    missing = [source for source in sources if records[source.name] is None]
    plans, bad = _sorted_out(
        in_parallel(missing, lambda source: plan(source, options), jobs, Meter(0, "source", "looking"))
    )
    problems += bad
    if problems and not skip_bad:
        raise InputError(told(problems, "problems; --on-bad skip leaves them out", most=100))
    meter = Meter(sum(max(p.frames) + 1 for p in plans), "frame", "cutting out")
    made = in_parallel(
        plans, lambda p: _cut(p, folders[p.source.name], options, meter), jobs, meter, give_up="No space left"
    )
    _, bad = _sorted_out(made)
    if bad and not skip_bad:
        raise InputError(told(bad, "problems; --on-bad skip leaves them out, what is finished stays", most=100))
    for problem in (*problems, *bad):
        say(f"left out: {problem}")
    rows: list[tuple[str, dict]] = []
    summary = []
    for source in sources:
        record = _read_record(folders[source.name], source, options)
        if record is not None:
            rows += [(folders[source.name].name, row) for row in record["pictures"]]
            summary.append({"source": source.name, "folder": folders[source.name].name, **record["counts"]})
            say(_line(source, record))
    if not rows:
        raise InputError(f"{datadir}: nothing of it can be used")
    return _finish(output, rows, summary, options, test_fraction)


def _sorted_out(results: Sequence) -> tuple[list, list[str]]:
    """What came out, and what is wrong with the rest."""
    good = [r for r in results if r is not None and not isinstance(r, InputError)]
    return good, [str(r) for r in results if isinstance(r, InputError)]


def _folders(sources: Sequence[Source], output: Path) -> dict[str, Path]:
    """Where the pictures of each source lie: a folder named like it."""
    folders: dict[str, Path] = {}
    taken: Counter = Counter()
    for source in sources:
        plain = re.sub(r"[^\w.-]+", "_", source.name).lstrip(".") or "source"
        taken[plain] += 1
        folders[source.name] = output / (plain if taken[plain] == 1 else f"{plain}_{taken[plain]}")
    return folders


# --- One source --------------------------------------------------------------------------------------------


def _cut(plan: Plan, folder: Path, options: Options, meter: Meter) -> Path:
    """Write the pictures of a source and its record, all or nothing."""
    progress = meter.job(max(plan.frames) + 1)
    with replace_folder(folder) as unfinished:
        rows = []
        for t, picture in _pictures(plan):
            progress(t + 1)
            for number, (person, joints) in enumerate(plan.frames.get(t, {}).items()):
                name = f"{t:06d}.jpg" if number == 0 else f"{t:06d}_{number}.jpg"
                square, fractions = square_picture(picture, joints, options.size)
                save_picture(unfinished / name, square)
                rows.append({"image": name, "frame": t, "person": person, "joints": fractions.round(6).tolist()})
        if not rows or rows[-1]["frame"] != max(plan.frames):
            raise InputError(f"{plan.source.path}: ends before frame {max(plan.frames)}")
        record = {**_fingerprint(plan.source, options), "counts": dict(plan.counts), "pictures": rows}
        (unfinished / RECORD).write_text(json.dumps(record) + "\n", encoding="utf-8")
    return folder


def _pictures(plan: Plan) -> Iterator[tuple[int, np.ndarray]]:
    """(number, frame) up to the last one that is wanted."""
    from bdsynth.datasets.images import read_picture

    if plan.video is None:
        for t in sorted(plan.frames):
            yield t, read_picture(plan.source.path / plan.pictures[t])
        return
    frames = stream_frames(plan.video)
    try:
        for t, frame in enumerate(frames):
            yield t, frame
            if t == max(plan.frames):
                return
    finally:
        frames.close()


def _fingerprint(source: Source, options: Options) -> dict:
    """What a record must agree with to be used again."""

    def state(path: Path) -> list:
        files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
        found = [(file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return [len(files), sum(size for size, _ in found), max((time for _, time in found), default=0)]

    made_of = {"content": state(source.path), "keypoints": state(source.keypoints)}
    return {"version": VERSION, "source": source.name, "options": asdict(options), **made_of}


def _read_record(folder: Path, source: Source, options: Options) -> dict | None:
    """The record of a source that is done and has not changed since."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    expected = _fingerprint(source, options)
    return record if {key: record.get(key) for key in expected} == expected else None


def _line(source: Source, record: dict) -> str:
    counts = record["counts"]
    told = [f"{source.name}: {len(record['pictures'])} pictures of {counts['frames']} frames"]
    if counts["taken"] < counts["frames"]:
        told.append(f"{counts['taken']} frames looked at")
    if counts["kept"] < counts["taken"]:
        told.append(f"{counts['taken'] - counts['kept']} without a whole person")
    if counts["crowded"]:
        told.append(f"{counts['crowded']} show several people")
    if counts["outside"]:
        told.append(f"{counts['outside']} joints outside of the picture count as missing")
    if counts["from_one"]:
        told.append("its keypoints count frames from 1")
    return "; ".join(told)


# --- The whole ---------------------------------------------------------------------------------------------


def _finish(
    output: Path, rows: Sequence[tuple[str, dict]], summary: list[dict], options: Options, test_fraction: float
) -> PeopleIndex:
    """Split and write: of every person in every source the last part tests."""
    names = sorted({row["person"] for _, row in rows})
    of_stretch: dict[tuple[str, str], list[int]] = {}
    for i, (folder, row) in enumerate(rows):
        of_stretch.setdefault((folder, row["person"]), []).append(i)
    train = np.ones(len(rows), dtype=bool)
    for stretch in of_stretch.values():
        stretch.sort(key=lambda i: rows[i][1]["frame"])
        n_test = round(test_fraction * len(stretch))
        if test_fraction > 0 and len(stretch) > 1:
            n_test = max(1, n_test)
        train[stretch[len(stretch) - n_test :]] = False
    index = PeopleIndex(
        tuple(f"{folder}/{row['image']}" for folder, row in rows),
        np.array([row["joints"] for _, row in rows], dtype=np.float64),
        train,
        np.array([names.index(row["person"]) for _, row in rows]),
        "openpose_18",
    )
    about = {"version": VERSION, "options": asdict(options), "persons": names, "sources": summary}
    atomic_write(output / SUMMARY, json.dumps(about, indent=1) + "\n")
    write_people_index(output / "index.p", index)
    return index


# --- Command -----------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data.people",
        description="Cut yourself out of your own videos and pictures: square pictures and index.p, the form of "
        "DeepFashion. Keypoints of COCO, AlphaPose or OpenPose lie beside each video (walk.json, walk_keypoints/ "
        "or walk_json/ for walk.mp4) or in each folder of pictures (keypoints.json, alphapose-results.json, "
        "keypoints/). The first folder below DATADIR says who it is, without folders the name of the video.",
    )
    add = parser.add_argument
    # fmt: off
    add("--datadir", type=Path, required=True, help="holds the videos and pictures; only read")
    add("--output", type=Path, metavar="FOLDER", help="the folder to write (default: DATADIR/prepared/people)")
    add("--size", type=positive, default=256, help="of the square pictures in pixels (default: %(default)s)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--fps", type=float, help="of videos, take so many frames a second (default: all frames)")
    which.add_argument("--every", type=positive, default=1, metavar="N", help="take every N-th frame or picture")
    add("--person", default="main",
        help="main: the largest, surest and most central one in a frame; each: everybody whom a tracker follows, "
             "by number; or one such number (default: %(default)s)")
    add("--test-fraction", type=float, default=0.2,
        help="the last part of every video or folder tests (default: %(default)g)")
    add("--on-bad", choices=["stop", "skip"], default="stop", help="what to do about what cannot be used")
    add("--jobs", type=positive, help="videos at a time (default: one per core)")
    add("--force", action="store_true", help="replace index.p; what has not changed since is not cut out again")
    # fmt: on
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    return exit_code(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    if not args.datadir.is_dir():
        raise InputError(f"--datadir {args.datadir}: no such folder")
    if not 0 <= args.test_fraction < 1:
        raise InputError(f"--test-fraction is {args.test_fraction}, expected a number from 0 to below 1")
    if args.fps is not None and not (np.isfinite(args.fps) and args.fps > 0):
        raise InputError(f"--fps is {args.fps}, expected a positive number")
    if not (args.person in ("main", "each") or args.person.isdecimal()):
        raise InputError(f"--person is '{args.person}', expected main, each or a number")
    output = args.output or args.datadir / "prepared" / "people"
    if output.resolve() == args.datadir.resolve():
        raise InputError(f"--output {output}: is DATADIR itself")
    _check_output(output, args.force)
    options = Options(args.size, args.every, args.fps, args.person)
    index = prepare(
        args.datadir, output, options, test_fraction=args.test_fraction, skip_bad=args.on_bad == "skip",
        jobs=args.jobs or cores(),
    )  # fmt: skip
    print(
        f"{output}: {len(index)} pictures of {args.size}x{args.size}, {int(index.train.sum())} train and "
        f"{int((~index.train).sum())} test; {len(np.unique(index.persons))} persons (named in {SUMMARY})"
    )


def _check_output(output: Path, force: bool) -> None:
    """As check_target, but the sources that an interrupted run left there may stay."""
    entries = [path for path in output.iterdir() if not path.name.startswith(".")] if output.is_dir() else []
    if entries and all((path / RECORD).is_file() for path in entries):
        check_writable(output)
    else:
        check_target(output, force)


if __name__ == "__main__":
    sys.exit(main())
