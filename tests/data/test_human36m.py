import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bdsynth.datasets.human36m import CAMERA_IDS, camera, open_human36m
from bdsynth.datasets.prepared import PreparedDataset
from bdsynth.datasets.windows import MotionWindows
from bdsynth.errors import InputError
from bdsynth.formats.keypoints_json import Detection
from bdsynth.formats.lifting_npz import (
    align_keypoints,
    read_keypoints_2d,
    read_positions_3d,
    read_scores,
    with_scores,
)
from bdsynth.skeletons import get_skeleton
from data.h36m_annotate import make_annotations
from data.h36m_views import find_views
from data.human36m import Take, lifting_pixels, main
from data.human36m_detections import follow_person

GOLDEN = Path(__file__).parent.parent / "golden" / "lifting" / "h36m_cameras.npz"
SKELETON, LIFTED = get_skeleton("h36m_32"), get_skeleton("h36m_17")
KEPT = [SKELETON.index(joint) for joint in LIFTED.joints]


@pytest.fixture(scope="module")
def raw(raw_h36m_maker, tmp_path_factory):
    return raw_h36m_maker(
        tmp_path_factory.mktemp("raw"), subjects=(1, 11), actions=("Directions", "WalkingDog", "TakingPhoto"),
        frames=12, videos=False, optional=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(raw, tmp_path_factory):
    output = tmp_path_factory.mktemp("made") / "lifting"
    assert main(["--datadir", str(raw.folder), "--output", str(output)]) == 0
    return output


def test_the_lifting_files(raw, made):
    assert sorted(p.name for p in made.iterdir()) == [
        "data_2d_h36m_gt.npz", "data_3d_h36m.npz", "human36m"
    ]  # fmt: skip
    positions = read_positions_3d(made / "data_3d_h36m.npz")
    takes = {"Directions", "Directions 1", "Photo", "Photo 1", "WalkDog", "WalkDog 1"}
    assert set(positions) == {"S1", "S11"}
    assert set(positions["S1"]) == takes and set(positions["S11"]) == takes - {"Directions"}
    pixels = align_keypoints(read_keypoints_2d(made / "data_2d_h36m_gt.npz"), positions)
    assert pixels.skeleton == LIFTED and pixels.layout is None
    assert pixels.left == (4, 5, 6, 11, 12, 13) and pixels.right == (1, 2, 3, 14, 15, 16)
    for subject, ours, base in ((1, "WalkDog 1", "WalkingDog 1"), (11, "Photo", "TakingPhoto")):
        world = raw.world[subject, base] / np.float32(1000)
        np.testing.assert_array_equal(positions[f"S{subject}"][ours], world)
        for number, seen in zip(CAMERA_IDS, pixels.positions[f"S{subject}"][ours], strict=True):
            np.testing.assert_allclose(seen, camera(subject, number).project(world[:, KEPT]), atol=1e-4)


def test_pixels_are_those_of_the_original():
    golden = np.load(GOLDEN)
    take = Take(9, 14, 2, "Walking", golden["S9_Walking_positions_3d"], True)
    ours = lifting_pixels([take]).positions["S9"]["Walking"]
    np.testing.assert_allclose(ours, golden["S9_Walking_positions_2d"], atol=5e-4)


def test_motions(raw, made):
    dataset = PreparedDataset.open(made / "human36m", verify=True)
    assert dataset.skeleton == LIFTED and dataset.fps == 50 and "academic" in dataset.licence
    assert dataset.actions == ("Directions", "TakingPhoto", "WalkingDog")
    assert {(c.subject, c.split) for c in dataset.index} == {("S1", "train"), ("S11", "test")}
    assert len(dataset) == 12  # the world positions of the take with the damaged video are whole
    motion = dataset.motion("S1/TakingPhoto-1")
    np.testing.assert_allclose(motion.positions, raw.world[1, "TakingPhoto 1"][:, KEPT] / 1000, atol=1e-6)
    assert len(MotionWindows(dataset, "train", length=4))


def test_same_clips_as_the_annotation_file(raw, made, tmp_path):
    """Two ways from the download to motions: the prepared folder and annot_export.h5."""
    make_annotations(raw.folder, find_views(raw.folder, videos=False)[0], {}, tmp_path / "annot_export.h5")
    by_file, prepared = open_human36m(tmp_path), PreparedDataset.open(made / "human36m")
    assert [(c.clip, c.action, c.split, c.start, c.stop) for c in by_file.index] == [
        (c.clip, c.action, c.split, c.start, c.stop) for c in prepared.index
    ]
    same = [by_file.skeleton.index(joint) for joint in LIFTED.joints]
    np.testing.assert_allclose(by_file.positions[:, same], prepared.positions, atol=1e-6)


def test_universal_poses_stand_in_for_missing_world_positions(raw, made, tmp_path, capsys):
    folder = tmp_path / "bare"
    shutil.copytree(raw.folder / "extracted", folder / "extracted")
    shutil.rmtree(folder / "extracted/S1/Poses_D3_Positions")
    assert main(["--datadir", str(folder), "--what", "npz"]) == 0
    out = capsys.readouterr().out
    assert "world positions of 6 from Poses_D3_Positions, of 6 from universal poses" in out
    ours = read_positions_3d(folder / "prepared" / "data_3d_h36m.npz")
    theirs = read_positions_3d(made / "data_3d_h36m.npz")
    np.testing.assert_allclose(ours["S1"]["Photo 1"], theirs["S1"]["Photo 1"], atol=1e-5)
    assert not (folder / "prepared" / "human36m").exists()


def test_a_second_run_continues(raw, tmp_path, capsys):
    args = ["--datadir", str(raw.folder), "--output", str(tmp_path / "out")]
    assert main([*args, "--what", "motions"]) == 0
    stamp = (tmp_path / "out/human36m/index.json").stat().st_mtime_ns
    assert main(args) == 0
    assert "is there already; --force makes it anew" in capsys.readouterr().out
    assert (tmp_path / "out/human36m/index.json").stat().st_mtime_ns == stamp
    before = (tmp_path / "out/data_3d_h36m.npz").stat().st_mtime_ns
    assert main(args) == 0
    assert (tmp_path / "out/data_3d_h36m.npz").stat().st_mtime_ns == before
    assert main([*args, "--force"]) == 0
    assert (tmp_path / "out/data_3d_h36m.npz").stat().st_mtime_ns > before
    assert (tmp_path / "out/human36m/index.json").stat().st_mtime_ns > stamp


def test_bad_files_are_told_at_once(raw, tmp_path, capsys):
    folder = tmp_path / "bad"
    shutil.copytree(raw.folder / "extracted", folder / "extracted")
    for name in ("Directions 1", "TakingPhoto"):
        (folder / f"extracted/S1/Poses_D3_Positions/{name}.cdf").write_bytes(b"bad")
    assert main(["--datadir", str(folder)]) == 2
    told = capsys.readouterr().err
    assert "Directions 1.cdf" in told and "TakingPhoto.cdf" in told and "2 bad files" in told
    assert not (folder / "prepared").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "holds no unpacked Human3.6M"),
        (["--detections", "x"], "--detections and --detector go together"),
        (["--detections", "x", "--detector", "../x"], "expected letters, digits and underscores"),
    ],
)
def test_one_line_for_bad_options(tmp_path, capsys, options, message):
    assert main(["--datadir", str(tmp_path), *options]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1 and told.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


def test_unusable_places(raw, tmp_path, capsys):
    assert main(["--datadir", str(tmp_path / "nowhere")]) == 2
    (tmp_path / "out" / "human36m").mkdir(parents=True)
    (tmp_path / "out" / "human36m" / "diary.txt").write_text("mine")
    assert main(["--datadir", str(raw.folder), "--output", str(tmp_path / "out"), "--force"]) == 2
    assert "is not a prepared dataset" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(["--datadir", str(raw.folder), "--output", str(tmp_path / "file"), "--what", "npz"]) == 2


# --- Detections --------------------------------------------------------------------------------------------


def alphapose(pixels, frames, score=2.0, sure=0.9):
    """Entries of an AlphaPose file: pixels (T, 17, 2) of COCO, of these frames."""
    return [
        {
            "image_id": f"img_{t + 1:06d}.jpg", "category_id": 1, "score": score,
            "keypoints": np.column_stack([pixels[t], np.full(17, sure)]).ravel().tolist(),
        }
        for t in frames
    ]  # fmt: skip


def found(place, subject, t=14):
    """What the detector sees: (T, 17, 2), other numbers for every view."""
    return np.random.default_rng([place, subject]).uniform(0, 1000, (t, 17, 2))


@pytest.fixture
def detections(raw, tmp_path):
    folder = tmp_path / "alphapose"
    for subject, base in raw.world:
        for place, number in enumerate(CAMERA_IDS):
            name = f"{base}.{number}.json"
            path = folder / f"S1_{name}" if subject == 1 else folder / "S11" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = found(place, subject)
            entries = alphapose(pixels, [t for t in range(14) if t not in (0, 5, 6)])
            entries += alphapose(pixels + 500, [3, 4], score=1.0)  # somebody else
            path.write_text(json.dumps(entries))
    return folder


def test_detections(raw, made, detections, tmp_path, capsys):
    shutil.copytree(made, tmp_path / "out")
    args = ["--datadir", str(raw.folder), "--output", str(tmp_path / "out")]
    args += ["--detections", str(detections), "--detector", "alphapose"]
    assert main(args) == 0
    pixels = read_keypoints_2d(tmp_path / "out" / "data_2d_h36m_alphapose.npz")
    scores = read_scores(tmp_path / "out" / "score.pkl")
    assert pixels.skeleton == get_skeleton("coco_17") and pixels.layout == "coco"
    positions = read_positions_3d(made / "data_3d_h36m.npz")
    joined = with_scores(align_keypoints(pixels, positions), scores)
    assert joined.positions["S1"]["Photo 1"][3].shape == (12, 17, 3)
    assert len(scores) == 4 * 11 and "S11_Directions.0" not in scores
    for subject, action, place in ((1, "Photo 1", 3), (11, "WalkDog", 0)):
        wanted = found(place, subject)
        ours = joined.positions[f"S{subject}"][action][place]
        seen = [t for t in range(12) if t not in (0, 5, 6)]
        np.testing.assert_allclose(ours[seen, :, :2], wanted[seen], atol=1e-3)
        assert (ours[seen, :, 2] > 0.89).all() and (ours[[0, 5, 6], :, 2] == 0).all()
        np.testing.assert_allclose(ours[0, :, :2], wanted[1], atol=1e-3)  # held
        np.testing.assert_allclose(ours[5, :, :2], (2 * wanted[4] + wanted[7]) / 3, atol=1e-3)
    assert main(args) == 0 and "is there already" in capsys.readouterr().out
    assert main([*args[:-1], "openpose"]) == 2
    assert "score.pkl: is there already, of another detector" in capsys.readouterr().err


def test_views_without_detections_are_named_at_once(raw, detections, tmp_path, capsys):
    (detections / "S1_TakingPhoto 1.54138969.json").unlink()
    (detections / "S11" / "WalkingDog.60457274.json").write_text(json.dumps(alphapose(found(0, 1), [13])))
    args = ["--datadir", str(raw.folder), "--output", str(tmp_path / "out"), "--what", "npz"]
    assert main([*args, "--detections", str(detections), "--detector", "a"]) == 2
    told = capsys.readouterr().err
    assert "S1/TakingPhoto 1.54138969.json: no such file" in told
    assert "WalkingDog.60457274.json: nose" in told and "found in no frame" in told
    assert "2 of 44 views have no usable detections" in told
    assert not (tmp_path / "out" / "score.pkl").exists()


def test_other_joints_of_detectors_and_missing_ones():
    """OpenPose's order becomes COCO's by name; a joint that one frame lacks comes from its neighbors."""
    openpose, coco = get_skeleton("openpose_18"), get_skeleton("coco_17")
    people = []
    for t in range(3):
        pixels = np.arange(36, dtype=np.float32).reshape(18, 2) + 100 * t
        sure = np.full(18, 0.5, np.float32)
        if t == 1:
            pixels[openpose.index("left_knee")], sure[openpose.index("left_knee")] = np.nan, 0
        people.append(Detection(f"take_{t:012d}", openpose, pixels, sure, None, 0.5))
    pixels, sure = follow_person(people, 3)
    same = [openpose.index(joint) for joint in coco.joints]
    np.testing.assert_allclose(pixels[1], (np.arange(36).reshape(18, 2) + 100)[same])
    assert sure[1, coco.index("left_knee")] == 0 and (sure > 0).sum() == 3 * 17 - 1
    with pytest.raises(InputError, match="'take' has no frame number"):
        follow_person([dataclasses.replace(people[0], image="take")], 3)
