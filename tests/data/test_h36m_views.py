"""Which files show which take: names, their order, metadata.xml, and what is missing."""

import os
from pathlib import Path

import numpy as np
import pytest

from bdsynth.datasets.human36m import ACTIONS, CAMERA_IDS
from bdsynth.errors import InputError
from bdsynth.geometry import bone_lengths
from bdsynth.skeletons import get_skeleton
from data.h36m_views import KNOWN_CORRUPT, find_views

POSES, VIDEOS = "Poses_D3_Positions_mono_universal", "Videos"


def lay(folder, subject, *bases, cameras=CAMERA_IDS, parts=((POSES, "cdf"), (VIDEOS, "mp4"))):
    for part, suffix in parts:
        for base in bases:
            for camera in cameras:
                path = folder / "extracted" / f"S{subject}" / part / f"{base}.{camera}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()


def takes(views):
    return {(v.subject, v.action, v.subaction): v.base for v in views}


def test_every_action_by_its_names(tmp_path):
    names = [name for n, name in ACTIONS.items() if n not in (12, 15, 16)]
    lay(tmp_path, 1, *names, *(f"{name} 1" for name in names), "Photo", "Photo 1", "WalkDog", "WalkDog 1")
    lay(tmp_path, 1, "WalkTogether", "WalkTogether 1", "_ALL", "_ALL 1")
    lay(tmp_path, 5, "TakingPhoto 1", "WalkingDog 1", "WalkingTogether 1")
    views, problems = find_views(tmp_path)
    found = takes(views)
    assert not problems and len(views) == 4 * (30 + 3)
    assert {(a, n) for s, a, n in found if s == 1} == {(a, n) for a in range(2, 17) for n in (1, 2)}
    assert found[1, 9, 1] == "Sitting 1" and found[1, 10, 2] == "SittingDown"
    assert found[1, 14, 1] == "Walking 1" and found[1, 15, 2] == "WalkDog" and found[1, 12, 1] == "Photo 1"
    assert (found[5, 12, 1], found[5, 15, 1], found[5, 16, 1]) == (
        "TakingPhoto 1", "WalkingDog 1", "WalkingTogether 1"
    )  # fmt: skip
    first = views[0]
    assert first.name == "S1/Directions-1/54138969"
    assert first.frames == Path("processed/all/S1/Directions-1/imageSequence/54138969")
    assert {v.frames.parts[3] for v in views if v.action in (12, 15, 16) and v.subject == 1} == {
        f"{name}-{n}" for name in ("TakingPhoto", "WalkingDog", "WalkingTogether") for n in (1, 2)
    }
    assert [v.key for v in views] == sorted(v.key for v in views)


def test_the_take_without_a_number_is_the_second(tmp_path):
    lay(
        tmp_path,
        11,
        "Directions",
        "Directions 1",
        "Discussion 3",
        "Discussion 2",
        "Eating",
        "Posing 10",
        "Posing 9",
    )
    views, problems = find_views(tmp_path)
    found = takes(views)
    assert not problems
    assert (found[11, 2, 1], found[11, 2, 2]) == ("Directions 1", "Directions")
    assert (found[11, 3, 1], found[11, 3, 2]) == ("Discussion 2", "Discussion 3")
    assert found[11, 4, 2] == "Eating" and (11, 4, 1) not in found
    assert (found[11, 7, 1], found[11, 7, 2]) == ("Posing 9", "Posing 10")
    assert KNOWN_CORRUPT in [v.key for v in views]


def test_problems_are_told_together(tmp_path):
    lay(tmp_path, 1, "Directions", "Directions 1", "Walking", "Walking 1", "Walking 2", "Juggling 1")
    lay(tmp_path, 9, "Directions 1", cameras=CAMERA_IDS[:3])
    lay(tmp_path, 11, "Directions 1", parts=((POSES, "cdf"),))
    s1 = tmp_path / "extracted/S1"
    (s1 / VIDEOS / "Directions.54138969.mp4").unlink()
    (s1 / POSES / "Directions 1.60457274.cdf").unlink()
    (s1 / VIDEOS / "notes.txt").touch()
    views, problems = find_views(tmp_path)
    assert problems == [
        "S1: 'Juggling 1' is no action of Human3.6M, left out",
        "S1/Walking: has 3 takes, expected 2; left out: 'Walking'",
        f"S1/Directions-1/60457274: {POSES}/Directions 1.60457274.cdf is missing",
        "S1/Directions-2/54138969: Videos/Directions.54138969.mp4 is missing",
        f"S9: camera 60457274 is missing of every take in {POSES}",
        "S9: camera 60457274 is missing of every take in Videos",
        "S11: extracted/S11/Videos has no file of any view",
    ]
    assert len(views) == 16 + 3 + 4
    assert [v.name for v in views if v.video is None and v.subject == 1] == ["S1/Directions-2/54138969"]
    assert find_views(tmp_path, videos=False)[1] == [p for p in problems if "Videos" not in p]


def test_optional_downloads(tmp_path):
    lay(tmp_path, 1, "Directions 1", parts=((POSES, "cdf"), (VIDEOS, "mp4"), ("Poses_D2_Positions", "cdf")))
    world = tmp_path / "extracted/S1/Poses_D3_Positions/Directions 1.cdf"
    world.parent.mkdir()
    world.touch()
    views, _ = find_views(tmp_path)
    assert all(v.world == world for v in views)
    assert views[0].pixels == tmp_path / "extracted/S1/Poses_D2_Positions/Directions 1.54138969.cdf"


def metadata(rows, subjects=("S1", "S5")):
    cells = [["", "", *subjects], *rows]
    table = "".join(f"<tr>{''.join(f'<td>{c}</td>' for c in row)}</tr>" for row in cells)
    return f"<?xml version='1.0'?><metadata><mapping>{table}</mapping></metadata>"


@pytest.mark.parametrize("where", [".", "archives", "extracted"])
def test_metadata_decides(tmp_path, where):
    lay(tmp_path, 1, "Directions", "Directions 1", "Eating 2")
    lay(tmp_path, 5, "Directions 3", "Directions 7")
    (tmp_path / where).mkdir(exist_ok=True)
    rows = [
        ("1", "1", "_ALL 1", "_ALL 1"), ("2", "1", "Directions", "Directions 7"),
        ("2", "2", "Directions 1", "Directions 3"), ("3", "1", "Discussion 1", ""), ("S1", "", "x", "y"),
    ]  # fmt: skip
    (tmp_path / where / "metadata.xml").write_text(metadata(rows))
    views, problems = find_views(tmp_path)
    assert takes(views) == {
        (1, 2, 1): "Directions", (1, 2, 2): "Directions 1", (5, 2, 1): "Directions 7", (5, 2, 2): "Directions 3"
    }  # fmt: skip
    assert problems == [
        "S1/Discussion-1: metadata.xml calls it 'Discussion 1', no file is called so",
        "S1: 'Eating 2' is not in metadata.xml, left out",
    ]


@pytest.mark.parametrize("content, words", [
    ("", "is no XML"),
    ("<metadata>", "is no XML"),
    ("<metadata/>", "no table 'mapping'"),
    ("<metadata><mapping><tr><td>1</td></tr></mapping></metadata>", "no table 'mapping' with a row of subjects"),
    (metadata([("17", "1", "a", "b")]), "names no take"),
    ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', "without DOCTYPE"),
    (metadata([]).encode("utf-16"), "expected plain XML"),
    ("<a>" + "x" * 10_000_000 + "</a>", "at most 10 MB"),
    ("<?xml version='1.0' encoding='nothing'?><a/>", "is no XML"),
])  # fmt: skip
def test_damaged_metadata(tmp_path, content, words):
    path = tmp_path / "metadata.xml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=f"metadata.xml: .*{words}"):
        find_views(tmp_path)


def test_nothing_there(tmp_path):
    assert find_views(tmp_path) == ([], [])
    assert find_views(tmp_path / "nowhere") == ([], [])


def test_the_made_up_person(raw_h36m_maker, tmp_path):
    """What the tests of Human3.6M look at: a person of constant bones who walks where all cameras see him."""
    from bdsynth.datasets.human36m import camera
    from bdsynth.formats.cdf import read_cdf_pose

    made = raw_h36m_maker(
        tmp_path, subjects=(9,), actions=("Walking",), takes=1, frames=60, videos=False, optional=True
    )
    world = made.world[9, "Walking 1"]
    assert bone_lengths(world, get_skeleton("h36m_32").parents).std(0).max() < 0.01  # mm
    assert 1600 < world[:, :, 2].max() < 1750 and -30 < world[:, :, 2].min() < 60
    assert np.abs(world[..., :2]).max() < 1300
    views, _ = find_views(tmp_path, videos=False)
    for view in views:
        lens = camera(9, view.camera)
        np.testing.assert_allclose(read_cdf_pose(view.universal), 1000 * lens.to_camera(world / 1000), atol=1e-2)
        pixels = read_cdf_pose(view.pixels)
        assert pixels.min() > 100 and pixels.max() < 900
        np.testing.assert_allclose(pixels, lens.project(world / 1000), atol=1e-3)
    assert read_cdf_pose(views[0].world).tobytes() == world.tobytes()
    assert not os.path.exists(tmp_path / "extracted/S9/Videos")
