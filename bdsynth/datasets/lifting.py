"""What lifting networks learn from: sequences of 2D keypoints with the joints in 3D before the same camera.

data = open_lifting("Human3.6M", "h36m", keypoints="cpn_ft_h36m_dbb")
data.train[0].keypoints, data.train[0].positions

Four sources: Human3.6M and MPI-INF-3DHP in the files that lifting networks exchange, pictures of synthetic people
(``python -m data.synthetic``), and any prepared data set of motions ("mocap"), of which the training motions stay
in the world: batches project them by cameras that are drawn anew each time (:mod:`.lifting_batches`).
"""

from __future__ import annotations

__all__ = ["DATASETS", "LiftingData", "LiftingSequence", "WorldSequence", "filmed", "open_lifting"]

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bdsynth.camera import Camera, normalize_screen
from bdsynth.datasets.face import face_frame, place_face
from bdsynth.datasets.human36m import CAMERA_IDS, FPS, action_names, camera, split_sides, video_name
from bdsynth.datasets.lifting_sequences import (
    LiftingData,
    LiftingSequence,
    Options,
    WorldSequence,
    arranged,
    chosen_subjects,
    cut,
    rooted,
)
from bdsynth.datasets.motions import open_motions
from bdsynth.datasets.projection import WORLD, CameraRanges, DetectorNoise, detect, random_cameras
from bdsynth.errors import InputError, nearest
from bdsynth.formats.h36m_annotations import AnnotationFile
from bdsynth.formats.lifting_npz import (
    align_keypoints,
    read_keypoints_2d,
    read_positions_3d,
    read_scores,
    with_scores,
)
from bdsynth.formats.mpi_inf_3dhp_npz import View, read_3dhp_test, read_3dhp_train
from bdsynth.skeletons import Skeleton, convert_positions, get_skeleton

BODY = get_skeleton("h36m_17")
INPUTS = ("h36m_17", "coco_17")
TRAIN_SUBJECTS, TEST_SUBJECTS = ("S1", "S5", "S6", "S7", "S8"), ("S9", "S11")  # of Human3.6M


def open_lifting(
    dataset: str,
    datapath: str | Path,
    *,
    keypoints: str = "cpn_ft_h36m_dbb",
    scores: bool = False,
    subjects_train: Sequence[str] | None = None,
    subjects_test: Sequence[str] | None = None,
    actions: Sequence[str] | None = None,
    subset: float = 1.0,
    downsample: int = 1,
    validation: float = 0.1,
    skeleton_in: str | None = None,
    noise: DetectorNoise | None = None,
    compat: bool = False,
    seed: int = 0,
) -> LiftingData:
    """Open a data set for lifting.

    Arguments:
        dataset: a name of DATASETS.
        datapath: the folder: with data_3d_h36m.npz and data_2d_h36m_*.npz; with data_train_3dhp.npz and
            data_test_3dhp.npz; with annot_export.h5; a prepared data set.
        keypoints: of Human3.6M: which 2D file, the part of its name after "data_2d_h36m_".
        scores: keypoints with a confidence: of Human3.6M from score.pkl or the 2D file, of mocap what ``noise``
            gives, the others have none.
        subjects_train, subjects_test: by name; None: those of the data set.
        actions: the classes to use; None: all. The class of "Walking 1" is "Walking".
        subset: the share of each training sequence that is used, a piece of it.
        downsample: use every n-th frame.
        validation: the share of training recordings that are held out, with all their cameras.
        skeleton_in: "h36m_17" or "coco_17". None: what the data set has, h36m_17 for synthetic people and mocap.
        noise: of mocap: what the keypoints for validation and test suffer from; None: nothing.
        compat: as published: nothing is held out, actions match by their beginning ("Sitting" is SittingDown
            too), MPI-INF-3DHP stays in millimetres and at mixed frame rates.
        seed: which recordings are held out, and of mocap the cameras for validation and test.

    Raises:
        InputError: an unknown data set, subject, action or skeleton; a file that is missing or broken; nothing
            left to train on.
    """
    if dataset not in DATASETS:
        hint = nearest(dataset, DATASETS)
        raise InputError(f"no data set is named '{dataset}'{hint}, expected {', '.join(DATASETS)}")
    if skeleton_in is not None and skeleton_in not in (*INPUTS, "mpi_inf_3dhp_17"):
        raise InputError(f"skeleton_in is '{skeleton_in}', expected {' or '.join(INPUTS)}")
    if not 0 < subset <= 1 or downsample < 1 or not 0 <= validation < 1:
        raise InputError(
            f"subset is {subset}, downsample {downsample} and validation {validation}, expected a share above 0, "
            "a whole number from 1 and a share below 1"
        )
    options = Options(
        keypoints, scores, subjects_train, subjects_test, actions, subset, downsample,
        0.0 if compat else validation, skeleton_in, noise, compat, seed,
    )  # fmt: skip
    data = DATASETS[dataset](Path(datapath), options)
    if not data.train:
        raise InputError(f"{datapath}: no training sequence is of the chosen subjects and actions")
    return data


def _on(skeleton: Skeleton, options: Options) -> Skeleton:
    """The skeleton of the keypoints; refuses another one than the data set has."""
    if options.skeleton_in not in (None, skeleton.name):
        raise InputError(f"keypoints are on {skeleton.name}, skeleton_in is {options.skeleton_in}")
    return skeleton


# --- Human3.6M ---------------------------------------------------------------------------------------------


def _human36m(folder: Path, options: Options) -> LiftingData:
    file = folder / f"data_2d_h36m_{options.keypoints}.npz"
    positions = read_positions_3d(folder / "data_3d_h36m.npz")
    subjects = chosen_subjects(positions, options, TRAIN_SUBJECTS, TEST_SUBJECTS)
    positions = {subject: positions[subject] for subject in subjects}
    seen = align_keypoints(read_keypoints_2d(file), positions)
    skeleton_in = _on(seen.skeleton, options)
    if options.scores and (folder / "score.pkl").is_file():
        seen = with_scores(seen, read_scores(folder / "score.pkl"))
    n_features = 3 if options.scores else 2
    sequences = []
    for subject, split in subjects.items():
        for action, world in positions[subject].items():
            joints = convert_positions(world, get_skeleton(f"h36m_{world.shape[1]}"), BODY)
            for c, pixels in enumerate(seen.positions[subject][action]):
                if c >= len(CAMERA_IDS):
                    raise InputError(f"{file}: {subject} {action} has more than {len(CAMERA_IDS)} cameras")
                if pixels.shape[-1] < n_features:
                    raise InputError(f"{file}: has no confidence, and beside it lies no score.pkl")
                lens = camera(int(subject[1:]) if subject[1:].isdecimal() else 0, CAMERA_IDS[c])
                sequences.append(
                    LiftingSequence(
                        subject, action, str(CAMERA_IDS[c]), _normalized(pixels[..., :n_features], lens),
                        rooted(lens.to_camera(joints), 0), lens.intrinsic, (lens.width, lens.height), split,
                    )
                )  # fmt: skip
    train, validation, test = arranged(sequences, options, lambda s: f"{s.subject} {s.action}")
    fps = FPS / options.downsample
    return LiftingData("Human3.6M", train, validation, test, skeleton_in, BODY, n_features, fps)


def _normalized(pixels: np.ndarray, lens: Camera) -> np.ndarray:
    """Pixels to normalized screen coordinates, a third channel as it is; float32."""
    places = normalize_screen(pixels[..., :2], lens.width, lens.height)
    return np.concatenate([places, pixels[..., 2:]], axis=-1).astype(np.float32)


# --- MPI-INF-3DHP ------------------------------------------------------------------------------------------

_SLOW = 25.0  # frames per second of most recordings


def _mpi_inf_3dhp(folder: Path, options: Options) -> LiftingData:
    """In metres, and all at 25 frames a second; of the test sequences the rate is not told."""
    skeleton = _on(get_skeleton("mpi_inf_3dhp_17"), options)
    recordings = read_3dhp_train(folder / "data_train_3dhp.npz")
    tests = read_3dhp_test(folder / "data_test_3dhp.npz")
    people = dict.fromkeys(name.split(" ")[0] for name in recordings)
    subjects = chosen_subjects([*people, *tests], options, list(people), list(tests))
    sequences = []
    for name, recording in recordings.items():
        subject, action = name.split(" ")
        step = 1 if options.compat else max(1, round(recording.fps / _SLOW))
        if subjects.get(subject) == "train":
            for number, view in recording.views.items():
                sequence = _view(subject, action, number, view, (2048, 2048), "train", options)
                sequences.append(cut(sequence, slice(0, len(sequence), step)))
    for name, view in tests.items():
        if subjects.get(name) == "test":
            size = (1920, 1080) if name in ("TS5", "TS6") else (2048, 2048)
            sequences.append(_view(name, name, "", view, size, "test", options))
    train, validation, test = arranged(sequences, options, lambda s: f"{s.subject} {s.action}")
    fps = _SLOW / options.downsample
    root = skeleton.root
    return LiftingData("MPI-INF-3DHP", train, validation, test, skeleton, skeleton, 2, fps, root)


def _view(
    subject: str, action: str, number: str, view: View, size: tuple[int, int], split: str, options: Options
) -> LiftingSequence:
    root = get_skeleton("mpi_inf_3dhp_17").root
    places = normalize_screen(view.data_2d, *size).astype(np.float32)
    positions = view.data_3d if options.compat else view.data_3d / 1000
    return LiftingSequence(
        subject, action, number, places, rooted(positions, root), None, size, split, view.valid
    )  # fmt: skip


# --- Synthetic people --------------------------------------------------------------------------------------


def _synthetic_humans(folder: Path, options: Options) -> LiftingData:
    """The annotations of their pictures, exact; this form is that of Human3.6M's annotations, too."""
    skeleton, source = _on(BODY, options), get_skeleton("h36m_32")
    names, joints = action_names(folder), [source.index(joint) for joint in BODY.joints]
    sequences = []
    with AnnotationFile.open(folder) as file:
        found = sorted({video.subject for video in file.videos})
        sides = {f"S{s}": split_sides(s, 0, use_person_split=True) for s in found}
        usual = [[s for s, side in sides.items() if split in side] for split in ("train", "test")]
        subjects = chosen_subjects(sides, options, *usual)
        for video in file.videos:
            subject, rows = f"S{video.subject}", (video.start, video.stop)
            if subject not in subjects:
                continue
            _, _, action = video_name(file.path, video, names).partition("/")
            size = file.rows("image_size", *rows)[0]
            fx, cx, fy, cy = file.rows("intrinsics_univ", *rows)[0].tolist()
            lens = Camera(int(size[0]), int(size[1]), fx, fy, cx, cy, np.eye(3), np.zeros(3))
            positions = file.rows("keypoints_3d", *rows, joints) / 1000
            sequences.append(
                LiftingSequence(
                    subject, action.replace("-", " "), str(video.camera),
                    _normalized(file.rows("keypoints", *rows, joints), lens), rooted(positions, 0),
                    lens.intrinsic, (lens.width, lens.height), subjects[subject],
                )
            )  # fmt: skip
    train, validation, test = arranged(sequences, options, lambda s: f"{s.subject} {s.action}")
    return LiftingData("SyntheticHumans", train, validation, test, skeleton, BODY, 2, FPS / options.downsample)


# --- Motion capture ----------------------------------------------------------------------------------------


def _mocap(folder: Path, options: Options) -> LiftingData:
    """Training motions stay in the world; the others are seen once, by a camera drawn from the seed."""
    motions = open_motions(folder)
    skeleton = get_skeleton(options.skeleton_in or "h36m_17")
    if skeleton.name not in INPUTS:
        raise InputError(f"skeleton_in is '{skeleton.name}', expected {' or '.join(INPUTS)}")
    wanted = {"train": options.subjects_train, "test": options.subjects_test}
    known = sorted({clip.subject for clip in motions.index})
    for subject in [*(wanted["train"] or ()), *(wanted["test"] or ())]:
        if subject not in known:
            raise InputError(f"{folder}: there is no subject '{subject}'{nearest(subject, known)}")
    sequences = []
    for clip in motions.index:
        if (subjects := wanted[clip.split]) is None or clip.subject in subjects:
            positions = _in_world(motions.positions[clip.start : clip.stop], motions.skeleton)
            sequences.append(
                WorldSequence(clip.subject, clip.action, positions, clip.split, clip.source or clip.clip)
            )
    train, *others = arranged(sequences, options, lambda s: s.source)
    n_features = 3 if options.scores else 2
    validation, test = (
        [
            _seen(world, skeleton, n_features, options.noise, np.random.default_rng([options.seed, 22, part, n]))
            for n, world in enumerate(worlds)
        ]
        for part, worlds in enumerate(others)
    )
    fps = motions.fps / options.downsample
    return LiftingData(motions.name, train, validation, test, skeleton, BODY, n_features, fps)


def _in_world(positions: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(T, J, 3) on any skeleton to (T, 22, 3) on WORLD; a face is made for a head that has none."""
    if skeleton == WORLD:
        return positions
    body = convert_positions(positions, skeleton, BODY)
    at = {joint: body[:, j] for j, joint in enumerate(BODY.joints)}
    frame = face_frame(at["head"] - at["thorax"], at["left_shoulder"] - at["right_shoulder"])
    return np.concatenate([body, place_face(at["head"], at["thorax"], frame)], axis=1).astype(np.float32)


def _seen(
    world: WorldSequence,
    skeleton: Skeleton,
    n_features: int,
    noise: DetectorNoise | None,
    random: np.random.Generator,
    ranges: CameraRanges | None = None,
) -> LiftingSequence:
    bodies = world.positions[None]
    cameras = random_cameras(bodies, random, ranges)
    points = cameras.to_camera(bodies)
    keypoints = detect(points, cameras, skeleton, n_features, noise, random)
    width, height = cameras.size[0].tolist()
    return LiftingSequence(
        world.subject, world.action, "", keypoints[0], rooted(points[0, :, : BODY.n_joints], 0),
        cameras.intrinsic[0], (width, height), world.split,
    )  # fmt: skip


def filmed(
    data: LiftingData,
    epoch: int,
    seed: int = 0,
    *,
    views: int = 1,
    longest: int = 300,
    cameras: CameraRanges | None = None,
    noise: DetectorNoise | None = None,
    exact: float = 0.0,
) -> LiftingData:
    """The training motions of mocap as cameras see them in one epoch: a function of (seed, epoch).

    Windows of these share the camera of their piece, and are gathered many times faster than windows of which
    each has a camera of its own.

    Arguments:
        data: of "mocap".
        epoch: every epoch has other cameras, other noise, and other pieces.
        views: cameras for each piece.
        longest: frames of a piece, at most; longer motions are cut, the first cut lying anywhere.
        cameras, noise: how cameras stand, and what the detector gets wrong.
        exact: share of the pieces in which it gets nothing wrong, and is sure of all.

    Raises:
        InputError: the motions have been filmed already.
    """
    if not all(isinstance(world, WorldSequence) for world in data.train):
        raise InputError(f"{data.name}: its training sequences have cameras of their own")
    train = []
    for number, world in enumerate(data.train):
        random = np.random.default_rng([seed, epoch, 2, number])
        cuts = np.arange(random.integers(longest), len(world), longest) if len(world) > longest else []
        for piece in np.split(world.positions, cuts):
            for _ in range(views if len(piece) else 0):
                one = dataclasses.replace(world, positions=piece)
                errs = None if exact and random.random() < exact else noise
                train.append(_seen(one, data.skeleton_in, data.n_features, errs, random, cameras))
    return dataclasses.replace(data, train=train)


DATASETS: dict[str, Callable[[Path, Options], LiftingData]] = {
    "Human3.6M": _human36m,
    "MPI-INF-3DHP": _mpi_inf_3dhp,
    "SyntheticHumans": _synthetic_humans,
    "mocap": _mocap,
}
