"""Motion capture: from archives or folders to prepared datasets.

``python -m data.mocap --datadir DIR`` prepares every known source that lies in DIR, packed or unpacked;
data/README.md shows it for each of them. A recording becomes one clip or several: it is cut where a joint
jumps (recordings joined together), put on one skeleton, resampled to one frame rate and given a side of the
train / test split. What lies in DIR is only read.
"""

from __future__ import annotations

__all__ = ["main", "prepare", "table"]

import argparse
import dataclasses
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bdsynth.datasets.prepared import Clip, PreparedDataset, check_output, write_prepared
from bdsynth.datasets.splits import split_groups
from bdsynth.errors import InputError
from bdsynth.motion import Motion
from bdsynth.skeletons import Skeleton, get_skeleton
from data.archives import ARCHIVE_SUFFIXES, extract
from data.mocap_sources import SOURCES, Source, bvh_source

# No joint of a person moves faster (a kicking foot reaches 15 m/s): above it two recordings were joined.
MAX_JOINT_SPEED = 20.0  # m/s
SEAM = 0.05  # seconds cut away on both sides of such a jump: the recordings were blended there
SHORTEST = 0.5  # seconds; what is left of a recording below that is dropped


# --- From files to clips -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Recording:
    """One file: its labels, its motion, and a digest of its content."""

    clip: Clip
    group: str  # stays on one side of the split: the subject, or the recording
    motion: Motion
    digest: str


def _find_archive(datadir: Path, stem: str) -> Path | None:
    return next((p for suffix in ARCHIVE_SUFFIXES if (p := datadir / f"{stem}{suffix}").is_file()), None)


def _files(datadir: Path, source: Source, scratch: Path) -> dict[str, Path]:
    """The source's files, packed or unpacked, by their path below the archive or folder."""
    archive = _find_archive(datadir, source.archive)
    if archive and not (datadir / source.archive).is_dir():
        folder = scratch / source.name
        extract(archive, folder, wanted=lambda member: source.pattern.search(member) is not None)
    else:
        folder = datadir / source.archive
        folder = folder if folder.is_dir() else datadir
    found = {}
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "prepared" and not name.startswith("."))
        for name in names:
            path = Path(place) / name
            relative = path.relative_to(folder).as_posix()
            if source.pattern.search(relative) or (source.name == "bvh" and name.lower().endswith(".bvh")):
                found[relative] = path
    return dict(sorted(found.items()))


def _read(source: Source, relative: str, path: Path) -> _Recording:
    labels = source.pattern.search(relative)
    if labels is None:
        raise InputError(f"{relative}: its name does not match the pattern '{source.pattern.pattern}'")
    found = {name: value or "" for name, value in labels.groupdict().items()}
    action = source.actions.get(found["action"], found["action"])
    motion = source.read(path)
    if found["action"] in source.fps:
        motion = motion.replace(fps=source.fps[found["action"]])
    clip = Clip(
        clip=found.get("clip") or relative.rsplit(".", 1)[0],
        action=action,
        subject=found.get("subject", ""),
        style=found.get("style", ""),
        fps=motion.fps,
        source=relative,
    )
    group = f"subject {clip.subject}" if clip.subject else f"recording {relative}"
    digest = hashlib.sha256(motion.positions.tobytes()).hexdigest()
    return _Recording(clip, group, motion, digest)


def _continuous(motion: Motion) -> list[Motion]:
    """The stretches of a motion between jumps, those shorter than SHORTEST left out."""
    speed = np.linalg.norm(np.diff(motion.positions, axis=0), axis=-1).max(-1, initial=0.0) * motion.fps
    bad = np.zeros(motion.n_frames + 1, dtype=bool)  # one more, so that the last stretch has an end
    bad[-1] = True
    margin = round(SEAM * motion.fps)
    for t in np.flatnonzero(speed > MAX_JOINT_SPEED):  # between frames t and t + 1
        bad[max(0, t - margin) : min(motion.n_frames, t + 2 + margin)] = True
    stretches, start = [], 0
    for stop in np.flatnonzero(bad):
        if stop - start >= max(2, SHORTEST * motion.fps):
            stretches.append(motion.slice(start, int(stop)))
        start = int(stop) + 1
    return stretches


def _clips(recording: _Recording, skeleton: Skeleton, fps: float) -> list[tuple[Clip, Motion]]:
    stretches = _continuous(recording.motion.to_skeleton(skeleton))
    if not stretches:
        raise InputError(f"{recording.clip.source}: has no continuous stretch of {SHORTEST} s")
    clips = []
    for number, stretch in enumerate(stretches, start=1):
        name = recording.clip.clip + (f".{number}" if len(stretches) > 1 else "")
        clips.append((dataclasses.replace(recording.clip, clip=name), stretch.resample(fps)))
    return clips


def _collect(
    datadir: Path,
    source: Source,
    label: str,
    skeleton: Skeleton,
    fps: float,
    first_with: dict[str, str],
    say: Callable[[str], None],
) -> tuple[list[tuple[Clip, Motion, str]], list[str]]:
    """(clip, motion, group) of all that a source holds, and a line for every bad file.

    ``first_with`` remembers which file had a content first, by its digest, over all sources.
    """
    found: list[tuple[Clip, Motion, str]] = []
    bad: list[str] = []
    with tempfile.TemporaryDirectory(prefix="bdsynth-mocap-") as scratch:
        files = _files(datadir, source, Path(scratch))
        if not files:
            raise InputError(f"{datadir}: holds no file of source {source.name}")
        for relative, path in _progress(files.items(), source.name):
            try:
                recording = _read(source, relative, path)
                clips = _clips(recording, skeleton, fps)
            except InputError as error:
                bad.append(_told(str(error), path, relative))
                continue
            twin = first_with.setdefault(recording.digest, label + relative)
            if twin != label + relative:  # would stand on both sides of the split
                say(f"{label}{relative}: same content as {twin}, left out")
                continue
            kept, whole = sum(motion.duration for _, motion in clips), recording.motion.duration
            if whole - kept > 2 * SEAM:
                say(f"{label}{relative}: cut at jumps into {len(clips)}, {kept:.1f} of {whole:.1f} s kept")
            for clip, motion in clips:
                clip = dataclasses.replace(
                    clip,
                    clip=label + clip.clip,
                    subject=label + clip.subject if clip.subject else "",
                    source=label + clip.source,
                )
                found.append((clip, motion, label + recording.group))
    return found, bad


def prepare(
    datadir: Path,
    sources: Sequence[Source],
    output: Path,
    *,
    name: str,
    skeleton: str = "h36m_17",
    fps: float = 50.0,
    test_fraction: float = 0.25,
    seed: int = 42,
    skip_bad: bool = False,
    force: bool = False,
    say: Callable[[str], None] = print,
) -> PreparedDataset:
    """Prepare one dataset from one source or several (then clips and subjects carry the source's name).

    Arguments:
        datadir: holds archives or unpacked folders; only read.
        sources: what to take.
        output: the folder to write.
        name: of the dataset.
        skeleton: every clip is put on it.
        fps: every clip is resampled to it.
        test_fraction: share of test data wanted of every action.
        seed: of the split.
        skip_bad: leave bad files out instead of refusing to prepare.
        force: replace a prepared dataset that lies in ``output``.
        say: takes one line of news at a time.

    Raises:
        InputError: no file of a source found, bad files (all in one message), or nothing can be written.
    """
    check_output(output, force)
    target = get_skeleton(skeleton)
    if not (np.isfinite(fps) and fps > 0):
        raise InputError(f"--fps is {fps}, expected a positive number")
    if not 0 < test_fraction < 1:
        raise InputError(f"--test-fraction is {test_fraction}, expected a number between 0 and 1")
    found: list[tuple[Clip, Motion, str]] = []
    parts: list[str] = []
    bad: list[str] = []
    first_with: dict[str, str] = {}
    for source in sources:
        label = f"{source.name}/" if len(sources) > 1 else ""
        clips, bad_files = _collect(datadir, source, label, target, fps, first_with, say)
        found += clips
        parts += [source.name] * len(clips)
        bad += bad_files
    if bad and not skip_bad:
        raise InputError("\n".join([*bad, f"{len(bad)} bad files; --on-bad skip leaves them out"]))
    for line in bad:
        say(f"left out: {line}")
    if not found:
        raise InputError(f"{datadir}: every file of {', '.join(source.name for source in sources)} is bad")
    sides = split_groups(
        groups=[group for _, _, group in found],
        actions=[clip.action for clip, _, _ in found],
        durations=[motion.n_frames / fps for _, motion, _ in found],
        test_fraction=test_fraction,
        seed=seed,
        parts=parts,
    )
    rows = [
        (dataclasses.replace(clip, split=side), motion)
        for (clip, motion, _), side in zip(found, sides, strict=True)
    ]
    licence = "; ".join(dict.fromkeys(source.licence for source in sources))
    return write_prepared(output, rows, name=name, licence=licence, force=force)


def _told(message: str, path: Path, relative: str) -> str:
    """An error of an unpacked file, told with its path in the archive."""
    return message.replace(str(path), relative) if str(path) in message else f"{relative}: {message}"


def _progress(items: Sequence, label: str):
    from tqdm import tqdm

    return tqdm(items, desc=label, unit="file", disable=not sys.stderr.isatty(), leave=False)


# --- Command -----------------------------------------------------------------------------------------------


def table(dataset: PreparedDataset) -> str:
    """Clips and minutes of every action and split, as text."""
    lines = [f"{'action':24} {'train clips':>11} {'minutes':>8} {'test clips':>11} {'minutes':>8}"]
    for action in (*dataset.actions, "all"):
        cells = []
        for split in ("train", "test"):
            rows = [r for r in dataset.index if r.split == split and action in (r.action, "all")]
            minutes = sum(row.n_frames for row in rows) / dataset.fps / 60
            cells.append(f"{len(rows):11d} {minutes:8.1f}")
        lines.append(f"{action:24} {' '.join(cells)}")
    one_sided = [a for a in dataset.actions if len({r.split for r in dataset.index if r.action == a}) == 1]
    if one_sided:
        lines.append(f"on one side only (a single recording or subject): {', '.join(one_sided)}")
    lines.append(
        f"{dataset.path}: {len(dataset)} clips, {len(dataset.positions)} frames, "
        f"{dataset.skeleton.name} at {dataset.fps:g} fps"
    )
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data.mocap",
        description="Prepare motion capture: positions in metres, z up, on one skeleton and frame rate.",
    )
    add = parser.add_argument
    # fmt: off
    add("--datadir", type=Path, required=True, help="holds the archives or the unpacked folders; only read")
    add("--source", nargs="+", choices=[*SOURCES, "bvh"], metavar="NAME",
        help=f"what to prepare: {', '.join(SOURCES)}, or bvh for any folder of BVH files "
             "(default: every known source found in DATADIR, each by itself)")
    add("--name", help="merge the sources into one dataset of this name")
    add("--pattern",
        help="labels from BVH file names: '{subject}_{action}', or a regular expression with the groups "
             "clip, action, subject, style (default: the action is the name of the folder)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--output", type=Path, help="the folder to write (one dataset)")
    where.add_argument("--outdir", type=Path, help="parent of the folders (default: DATADIR/prepared)")
    add("--skeleton", default="h36m_17", help="the skeleton of the prepared clips (default: %(default)s)")
    add("--fps", type=float, default=50.0, help="their frame rate (default: %(default)g)")
    add("--test-fraction", type=float, default=0.25, help="share of test data (default: %(default)g)")
    add("--seed", type=int, default=42, help="of the split (default: %(default)s)")
    add("--on-bad", choices=["stop", "skip"], default="stop", help="what to do about bad files")
    add("--force", action="store_true", help="replace a prepared dataset")
    # fmt: on
    return parser


def _datasets(args: argparse.Namespace) -> list[tuple[str, list[Source]]]:
    """(name, sources) of every dataset asked for."""
    if args.pattern is not None and args.source != ["bvh"]:
        raise InputError("--pattern goes with --source bvh")
    if args.source:
        sources = [bvh_source(args.pattern) if s == "bvh" else SOURCES[s] for s in dict.fromkeys(args.source)]
    else:
        sources = [
            s for s in SOURCES.values()
            if _find_archive(args.datadir, s.archive) or (args.datadir / s.archive).is_dir()
        ]  # fmt: skip
        if not sources:
            raise InputError(f"{args.datadir}: holds no known source; for other BVH files give --source bvh")
    if args.name:
        return [(args.name, sources)]
    if args.output and len(sources) > 1:
        raise InputError("--output takes one dataset: merge them with --name, or give --outdir")
    return [(source.name, [source]) for source in sources]


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    try:
        if not args.datadir.is_dir():
            raise InputError(f"--datadir {args.datadir}: no such folder")
        outdir = args.outdir or args.datadir / "prepared"
        jobs = [(name, sources, args.output or outdir / name) for name, sources in _datasets(args)]
        for _, _, output in jobs:
            check_output(output, args.force)
        for name, sources, output in jobs:
            dataset = prepare(
                args.datadir, sources, output, name=name, skeleton=args.skeleton, fps=args.fps,
                test_fraction=args.test_fraction, seed=args.seed, skip_bad=args.on_bad == "skip",
                force=args.force,
            )  # fmt: skip
            print(table(dataset))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
