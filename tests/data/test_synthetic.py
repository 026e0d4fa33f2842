"""The command that makes data sets of synthetic people."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bdsynth.datasets.motions import open_motions
from bdsynth.errors import InputError
from data.synthetic import main, make_synthetic
from data.synthetic_joints import make_joints
from data.synthetic_plan import find_clips, plan

CLIPS = Path(__file__).parents[2] / "bdsynth" / "assets" / "clips"


@pytest.fixture(scope="module")
def motions(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("motions")
    for name in ("cmu_walking", "cmu_running", "cmu_jumping", "cmu_soccer"):
        shutil.copy(CLIPS / f"{name}.npz", folder)
    return folder


@pytest.fixture(scope="module")
def made(motions: Path, tmp_path_factory) -> Path:
    for name in ("warp", "anny"):
        pytest.importorskip(name, reason="synthetic people need the extra bdsynth[humans]")
    folder = tmp_path_factory.mktemp("made") / "set"
    command = f"--motions {motions} --datadir {folder} --people 2 --frames-per-person 3 --size 96 --cameras 2"
    assert main(command.split()) == 0
    return folder


def test_every_person_and_clip_is_on_one_side(motions: Path) -> None:
    people = plan(find_clips(motions), people=20, frames=300, seed=1)
    assert [p.split for p in people].count("test") == 4
    assert len({p.subject for p in people}) == len({p.seed for p in people}) == 20
    clips = {side: {t.clip.name for p in people if p.split == side for t in p.takes} for side in ("train", "test")}
    assert clips["train"] and clips["test"] and not clips["train"] & clips["test"]
    assert {p.subject for p in people if p.split == "test"} == {9, 11, 901, 902}
    assert [p.subject for p in people][:8] == [1, 5, 6, 7, 9, 8, 101, 102]
    assert all(sum(t.stop - t.start for t in p.takes) == 300 for p in people)
    folders = [t.folder for p in people for t in p.takes]
    assert len(folders) == len(set(folders))
    assert people == plan(find_clips(motions), people=20, frames=300, seed=1)


def test_it_is_read_as_human36m(made: Path) -> None:
    from PIL import Image

    from bdsynth.datasets.human36m_pictures import Human36mPictures

    pictures = Human36mPictures(made)
    assert len(pictures) == 12 and pictures.train.sum() == pictures.test.sum() == 6
    assert set(pictures.persons) == {1, 9}
    joints = pictures.joints(np.arange(12))
    on_body = []
    for row in range(12):
        path = pictures.path(row)
        with Image.open(path) as image:
            assert image.size == (96, 96)
        mask = Path(str(path).replace("imageSequence", "maskSequence")).with_suffix(".png")
        with Image.open(mask) as image:
            body = np.asarray(image)
        x, y = joints[row].astype(int).T
        on_body.append((body[y, x] > 0).mean())
    assert np.mean(on_body) > 0.95


def test_annotations_agree_with_each_other(made: Path) -> None:
    from bdsynth.formats.h36m_annotations import AnnotationFile

    with AnnotationFile.open(made) as file:
        assert len(file.videos) == 4
        world, seen = file.rows("keypoints_3d_world", 0, 12), file.rows("keypoints_3d", 0, 12)
        extrinsics, lens = file.rows("extrinsics_univ", 0, 12), file.rows("intrinsics_univ", 0, 12)
        pixels = file.rows("keypoints", 0, 12)
    moved = np.einsum("nij,nkj->nki", extrinsics[:, :, :3], world) + extrinsics[:, None, :, 3]
    assert np.abs(moved - seen).max() < 0.5  # millimetres
    projected = seen[..., :2] / seen[..., 2:] * lens[:, None, [0, 2]] + lens[:, None, [1, 3]]
    assert np.abs(projected - pixels).max() < 0.01


def test_the_same_command_continues_and_another_is_refused(made: Path, motions: Path, capsys) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*.jpg")}
    assert len(before) == 12
    lost = next(path for path in before if "S9" in path.parts)
    take = lost.parents[2]
    pixels = lost.read_bytes()
    shutil.rmtree(take)
    (made / "processed" / "all" / "annot_export.h5").unlink()
    command = f"--motions {motions} --datadir {made} --people 2 --frames-per-person 3 --size 96 --cameras 2"
    assert main(command.split()) == 0
    after = {path: path.stat().st_mtime_ns for path in made.rglob("*.jpg")}
    assert lost.read_bytes() == pixels
    assert all(after[path] == before[path] for path in before if take not in path.parents)
    assert (made / "processed" / "all" / "annot_export.h5").is_file()
    assert not [path for path in made.rglob(".*")]
    assert main([*command.split(), "--seed", "1"]) == 2
    assert "other arguments or motions" in capsys.readouterr().err


def test_the_index_says_who_is_who(made: Path) -> None:
    index = json.loads((made / "processed" / "all" / "synthetic.json").read_text())
    assert [person["subject"] for person in index["people"]] == [1, 9]
    for person in index["people"]:
        for take in person["takes"]:
            assert (made / "processed" / "all" / take["folder"] / "imageSequence").is_dir()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"people": 1}, "at least 2"),
        ({"motions": Path("nowhere")}, "no such folder"),
        ({"motions": "empty"}, "no motion file"),
    ],
)
def test_bad_arguments_are_told(tmp_path: Path, motions: Path, change: dict, words: str) -> None:
    pytest.importorskip("anny", reason="synthetic people need the extra bdsynth[humans]")
    (tmp_path / "empty").mkdir()
    given = {"motions": motions, "people": 2} | change
    given["motions"] = tmp_path / given["motions"] if isinstance(given["motions"], str) else given["motions"]
    with pytest.raises(InputError, match=words):
        make_synthetic(datadir=tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_bad_motion_files_are_told_together(tmp_path: Path) -> None:
    for name in ("a.npz", "b.bvh"):
        (tmp_path / name).write_text("nothing")
    with pytest.raises(InputError, match=r"(?s)a\.npz.*b\.bvh.*2 bad motion files"):
        find_clips(tmp_path)


def test_another_folder_is_not_touched(tmp_path: Path, motions: Path) -> None:
    pytest.importorskip("anny", reason="synthetic people need the extra bdsynth[humans]")
    other = tmp_path / "out" / "processed" / "all" / "S1"
    other.mkdir(parents=True)
    with pytest.raises(InputError, match="holds something else"):
        make_synthetic(motions, tmp_path / "out", people=2, frames_per_person=2)
    assert [path.name for path in other.parent.iterdir()] == ["S1"]


def test_backgrounds_are_those_asked_for(motions, tmp_path):
    pytest.importorskip("anny", reason="synthetic people need the extra bdsynth[humans]")
    make_synthetic(motions, tmp_path, people=2, frames_per_person=2, size=32, cameras=1, backgrounds=("plain",))
    from PIL import Image

    for path in (tmp_path / "processed" / "all").glob("S*/*/imageSequence/*/img_000001.jpg"):
        picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
        corners = picture[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert np.ptp(corners, axis=0).max() <= 12, path  # one color, as far as JPEG keeps it


def test_cameras_that_follow_see_somebody_who_stays(made, motions, tmp_path):
    from bdsynth.formats.h36m_annotations import AnnotationFile

    command = f"--motions {motions} --datadir {tmp_path} --people 2 --frames-per-person 3 --size 96 --cameras 2"
    assert main([*command.split(), "--follow"]) == 0

    def heights(folder):
        with AnnotationFile.open(folder) as file:
            return np.ptp(file.rows("keypoints", 0, 12)[..., 1], axis=1).mean()

    assert heights(tmp_path) > 1.15 * heights(made)


# --- Joints only -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def joints(motions: Path, tmp_path_factory) -> Path:
    for name in ("warp", "anny"):
        pytest.importorskip(name, reason="synthetic people need the extra bdsynth[humans]")
    folder = tmp_path_factory.mktemp("joints") / "set"
    command = f"--motions {motions} --datadir {folder} --people 3 --frames-per-person 90 --joints-only --seed 2"
    assert main(command.split()) == 0
    return folder


def test_joints_alone_are_a_prepared_data_set(joints: Path, motions: Path, capsys) -> None:
    data = open_motions(joints)
    assert data.skeleton.name == "h36m_coco_22" and data.fps == 50 and len(data.positions) == 270
    people = plan(find_clips(motions), people=3, frames=90, seed=2, longest=300)
    takes = [(take, person) for person in people for take in person.takes]
    for clip, (take, person) in zip(data.index, takes, strict=True):
        assert (clip.clip, clip.action, clip.source) == (take.folder, take.clip.action, take.clip.name)
        assert (clip.subject, clip.split) == (f"S{person.subject}", person.split)
        assert clip.clip.startswith(f"{clip.subject}/")
    assert {clip.source for clip in data.clips("train")}.isdisjoint(clip.source for clip in data.clips("test"))
    assert main(["--motions", str(motions), "--datadir", str(joints), "--people", "3", "--joints-only"]) == 2
    assert "exists already; give another --datadir" in capsys.readouterr().err


def test_joints_alone_are_those_of_the_bodies(joints: Path, motions: Path) -> None:
    from bdsynth.humans.actor import Actor

    data = open_motions(joints)
    clip = data.index[0]
    actor = Actor.from_seed(2 * 1_000_003)  # the first person of seed 2
    take = plan(find_clips(motions), people=3, frames=90, seed=2, longest=300)[0].takes[0]
    wanted = actor.keypoints(take.clip.motion(take.start, take.stop)).positions
    found = data.positions[clip.start : clip.stop]
    difference = wanted - found
    assert np.ptp(difference, axis=1).max() < 1e-3  # the same pose,
    assert np.abs(difference[..., :2]).max() < 1e-3
    assert np.abs(difference[..., 2]).max() < 0.06  # without its soles


def test_joints_alone_are_reproducible(joints: Path, motions: Path, tmp_path: Path) -> None:
    make_joints(motions, tmp_path / "again", people=3, frames_per_person=90, seed=2)
    assert (open_motions(tmp_path / "again").positions == open_motions(joints).positions).all()
    with pytest.raises(InputError, match="no such folder"):
        make_joints(tmp_path / "nowhere", tmp_path / "out")
