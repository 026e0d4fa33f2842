"""Human3.6M: who does what before which camera, and its poses as a data set of motions.

The poses come from ``annot_export.h5``, the annotation file of the behavior-driven synthesis
(:mod:`bdsynth.formats.h36m_annotations`); ``python -m data.process`` makes one from the raw download.
"""

from __future__ import annotations

__all__ = [
    "ACTIONS", "ACTION_SPLITS", "CAMERA_IDS", "FPS", "JOINTS_13", "JOINTS_17", "LICENCE", "SUBJECTS",
    "TEST_SUBJECTS", "TRAIN_SUBJECTS", "action_names", "camera", "find_annotations", "open_human36m",
    "split_sides",
]  # fmt: skip

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from bdsynth.camera import Camera
from bdsynth.datasets.prepared import Clip, PreparedDataset, training_statistics
from bdsynth.errors import InputError, nearest
from bdsynth.formats.h36m_annotations import AnnotationFile, Video, find_annotations
from bdsynth.skeletons import get_skeleton

FPS = 50.0
LICENCE = "Human3.6M: academic use only, each user registers at http://vision.imar.ro/human3.6m"

SUBJECTS = (1, 5, 6, 7, 8, 9, 11)
TRAIN_SUBJECTS = (1, 5, 6, 7, 8)
TEST_SUBJECTS = (9, 11)
ACTIONS = dict(
    enumerate(
        ("Directions", "Discussion", "Eating", "Greeting", "Phoning", "Posing", "Purchases", "Sitting",
         "SittingDown", "Smoking", "TakingPhoto", "Waiting", "Walking", "WalkingDog", "WalkTogether"),
        start=2,
    )
)  # fmt: skip
CAMERA_IDS = (54138969, 55011271, 58860488, 60457274)

# The test actions of the splits by action, and the published training actions, some of which are test actions.
ACTION_SPLITS = {
    "default": (8, 12, 13, 14),
    "generalize_sitting": (8, 9, 10),
    "generalize_walking": (14, 15, 16),
}
_PUBLISHED_TRAIN_ACTIONS = (2, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 16)

# Which of the 32 joints of the release make the 17 of h36m_17_compvis and the 13 of h36m_13_compvis.
JOINTS_17 = (1, 2, 3, 6, 7, 8, 11, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
JOINTS_13 = (1, 2, 3, 6, 7, 8, 15, 17, 18, 22, 25, 26, 30)


def camera(subject: int, camera_id: int) -> Camera:
    """A camera of Human3.6M as it stood for a subject, in metres, from the parameters of the release.

    Raises:
        InputError: no such subject or camera; subjects 2, 3 and 4 have no published ones.
    """
    if subject not in SUBJECTS or camera_id not in CAMERA_IDS:
        raise InputError(
            f"Human3.6M: no parameters of camera {camera_id} for S{subject}, expected one of "
            f"{', '.join(map(str, CAMERA_IDS))} and S{', S'.join(map(str, SUBJECTS))}"
        )
    table = _camera_table()
    lens = table["cameras"][str(camera_id)]
    place = table["subjects"][f"S{subject}"][str(camera_id)]
    return Camera.from_h36m(
        lens["intrinsic"], place["orientation"], place["translation"], lens["width"], lens["height"]
    )


@cache
def _camera_table() -> dict:
    return json.loads(Path(__file__).with_name("h36m_cameras.json").read_text(encoding="utf-8"))


# --- Splits ------------------------------------------------------------------------------------------------


def split_sides(
    subject: int, action: int, use_person_split: bool, action_split_type: str = "default", compat: bool = False
) -> tuple[str, ...]:
    """On which sides of the split a video stands: ("train",), ("test",), or on none.

    Arguments:
        subject, action: their numbers.
        use_person_split: by subject (train 1, 5, 6, 7, 8, test 9, 11; of further synthetic people 101 to 899 and
            from 901 on); else by action.
        action_split_type: which actions are test actions, a name of ACTION_SPLITS.
        compat: the published training actions, which contain test actions: those stand on both sides.

    Raises:
        InputError: no action split has that name.
    """
    if action_split_type not in ACTION_SPLITS:
        hint = nearest(action_split_type, ACTION_SPLITS)
        raise InputError(
            f"no action split is named '{action_split_type}'{hint}, expected {', '.join(ACTION_SPLITS)}"
        )
    if use_person_split:
        train = subject in TRAIN_SUBJECTS or 100 < subject < 900
        test = subject in TEST_SUBJECTS or subject > 900
    else:
        test = action in ACTION_SPLITS[action_split_type]
        train = action in _PUBLISHED_TRAIN_ACTIONS and (compat or not test)
    return ("train",) * train + ("test",) * test


def action_names(datapath: str | Path) -> dict[int, str]:
    """Names of the actions by their numbers: those of Human3.6M, or of the synthetic people that lie there.

    Raises:
        InputError: the synthetic.json beside annot_export.h5 is broken.
    """
    path = find_annotations(datapath)
    if path is None or not path.with_name("synthetic.json").is_file():
        return ACTIONS
    path = path.with_name("synthetic.json")
    try:
        return {int(number): str(name) for number, name in json.loads(path.read_text("utf-8"))["actions"].items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(f"{path}: field 'actions' cannot be read ({error!r})") from None


def chosen_actions(names: Mapping[int, str], all_actions: bool, actions_to_use: Sequence[str]) -> tuple[str, ...]:
    """Names of actions in the order of their numbers; raises InputError for unknown ones, or none."""
    if all_actions:
        return tuple(names.values())
    for name in actions_to_use:
        if name not in names.values():
            hint = nearest(name, names.values())
            raise InputError(f"there is no action '{name}'{hint}, expected {', '.join(names.values())}")
    if not actions_to_use:
        raise InputError("actions_to_use is empty, expected names of actions, or all_actions")
    return tuple(name for name in names.values() if name in actions_to_use)


# --- Motions -----------------------------------------------------------------------------------------------


def open_human36m(
    datapath: str | Path,
    *,
    use_person_split: bool = True,
    action_split_type: str = "default",
    small_joint_model: bool = False,
    all_actions: bool = True,
    actions_to_use: Sequence[str] = (),
    compat: bool = False,
) -> PreparedDataset:
    """The poses of Human3.6M as a data set of motions, held in memory (behavior specification 2.3).

    World positions are the same for all cameras of a take, so the rows of the smallest camera number are read.

    Arguments:
        datapath: annot_export.h5, the folder that holds it, or the root of Human3.6M (then processed/all).
        use_person_split: train on subjects 1, 5, 6, 7, 8 and test on 9, 11; else split by action.
        action_split_type: of the split by action: "default", "generalize_sitting" or "generalize_walking".
        small_joint_model: 13 joints (h36m_13_compvis) in place of 17 (h36m_17_compvis).
        all_actions: use all 15; else those of ``actions_to_use``, by name.
        compat: as published. Statistics are over all frames of the file, test subjects included; in the split
            by action the test actions that are also training actions appear twice, their names for testing
            ending in "@test"; class labels are action numbers minus 2 whichever actions are used.

    Returns:
        ``positions`` holds every frame of that camera, (N, J, 3) float32 metres, in the order of the file;
        ``index`` the clips that are used, "S1/Directions-1"; ``actions`` are in the order of their numbers.

    Raises:
        InputError: no annotation file or a broken one, an unknown subject or action in it, positions that are
            not finite, an unknown split or action, or a selection that leaves no clip.
    """
    known = action_names(datapath)
    chosen = chosen_actions(known, all_actions, actions_to_use)
    split_sides(1, 2, use_person_split, action_split_type)  # refuses a wrong name before anything is read
    joints = JOINTS_13 if small_joint_model else JOINTS_17
    with AnnotationFile.open(datapath) as file:
        first_camera = min(video.camera for video in file.videos)
        videos = [video for video in file.videos if video.camera == first_camera]
        names = [video_name(file.path, video, known) for video in videos]
        positions = np.empty((sum(video.n_frames for video in videos), len(joints), 3), np.float32)
        spans, start = [], 0
        for video, name in zip(videos, names, strict=True):
            stop = start + video.n_frames
            positions[start:stop] = file.rows("keypoints_3d_world", video.start, video.stop, joints)
            if not np.isfinite(positions[start:stop]).all():
                raise InputError(f"{file.path}: keypoints_3d_world of {name} is not finite")
            spans.append((start, stop))
            start = stop
    positions /= 1000
    positions.flags.writeable = False

    clips = []
    for video, name, (start, stop) in zip(videos, names, spans, strict=True):
        action = known[video.action]
        if action not in chosen:
            continue
        for side in split_sides(video.subject, video.action, use_person_split, action_split_type, compat):
            twice = clips and clips[-1].start == start
            clips.append(
                Clip(
                    clip=name + "@test" * bool(twice), action=action, subject=f"S{video.subject}", fps=FPS,
                    split=side, start=start, stop=stop, source=file.path.name,
                )
            )  # fmt: skip
    if not clips:
        raise InputError(f"{file.path}: no video is of the chosen actions and split")
    used = {clip.action for clip in clips}
    all_frames = [Clip("", "", split="train", start=start, stop=stop) for start, stop in spans]
    mean, std = training_statistics(positions, all_frames if compat else clips)
    return PreparedDataset(
        path=file.path.parent,
        name="Human3.6M",
        skeleton=get_skeleton("h36m_13_compvis" if small_joint_model else "h36m_17_compvis"),
        fps=FPS,
        licence=LICENCE,
        positions=positions,
        index=tuple(clips),
        actions=tuple(action for action in known.values() if compat or action in used),
        mean=mean,
        std=std,
        sha256=hashlib.sha256(positions.data).hexdigest(),
    )


def video_name(path: Path, video: Video, names: Mapping[int, str]) -> str:
    """ "S1/Directions-1" for a video of an annotation file; raises InputError for unknown numbers."""
    synthetic = names is not ACTIONS and video.subject > 100
    if not (video.subject in SUBJECTS or synthetic) or video.action not in names:
        raise InputError(f"{path}: {video} is not one of Human3.6M (S1 to S11, actions 2 to 16)")
    return f"S{video.subject}/{names[video.action]}-{video.subaction}"
