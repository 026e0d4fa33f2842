"""MPI-INF-3DHP: from the download to what lifting nets train on and are tested with.

``python -m data.mpi_inf_3dhp --datadir DIR`` reads ``S1/Seq1/annot.mat`` to ``S8/Seq2/annot.mat`` and
``TS1/annot_data.mat`` to ``TS6/annot_data.mat`` and writes ``data_train_3dhp.npz`` and ``data_test_3dhp.npz``, the
files that P-STMO reads (:mod:`bdsynth.formats.mpi_inf_3dhp_npz`). No picture or video is needed.
"""

from __future__ import annotations

__all__ = ["JOINTS", "LENGTHS", "main", "read_test_sequence", "read_train_recording"]

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bdsynth.errors import InputError
from bdsynth.formats.mpi_inf_3dhp_npz import CAMERAS, TrainRecording, View, write_3dhp_test, write_3dhp_train
from bdsynth.formats.problems import Problems
from bdsynth.formats.source import check_file
from data.jobs import exit_code

if TYPE_CHECKING:
    import h5py

# Of (subject, sequence): how many frames, from the first on, are taken, and their rate per second.
LENGTHS = {
    (1, 1): (6416, 25), (1, 2): (12430, 50), (2, 1): (6502, 25), (2, 2): (6081, 25),
    (3, 1): (12488, 50), (3, 2): (12283, 50), (4, 1): (6171, 25), (4, 2): (6675, 25),
    (5, 1): (12820, 50), (5, 2): (12312, 50), (6, 1): (6188, 25), (6, 2): (6145, 25),
    (7, 1): (6239, 25), (7, 2): (6320, 25), (8, 1): (6468, 25), (8, 2): (6054, 25),
}  # fmt: skip
TESTS = tuple(f"TS{n}" for n in range(1, 7))
JOINTS = (7, 5, 14, 15, 16, 9, 10, 11, 23, 24, 25, 18, 19, 20, 4, 3, 6)  # mpi_inf_3dhp_17 out of the 28
MOST_FRAMES = 1_000_000  # of a test sequence: more than five hours

# Where the archives put the subjects and the test sequences, below the folder they were unpacked in.
_TRAIN_PARENTS = ("", "mpi_inf_3dhp")
_TEST_PARENTS = ("", "mpi_inf_3dhp_test_set", "mpi_inf_3dhp_test_set/mpi_inf_3dhp_test_set")


# --- Training: MATLAB 5 ------------------------------------------------------------------------------------


def read_train_recording(path: str | Path, subject: int, sequence: int) -> TrainRecording:
    """One recording out of its ``annot.mat``.

    Arguments:
        path: holds ``cameras``, ``annot2`` and ``univ_annot3``, cells of (F, 56) pixels and (F, 84) millimetres
            per camera.
        subject, sequence: 1 to 8 and 1 to 2; tell how many frames to take, and their rate. A file that has
            fewer frames is taken as it is.

    Raises:
        InputError: not such a file, or a camera that is missing or whose fields are no finite positions of as
            many frames; all of them are named.
    """
    content = _load_mat(path)
    problems = Problems(path)
    cells = {name: _cells(content.get(name), name, problems) for name in ("annot2", "univ_annot3")}
    problems.refuse()
    numbers = _camera_numbers(content.get("cameras"), len(cells["annot2"]))
    most, fps = LENGTHS[subject, sequence]
    views: dict[str, View] = {}
    for camera in CAMERAS:
        place = numbers.index(camera) if camera in numbers else -1
        if not 0 <= place < min(map(len, cells.values())):
            problems.add(f"camera {camera} is missing")
            continue
        pixels = _points(cells["annot2"][place], 2, f"camera {camera} annot2", problems)
        points = _points(cells["univ_annot3"][place], 3, f"camera {camera} univ_annot3", problems)
        if pixels is None or points is None:
            continue
        if len(pixels) != len(points):
            problems.add(f"camera {camera} has {len(pixels)} frames of annot2 and {len(points)} of univ_annot3")
        views[str(camera)] = View(pixels[:most], points[:most])
    if len(lengths := {len(view.data_2d) for view in views.values()}) > 1:
        problems.add(f"the cameras have different lengths, {min(lengths)} to {max(lengths)} frames")
    problems.refuse()
    return TrainRecording(fps, views)


def _load_mat(path: str | Path) -> dict[str, Any]:
    from scipy.io import loadmat

    path = check_file(path)
    try:
        return loadmat(str(path), variable_names=["annot2", "univ_annot3", "cameras"], appendmat=False)
    except Exception as error:  # the parser of a damaged file may stumble in many ways
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: not a MATLAB 5 file, or a damaged one ({reason[:100]})") from None


def _cells(value: Any, name: str, problems: Problems) -> list[Any]:
    if not isinstance(value, np.ndarray) or value.dtype != np.dtype(object):
        problems.add(f"{name} is missing or no cell array, expected one cell per camera")
        return []
    return list(value.flat)


def _camera_numbers(value: Any, n: int) -> list[int]:
    """Which camera each cell belongs to."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiu" and value.size == n:
        return [int(number) for number in value.flat if np.isfinite(number)]
    return list(range(n))


def _points(value: Any, dims: int, where: str, problems: Problems) -> np.ndarray | None:
    """(F, 17, dims) out of the 28 joints of a cell."""
    array = problems.array(value, ((28 * dims,), (28, dims)), where)
    return None if array is None else _as_float(array).reshape(-1, 28, dims)[:, JOINTS]


def _as_float(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.kind == "f" else array.astype(np.float64)


# --- Test: MATLAB 7.3, which is HDF5 with the axes reversed ------------------------------------------------


def read_test_sequence(path: str | Path) -> View:
    """One test sequence out of its ``annot_data.mat``: all frames, and which of them count.

    Raises:
        InputError: not such a file; ``annot2``, ``univ_annot3`` or ``valid_frame`` is missing, leads to another
            file, or is none of finite positions of as many frames; all of that is named.
    """
    import h5py

    path = check_file(path)
    problems = Problems(path)
    frames = {"annot2": (1, 17, 2), "univ_annot3": (1, 17, 3), "valid_frame": (1,)}
    try:
        with h5py.File(path, "r") as file:
            arrays = {name: _dataset(file, name, frame, problems) for name, frame in frames.items()}
    except Exception as error:  # as above
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: not a MATLAB 7.3 file, or a damaged one ({reason[:100]})") from None
    problems.refuse()
    if len({len(array) for array in arrays.values()}) > 1:
        told = ", ".join(f"{len(array)} of {name}" for name, array in arrays.items())
        raise InputError(f"{path}: has frames {told}, expected as many")
    valid = arrays["valid_frame"]
    if not np.isin(valid, (0, 1)).all():
        raise InputError(f"{path}: valid_frame has other numbers than 0 and 1")
    return View(_as_float(arrays["annot2"]), _as_float(arrays["univ_annot3"]), valid.astype(bool))


def _dataset(file: h5py.File, name: str, frame: tuple[int, ...], problems: Problems) -> np.ndarray:
    """An array (F, ...) whose data lies in this file, the axis of length one taken out."""
    import h5py

    nothing = np.empty(0)
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        problems.add(f"{name} is missing or a link" if name in file.keys() else f"{name} is missing")
        return nothing
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        problems.add(f"{name} is no array, or its data lies in another file")
        return nothing
    shape = dataset.shape or ()
    turned = len(frame) == 1 and len(shape) == 2 and shape[0] == 1  # a row where a column belongs
    if (shape[1:] != frame and not turned) or max(shape) > MOST_FRAMES or dataset.dtype.kind not in "fiu":
        problems.add(f"{name} has shape {shape} of {dataset.dtype}, expected numbers (F, {str(frame)[1:]}")
        return nothing
    array = dataset[()]
    array = array.reshape(-1, *frame[1:])
    problems.array(array, (frame[1:],), name)
    return array


# --- Command -----------------------------------------------------------------------------------------------


def _find(datadir: Path, parents: Sequence[str], inside: str) -> Path | None:
    return next((p for parent in parents if (p := datadir / parent / inside).is_file()), None)


def _train(datadir: Path) -> tuple[dict[str, Path], list[str]]:
    names = {f"S{s} Seq{q}": f"S{s}/Seq{q}/annot.mat" for s, q in LENGTHS}
    return _sorted_out(datadir, _TRAIN_PARENTS, names)


def _test(datadir: Path) -> tuple[dict[str, Path], list[str]]:
    return _sorted_out(datadir, _TEST_PARENTS, {name: f"{name}/annot_data.mat" for name in TESTS})


def _sorted_out(datadir: Path, parents: Sequence[str], names: dict[str, str]) -> tuple[dict[str, Path], list[str]]:
    """The files that are there, by name, and the names of those that are not."""
    places = {name: _find(datadir, parents, inside) for name, inside in names.items()}
    return {n: p for n, p in places.items() if p}, [n for n, p in places.items() if not p]


def _read_train(name: str, path: Path) -> TrainRecording:
    subject, sequence = (int(word.lstrip("Seq")) for word in name.split())
    recording = read_train_recording(path, subject, sequence)
    frames, most = len(recording.views["0"].data_2d), LENGTHS[subject, sequence][0]
    if frames < most:
        print(f"{path}: has {frames} frames of {most}, all taken", file=sys.stderr)
    return recording


def _make(
    target: Path, found: dict[str, Path], read: Callable[[str, Path], Any], write: Callable[[Path, dict], None]
) -> None:
    from tqdm import tqdm

    made, bad = {}, []
    for name, path in tqdm(found.items(), desc=target.stem, disable=not sys.stderr.isatty(), leave=False):
        try:
            made[name] = read(name, path)
        except InputError as error:
            bad.append(str(error))
    if bad:
        raise InputError("\n".join(bad))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{target.parent}: cannot be made: {error.strerror or error}") from None
    write(target, made)


def _check_writable(output: Path) -> None:
    """Known before anything is read."""
    place = next(p for p in (output, *output.absolute().parents) if p.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise InputError(f"--output {output}: cannot be written: {error.strerror or error}") from None


def _run(datadir: Path, output: Path, force: bool) -> None:
    if not datadir.is_dir():
        raise InputError(f"--datadir {datadir}: no such folder")
    (train, no_train), (test, no_test) = _train(datadir), _test(datadir)
    if not train and not test:
        raise InputError(
            f"{datadir}: holds no MPI-INF-3DHP, expected S1/Seq1/annot.mat, ... or TS1/annot_data.mat, ..."
        )
    _check_writable(output)
    errors = []
    for file, found, missing, read, write in (
        ("data_train_3dhp.npz", train, no_train, _read_train, write_3dhp_train),
        ("data_test_3dhp.npz", test, no_test, lambda _, path: read_test_sequence(path), write_3dhp_test),
    ):
        target = output / file
        if not found:
            print(f"{datadir}: holds nothing for {file}, which is not made", file=sys.stderr)
            continue
        if target.exists() and not force:
            print(f"{target}: is there already; --force makes it anew")
            continue
        if missing:
            print(f"{datadir}: {file} will lack {', '.join(missing)}", file=sys.stderr)
        try:
            _make(target, found, read, write)
        except InputError as error:
            errors.append(str(error))
            continue
        print(f"{target}: {len(found)} of {len(found) + len(missing)} recordings")
    if errors:
        raise InputError("\n".join(errors))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data.mpi_inf_3dhp",
        description="From the MPI-INF-3DHP download: data_train_3dhp.npz and data_test_3dhp.npz for lifting nets.",
    )
    add = parser.add_argument
    # fmt: off
    add("--datadir", type=Path, required=True, help="holds S1 to S8 and TS1 to TS6; only read")
    add("--output", type=Path, metavar="FOLDER", help="where the files go (default: DATADIR/prepared)")
    add("--force", action="store_true", help="make files anew that are there already")
    # fmt: on
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    return exit_code(lambda: _run(args.datadir, args.output or args.datadir / "prepared", args.force))


if __name__ == "__main__":
    sys.exit(main())
