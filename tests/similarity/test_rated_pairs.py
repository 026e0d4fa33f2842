import csv
import json
from pathlib import Path

import numpy as np
import pytest

from bdsynth.errors import InputError
from bdsynth.formats import read_motion
from bdsynth.similarity.embedding import aligned_similarities, embed
from bdsynth.similarity.prepared_motion import prepare
from bdsynth.similarity.rated_pairs import (
    SIMILARITIES,
    rate_pairs,
    read_clip,
    read_rated_pairs,
    same_action,
    spearman,
)

WHOLE_TABLE = Path(__file__).parents[3] / "shared" / "data" / "ntu" / "NTU_motion_similarity_AMT_final_200204.csv"
HEAD = ",sample1,sample2,AMT_score\n"
CLIPS = ("S001C001P001R001A007", "S002C002P002R002A007", "S003C003P003R001A022", "S004C001P004R001A026")
PAIRS = [(0, 1, 3.8), (0, 2, 1.2), (1, 2, 1.1), (0, 3, 2.5), (2, 3, 1.7), (1, 3, 2.2)]


def _clip_json(motion, wrapped=False):
    frames = []
    for t, pose in enumerate(motion.positions):
        keypoints = np.concatenate([pose, np.ones((17, 1))], axis=1)
        keypoints[9] = 0 if t % 7 == 3 else keypoints[9]
        frames.append({"frame_num": t, "objects": [{"keypoints": keypoints.round(4).ravel().tolist()}]})
    content = {"annotations": frames}
    return {"result": content} if wrapped else content


@pytest.fixture(scope="module")
def folder(tmp_path_factory, clips, as_coco):
    """Four clips as detectors find them: twice somebody walks, once runs, once directs the traffic."""
    folder = tmp_path_factory.mktemp("ntu")
    sources = [("cmu_walking", 0, 1.0), ("cmu_walking", 4, -1.0), ("cmu_running", 0, 1.0), ("cmu_jumping", 0, 1.0)]
    for number, (name, (source, start, side)) in enumerate(zip(CLIPS, sources, strict=True)):
        motion = as_coco(read_motion(clips / f"{source}.npz").to_skeleton("h36m_17").resample(30))
        motion = motion.slice(start, min(start + 44, motion.n_frames))
        x, y, z = np.moveaxis(motion.positions, -1, 0)
        places = np.stack([640 + 150 * (side * x + 0.4 * y), 600 - 150 * z], axis=-1)
        (folder / name[-3:]).mkdir(exist_ok=True)
        path = folder / name[-3:] / f"{name}.json"
        path.write_text(json.dumps(_clip_json(motion.replace(positions=places, unit="px"), wrapped=number == 1)))
    return folder


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "pairs.csv"
    lines = [f"{k},{CLIPS[a]},{CLIPS[b]},{score}\n" for k, (a, b, score) in enumerate(PAIRS, 1)]
    path.write_text(HEAD + "".join(lines))
    return path


# -- the whole protocol -------------------------------------------------------------------------------


@pytest.mark.parametrize("one_path", [False, True])
@pytest.mark.parametrize("compat", [False, True])
def test_correlations(bpe_model, folder, table, one_path, compat, tmp_path):
    made = rate_pairs(table, folder, bpe_model, one_path=one_path, compat=compat)
    scores = [score for *_, score in PAIRS]
    ori, flipped, arms, legs = made.similarities.T
    assert made.none == pytest.approx(spearman(scores, ori))
    assert made.body == pytest.approx(spearman(scores, np.maximum(ori, flipped)))
    assert made.parts == pytest.approx(spearman(scores, np.max([ori, flipped, arms, legs], axis=0)))
    assert made.same_action == pytest.approx(spearman(scores, [True, *[False] * 5]))
    if not one_path:  # each part is warped by itself: what is flipped is exchanged
        np.testing.assert_allclose(ori + flipped, arms + legs + _torso(bpe_model, folder, compat), atol=1e-6)

    made.write_csv(tmp_path / "out.csv")
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["", "sample1", "sample2", "AMT_score", *SIMILARITIES]
    assert [float(row["bpe_ori_sim"]) for row in rows] == pytest.approx(list(ori))
    assert rows[3]["sample2"] == CLIPS[3] and rows[3]["AMT_score"] == "2.5" and rows[3][""] == "4"


def _torso(model, folder, compat):
    """What flipped torsos add to the mean: the only part that no other version has."""
    difference = []
    for a, b, _ in PAIRS:
        first, second = (
            prepare(read_clip(folder / CLIPS[k][-3:] / f"{CLIPS[k]}.json"), 30, model.mean, compat=compat)
            for k in (a, b)
        )
        mirrored = embed(first if compat else first.mirrored(), model, stride=2, flip_compat=compat)
        plain, target = embed(first, model, stride=2), embed(second, model, stride=2)
        change = aligned_similarities(mirrored, target) - aligned_similarities(plain, target)
        difference.append(change[4] / 5)
    return np.array(difference)


def test_limit(bpe_model, folder, table):
    made = rate_pairs(table, folder, bpe_model, limit=3)
    assert len(made.pairs) == 3 and made.similarities.shape == (3, 4)
    with pytest.raises(InputError, match="limit is 1"):
        rate_pairs(table, folder, bpe_model, limit=1)


def test_short_clips_are_left_out(bpe_model, folder, table):
    told = []
    with pytest.raises(InputError, match="0 pairs can be compared"):
        rate_pairs(table, folder, bpe_model, window=60, say=told.append)
    assert told[0].startswith("4 clips are shorter than 60 frames")


def test_missing_files_are_named_at_once(bpe_model, folder, table):
    table.write_text(HEAD + f"1,{CLIPS[0]},S009C001P001R001A101,2\n2,S009C001P001R001A102,{CLIPS[2]},3\n")
    with pytest.raises(InputError, match="2 of 4 .*A101.*A102"):
        rate_pairs(table, folder, bpe_model)


# -- ratings --------------------------------------------------------------------------------------------


def test_same_action_indicator(table):
    """Its correlation is what any similarity has to beat."""
    pairs = read_rated_pairs(table)
    assert [pair.score for pair in pairs] == [score for *_, score in PAIRS]
    assert same_action(pairs).tolist() == [True, False, False, False, False, False]
    assert spearman([1, 2, 3, 4], [10, 20, 40, 30]) == pytest.approx(0.8)
    assert np.isnan(spearman([1, 2], [3, 3]))


@pytest.mark.skipif(not WHOLE_TABLE.is_file(), reason="needs the table of ratings")
def test_same_action_indicator_of_the_published_ratings():
    pairs = read_rated_pairs(WHOLE_TABLE)
    assert len(pairs) == 20093
    scores, same = np.array([pair.score for pair in pairs]), same_action(pairs)
    assert len({name for pair in pairs for name in (pair.a, pair.b)}) == 1583 and same.sum() == 8593
    assert scores[same].mean() == pytest.approx(3.362, abs=1e-3)
    assert spearman(scores, same) == pytest.approx(0.8333, abs=5e-5)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a,b,c\n1,2,3\n", "sample1, sample2, AMT_score"),
        (HEAD + "1,S001A007,S002A007,high\n", "line 2"),
        (HEAD + "1,S001A007,S002A007\n", "line 2"),
        (HEAD + "1,S001A007,S002A007,nan\n", "line 2"),
        (HEAD + "1,../../A007,S002A007,1\n", "line 2"),
        ("", "empty"),
    ],
)
def test_refuses_tables(table, text, named):
    table.write_text(text)
    with pytest.raises(InputError, match=named):
        read_rated_pairs(table)


# -- clips ----------------------------------------------------------------------------------------------


def test_clip_with_gaps(tmp_path):
    pose = np.arange(1.0, 52.0)
    hidden = pose.copy()
    hidden[:3] = 0
    found = [[{"keypoints": pose.tolist()}], [], [{"keypoints": hidden.tolist()}]]
    frames = [{"objects": objects} for objects in found]
    path = tmp_path / "S1A007.json"
    path.write_text(json.dumps({"info": {}, "annotations": frames}))
    motion = read_clip(path)
    assert (motion.name, motion.fps, motion.skeleton.name, motion.unit) == ("S1A007", 30.0, "coco_17", "px")
    np.testing.assert_array_equal(motion.positions[0], pose.reshape(17, 3)[:, :2])
    assert (motion.confidence > 0).sum(1).tolist() == [17, 0, 16]
    wide = np.concatenate([pose.reshape(17, 3), np.ones((17, 1))], axis=1)
    path.write_text(json.dumps({"annotations": [{"objects": [{"keypoints": wide.ravel().tolist()}]}]}))
    np.testing.assert_array_equal(read_clip(path).positions, motion.positions[:1])


@pytest.mark.parametrize(
    "content",
    [
        "no JSON",
        "[]",
        '{"annotations": []}',
        '{"annotations": [{"objects": [{"keypoints": [1, 2]}]}]}',
        '{"annotations": [{"objects": [{"keypoints": ["x"]}]}]}',
        '{"annotations": [{"objects": [{}]}]}',
        '{"annotations": [{"objects": [{"keypoints": [NaN' + ", 1" * 50 + "]}]}]}",
        '{"annotations": [{"objects": [{"keypoints": [1' + ", 1" * 33 + "]}]}]}",
    ],
)
def test_refuses_clips(tmp_path, content):
    path = tmp_path / "clip.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"clip\.json: expected annotations"):
        read_clip(path)
