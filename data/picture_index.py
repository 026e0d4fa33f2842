"""What ``data.deepfashion`` and ``data.market`` share: checking an ``index.p``, cleaning it, and making one.

Pictures are left as they are. Joints are fractions of each picture's own width and height, and whoever reads a
picture scales it to the square of the network, so pictures of any shape may stand in one index.
"""

from __future__ import annotations

__all__ = ["Labels", "PictureSet", "check", "make", "run"]

import argparse
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bdsynth.datasets.joint_models import JOINT_MODELS
from bdsynth.errors import InputError
from bdsynth.formats.people_index import PeopleIndex, read_people_index, write_people_index
from bdsynth.learning.atomic import atomic_write
from bdsynth.skeletons import get_skeleton
from data.jobs import Meter, cores, exit_code, in_parallel, positive
from data.pictures import (
    check_target,
    check_writable,
    choose_person,
    outside,
    pair,
    read_all_keypoints,
    replace_folder,
    told,
)


@dataclass(frozen=True, eq=False)
class Labels:
    """N pictures below a folder: relative paths, who is seen, and whether they train.

    Also the pictures that are there but do not count, and what there is to tell.
    """

    images: list[str]
    persons: np.ndarray  # (N,) int64
    train: np.ndarray  # (N,) bool
    ignored: list[str]
    news: list[str]


@dataclass(frozen=True)
class PictureSet:
    """A published data set.

    Arguments:
        name: a key of JOINT_MODELS, and of the module in ``data``.
        title: for people.
        size: of the square that its networks read.
        label: from (folder, share of test persons, seed) to the labels of its pictures.
        layout: what the folder holds, for --help.
    """

    name: str
    title: str
    size: int
    label: Callable[[Path, float, int], Labels]
    layout: str


@dataclass
class Findings:
    """Of an index: which rows' pictures cannot be used and why, and the sizes of those that can."""

    bad: dict[int, str] = field(default_factory=dict)
    sizes: Counter = field(default_factory=Counter)


# --- Checking ----------------------------------------------------------------------------------------------


def check(datadir: Path, index: PeopleIndex, decode: bool = False, jobs: int = 1) -> Findings:
    """Look at every picture of an index: its head only, or (``decode``) all of it."""
    looked = _look_at(datadir, index.images, decode, jobs)
    findings = Findings()
    for row, result in enumerate(looked):
        if isinstance(result, InputError):
            findings.bad[row] = str(result)
        else:
            findings.sizes[result] += 1
    return findings


def _look_at(
    datadir: Path, images: Sequence[str], decode: bool, jobs: int
) -> list[tuple[int, int] | InputError]:  # fmt: skip
    """Upright (width, height) of every picture, or what is wrong with it."""
    from bdsynth.datasets.images import picture_size, read_picture

    meter = Meter(len(images), "picture", "pictures")

    def look(image: str) -> tuple[int, int]:
        size = picture_size(datadir / image)
        if decode:
            read_picture(datadir / image)
        meter.job(1)(1)
        return size

    return in_parallel(images, look, jobs, meter)


def _describe(dataset: PictureSet, index: PeopleIndex, found: Counter) -> list[str]:
    torso = list(JOINT_MODELS[dataset.name].body)
    whole = (index.joints[:, torso] >= 0).all((1, 2))
    beyond = (index.joints > 1).any(-1)  # (N, 18)
    lines = [
        f"{len(index)} pictures, {int(index.train.sum())} train, {int((~index.train).sum())} test"
        + ("" if index.persons is None else f", {len(np.unique(index.persons))} persons"),
        f"not used, as shoulders or hips are missing: {int((~whole).sum())}",
    ]
    if beyond.any():
        lines.append(f"joints outside: {int(beyond.sum())}, in {int(beyond.any(1).sum())} pictures")
    sizes = [f"{w}x{h} ({n})" for (w, h), n in found.most_common(5)]
    other = sum(n for size, n in found.items() if size != (dataset.size, dataset.size))
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    if sizes:
        scaled = f"; {other} will be scaled to {dataset.size}x{dataset.size}" if other else ""
        lines.append(f"sizes: {', '.join(sizes)}{more}{scaled}")
    if not whole.any():
        raise InputError(f"no picture of {dataset.title} has both shoulders and both hips")
    return lines


# --- Making ------------------------------------------------------------------------------------------------


def make(
    datadir: Path,
    dataset: PictureSet,
    keypoints: Path,
    test_fraction: float,
    seed: int,
    decode: bool = False,
    jobs: int = 1,
) -> tuple[PeopleIndex, Counter, list[str], list[str]]:
    """An index from pictures and the keypoints of a detector.

    Returns:
        The index, how many pictures have which size, what there is to tell, and a line for each picture or name
        of a picture that cannot be used.

    Raises:
        InputError: unreadable keypoints, no picture, or none with a whole person.
    """
    labels = dataset.label(datadir, test_fraction, seed)
    paired, problems = pair([*labels.images, *labels.ignored], read_all_keypoints(keypoints))
    rows = [row for row in sorted(paired) if row < len(labels.images)]
    if not rows:
        about = f": {problems[0]}" if problems else ""
        raise InputError(f"{keypoints}: none of it is of a picture in {datadir}{about}")
    sizes = _look_at(datadir, [labels.images[row] for row in rows], decode, jobs)
    order = [get_skeleton("openpose_18").index(joint) for joint in _model_skeleton(dataset).joints]
    kept, joints, several, unseen, beyond = [], [], 0, 0, 0
    for row, size in zip(rows, sizes, strict=True):
        if isinstance(size, InputError):
            problems.append(str(size))
            continue
        person = choose_person(paired[row], *size)  # (18, 2) pixels
        if person is None:
            unseen += 1
            continue
        several += len(paired[row]) > 1
        beyond += outside(paired[row], *size)[0]
        kept.append(row)
        fractions = person[order] / size
        joints.append(np.where(np.isnan(fractions), -1.0, fractions))
    if not kept:
        raise InputError(f"{keypoints}: in no picture are both shoulders and both hips of a person to be seen")
    index = PeopleIndex(
        tuple(labels.images[row] for row in kept),
        np.array(joints),
        labels.train[kept],
        labels.persons[kept],
        _model_skeleton(dataset).name,
    )
    news = [
        *labels.news,
        f"left out: {len(labels.images) - len(rows)} pictures without keypoints, {unseen} in which nobody has "
        "both shoulders and hips",
    ]
    if beyond:
        news.append(f"{beyond} joints lie outside of their pictures and count as missing")
    if several:
        news.append(f"{several} pictures show several people: the largest, surest and most central one was taken")
    return index, Counter(size for size in sizes if not isinstance(size, InputError)), news, problems


def _model_skeleton(dataset: PictureSet):
    return get_skeleton(JOINT_MODELS[dataset.name].skeleton)


# --- Writing -----------------------------------------------------------------------------------------------


def _select(index: PeopleIndex, rows: Sequence[int]) -> PeopleIndex:
    persons = None if index.persons is None else index.persons[rows]
    images = tuple(index.images[row] for row in rows)
    return PeopleIndex(images, index.joints[rows], index.train[rows], persons, index.joint_order)


def _write(index: PeopleIndex, datadir: Path, output: Path | None) -> Path:
    """Into ``output`` with its pictures, or into ``datadir``, where the index before becomes index.original.p."""
    if output is None:
        file, original = datadir / "index.p", datadir / "index.original.p"
        if file.exists() and not original.exists():
            try:
                shutil.copy2(file, original)
            except OSError as error:
                original.unlink(missing_ok=True)
                raise InputError(f"{original}: cannot be written: {error.strerror or error}") from None
        write_people_index(file, index)
        return file
    with replace_folder(output) as folder:
        for image in dict.fromkeys(index.images):
            (folder / image).parent.mkdir(parents=True, exist_ok=True)
            source = (datadir / image).resolve()
            try:
                os.link(source, folder / image)
            except OSError:  # another disk, or a system without hard links
                shutil.copy2(source, folder / image)
        write_people_index(folder / "index.p", index)
    return output / "index.p"


# --- Command -----------------------------------------------------------------------------------------------


def parser(dataset: PictureSet) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m data.{dataset.name}",
        description=f"Check a download of {dataset.title} (index.p and the pictures it names), or make its "
        f"index.p from pictures and keypoints. {dataset.layout}",
    )
    add = parser.add_argument
    # fmt: off
    add("--datadir", type=Path, required=True, help="holds the pictures, and index.p unless it is to be made")
    add("--keypoints", type=Path, metavar="PATH",
        help="make the index from these: a .json file of COCO, AlphaPose or OpenPose, or a folder of such")
    add("--output", type=Path, metavar="FOLDER",
        help="write the new index there, with the pictures it names (hard links where possible); default: DATADIR")
    add("--on-bad", choices=["stop", "skip"], default="stop",
        help="what to do about pictures that cannot be used; skip writes an index without them")
    add("--verify", action="store_true", help="decode every picture, not only its head: finds truncated ones")
    add("--report", type=Path, metavar="FILE", help="write all that is wrong there, a line each")
    add("--test-fraction", type=float, default=0.1,
        help="share of persons that test, where no list says who does (default: %(default)g)")
    add("--seed", type=int, default=42, help="of that split (default: %(default)s)")
    add("--jobs", type=positive, help="pictures at a time (default: one per core)")
    add("--force", action="store_true", help="replace an index.p; in DATADIR the old one becomes index.original.p")
    # fmt: on
    return parser


def run(dataset: PictureSet, argv: Sequence[str] | None = None) -> int:
    """The command: 0 when all is well or bad pictures were left out, 2 otherwise."""
    args = parser(dataset).parse_args(argv)
    return exit_code(lambda: _run(dataset, args))


def _run(dataset: PictureSet, args: argparse.Namespace) -> None:
    if not args.datadir.is_dir():
        raise InputError(f"--datadir {args.datadir}: no such folder")
    if not 0 < args.test_fraction < 1:
        raise InputError(f"--test-fraction is {args.test_fraction}, expected a number between 0 and 1")
    if args.output and args.output.resolve() == args.datadir.resolve():
        args.output = None
    jobs, skip = args.jobs or cores(), args.on_bad == "skip"
    writes = args.keypoints is not None or skip
    if args.output is not None:
        if not writes:
            raise InputError("--output goes with --keypoints or --on-bad skip; a check writes nothing")
        check_target(args.output, args.force)
    elif args.keypoints is not None:
        _check_in_place(args.datadir, args.force)
    if args.keypoints is not None:
        index, sizes, news, problems = make(
            args.datadir, dataset, args.keypoints, args.test_fraction, args.seed, args.verify, jobs
        )
        findings = Findings(sizes=sizes)
    else:
        news, index = [], _read(dataset, args.datadir)
        findings = check(args.datadir, index, args.verify, jobs)
        problems = list(findings.bad.values())
    for line in (*news, *_describe(dataset, index, findings.sizes)):
        print(line)
    if args.report is not None:
        atomic_write(args.report, "".join(f"{line}\n" for line in problems))
    if problems and not skip:
        how = "leaves them out" if writes else "with --output FOLDER (or --force, in place) leaves them out"
        raise InputError(told(problems, f"problems; --on-bad skip {how}"))
    for line in problems[:10]:
        print(f"left out: {line}")
    if len(problems) > 10:
        print(f"left out: {len(problems) - 10} more")
    if args.keypoints is None and not problems:
        return  # the index stays as it is
    if args.keypoints is None:
        rows = [row for row in range(len(index)) if row not in findings.bad]
        if not rows:
            raise InputError(f"{args.datadir}: no picture of index.p can be used")
        if args.output is None:
            _check_in_place(args.datadir, args.force)
        index = _select(index, rows)
    print(f"{_write(index, args.datadir, args.output)}: {len(index)} pictures")


def _check_in_place(datadir: Path, force: bool) -> None:
    if (datadir / "index.p").exists() and not force:
        raise InputError(f"{datadir / 'index.p'}: exists already; --force replaces it, --output writes elsewhere")
    check_writable(datadir)


def _read(dataset: PictureSet, datadir: Path) -> PeopleIndex:
    if not (datadir / "index.p").is_file():
        raise InputError(f"{datadir}: has no index.p; --keypoints makes one")
    index = read_people_index(datadir)
    order, expected = index.joint_order, JOINT_MODELS[dataset.name].skeleton
    if order not in (None, expected):
        raise InputError(f"{datadir / 'index.p'}: joint_order is {order}, {dataset.title} has {expected}")
    return index
