"""Human3.6M: unpack the downloaded archives.

``python -m data.extract_tars --datadir DIR`` unpacks every archive that lies in DIR/archives or DIR, several at
a time: ``Videos_S1.tgz`` to DIR/extracted/S1/Videos, and so on. What is unpacked already is left as it is, so
the same command continues after an interruption, a full disk, or another download. ``python -m data.process``
comes next.
"""

from __future__ import annotations

__all__ = ["main", "extract_archives"]

import argparse
import re
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bdsynth.errors import InputError
from data.archives import extract
from data.jobs import Meter, cores, end_cleanly, in_parallel, positive

# What is downloaded for each subject, with the suffix of its files.
NEEDED = {"Poses_D3_Positions_mono_universal": ".cdf", "Videos": ".mp4"}
OPTIONAL = {"Poses_D3_Positions": ".cdf", "Poses_D2_Positions": ".cdf"}
SUBJECTS = ("S1", "S5", "S6", "S7", "S8", "S9", "S11")

_PARTS = {**NEEDED, **OPTIONAL}
_NAME = re.compile(rf"({'|'.join(_PARTS)})_(S\d+)\.(tgz|tar\.gz)")


@dataclass(frozen=True)
class _Archive:
    path: Path
    part: str
    subject: str
    target: Path
    size: int  # bytes


def extract_archives(
    datadir: Path,
    subjects: Sequence[str] | None = None,
    jobs: int | None = None,
    say: Callable[[str], object] = print,
) -> list[str]:
    """Unpack what is not unpacked yet.

    Arguments:
        datadir: the root of Human3.6M.
        subjects: "S1", …; they all have to be there. None: whoever is.
        jobs: how many archives at a time; None: one per core.
        say: takes one line of news at a time.

    Returns:
        One line for every archive that is bad, missing, or there twice; the others are unpacked.

    Raises:
        InputError: there is no archive, and nothing unpacked either.
    """
    found, problems = _find(datadir, subjects)
    todo = [archive for archive in found if not _is_unpacked(archive.target)]
    for archive in found:
        if archive not in todo:
            say(f"{archive.target}: is unpacked already")
    _check_space(datadir, todo, say)
    meter = Meter(sum(archive.size for archive in todo), "B", "unpacking")

    def unpack(archive: _Archive) -> int:
        suffix = _PARTS[archive.part]
        files = extract(
            archive.path,
            archive.target,
            wanted=lambda member: member.lower().endswith(suffix),
            strip_prefix=True,
            progress=meter.job(archive.size),
        )
        if not files:
            archive.target.rmdir()
            raise InputError(f"{archive.path}: holds no {suffix} file")
        return len(files)

    results = in_parallel(todo, unpack, jobs or cores(), meter, give_up="No space left")
    for archive, result in zip(todo, results, strict=True):
        if isinstance(result, InputError):
            problems.append(str(result))
        elif result is None:
            problems.append(f"{archive.path}: not unpacked, the disk is full")
        else:
            say(f"{archive.target}: {result} files")
    return problems


def _find(datadir: Path, subjects: Sequence[str] | None) -> tuple[list[_Archive], list[str]]:
    """The archives, the largest first (so that the last to run are short), and what is wrong with them."""
    by_part: dict[tuple[str, str], list[Path]] = defaultdict(list)
    unpacked: set[tuple[str, str]] = set()
    try:
        for folder in (datadir / "archives", datadir):
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                if (match := _NAME.fullmatch(path.name)) and path.is_file():
                    by_part[match[2], match[1]].append(path)
        for folder in (datadir / "extracted").glob("S*/*"):
            if folder.name in _PARTS and _is_unpacked(folder):
                unpacked.add((folder.parent.name, folder.name))
        sizes = {path: path.stat().st_size for paths in by_part.values() for path in paths}
    except OSError as error:
        raise InputError(f"{error.filename or datadir}: cannot be read: {error.strerror}") from None
    if not by_part and not unpacked:
        raise InputError(
            f"{datadir}: holds no archive of Human3.6M, expected Poses_D3_Positions_mono_universal_S1.tgz, "
            f"Videos_S1.tgz, … (or .tar.gz) there or in {datadir / 'archives'}"
        )
    there = {subject for subject, _ in (*by_part, *unpacked)}
    problems = []
    archives = []
    for subject in sorted(there.union(subjects or ()), key=lambda name: int(name[1:])):
        if subjects and subject not in subjects:
            continue
        if subject not in there:
            problems.append(f"{subject}: neither an archive nor anything unpacked is in {datadir}")
            continue
        for part in _PARTS:
            paths = by_part.get((subject, part), [])
            if len(paths) > 1:
                problems.append(f"{subject}: {part} is there twice: {', '.join(map(str, paths))}")
            elif paths:
                target = datadir / "extracted" / subject / part
                archives.append(_Archive(paths[0], part, subject, target, sizes[paths[0]]))
            elif part in NEEDED and (subject, part) not in unpacked:
                problems.append(f"{subject}: {part}_{subject}.tgz is missing")
    return sorted(archives, key=lambda archive: -archive.size), problems


def _is_unpacked(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _check_space(datadir: Path, todo: Sequence[_Archive], say: Callable[[str], object]) -> None:
    """Videos do not shrink when packed, so unpacked they need at least what the archives have."""
    need, free = sum(archive.size for archive in todo), shutil.disk_usage(datadir).free
    if todo:
        say(f"{len(todo)} archives to unpack, {_gigabytes(need)}; {_gigabytes(free)} are free")
    if free < 1.1 * need:
        say(f"warning: {datadir} may become full, better have {_gigabytes(1.1 * need)} free")


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


# --- Command -----------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data.extract_tars",
        description="Unpack the archives of Human3.6M to DIR/extracted/S1/… . What is there already is kept.",
    )
    add = parser.add_argument
    # fmt: off
    add("--datadir", type=Path, required=True, help="holds the archives, itself or in its folder archives")
    add("--subjects", nargs="+", choices=SUBJECTS, metavar="S",
        help=f"whom to unpack, out of {', '.join(SUBJECTS)} (default: everybody who is there)")
    add("--jobs", type=positive, help="archives at a time (default: one per core)")
    # fmt: on
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    try:
        if not args.datadir.is_dir():
            raise InputError(f"--datadir {args.datadir}: no such folder")
        with end_cleanly():
            problems = extract_archives(args.datadir, args.subjects, args.jobs)
    except InputError as error:
        problems = [str(error)]
    for line in problems:
        print(f"error: {line}", file=sys.stderr)
    return 2 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
