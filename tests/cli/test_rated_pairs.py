"""``evaluate --rated-pairs``: how well an embedding agrees with people."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bdsynth.similarity.model import EmbeddingModel
from bdsynth.similarity.network import BodyPartNet
from bdsynth.similarity.rated_pairs import rate_pairs

NAMES = ("S001A001", "S002A001", "S001A002", "S002A002")


@pytest.fixture(scope="module")
def model():
    mean, std = np.zeros((19, 2)), np.full((19, 2), 5.0)
    mean[[8, 11, 12, 13], 1] = 50, 50, -42, -32  # y of ankles from hips, of nose and neck from the pelvis
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return EmbeddingModel(BodyPartNet().eval(), mean, std, name="random net")


@pytest.fixture
def command(model, scene, as_coco, tmp_path):
    """Stretches of a walk, the first and the last of them turned around."""
    walk = as_coco(scene.pixels.resample(30)).positions  # (72, 17, 2)
    for n, name in enumerate(NAMES):
        clip = walk[8 * n : 8 * n + 40] if n in (1, 2) else walk[8 * n : 8 * n + 40][::-1]
        frames = [
            {"objects": [{"keypoints": np.concatenate([joints, np.ones((17, 1))], axis=1).ravel().tolist()}]}
            for joints in clip
        ]
        folder = tmp_path / "clips" / name[-3:]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps({"annotations": frames}))
    rows = [f"{NAMES[a]},{NAMES[b]},{score}" for a, b, score in ((0, 3, 3.5), (0, 1, 1.5), (1, 2, 4.0), (2, 3, 2))]
    (tmp_path / "ratings.csv").write_text("\n".join(["sample1,sample2,AMT_score", *rows]))
    model.save(tmp_path / "net.safetensors")
    return ("evaluate", "--rated-pairs", "ratings.csv", "--skeletons", "clips", "--weights", "net.safetensors")


@pytest.mark.parametrize("compat", [False, True])
def test_the_numbers(cli, command, model, compat):
    result = cli(*command, "--csv", "pairs.csv", *(["--compat"] if compat else []))
    assert result.code == 0 and result.written == ["pairs.csv", "evaluation.json"]
    expected = rate_pairs("ratings.csv", "clips", model, compat=compat)
    facts = json.loads(Path("evaluation.json").read_text())
    assert np.unique(expected.similarities[:, 0]).size == 4
    assert list(facts["spearman"].values()) == pytest.approx(
        [expected.none, expected.body, expected.parts, expected.same_action]
    )
    assert facts["pairs"] == 4 and facts["model"] == "random net" and facts["compat"] == compat
    assert f"{expected.none:.3f}" in result.lines[1]
    with open("pairs.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["bpe_ori_sim"]) for row in rows] == pytest.approx(expected.similarities[:, 0], abs=1e-6)


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--skeletons", "missing"], "missing: 4 of 4 skeleton files are missing"),
        (["--csv", "pairs.txt"], "expected a name that ends in .csv"),
        (["--data", "somewhere"], "--data: not allowed with argument --rated-pairs"),
        (["--weights", "missing.pth"], "missing.pth: no such file"),
    ],
)
def test_refused(refused, command, flags, words):
    assert words in refused(*command, *flags)
    assert not Path("evaluation.json").exists()


def test_flags_that_go_together(refused, command):
    assert "--rated-pairs: takes --skeletons DIR" in refused(*command[:3], *command[5:])
    assert "--compat: is for --rated-pairs" in refused("evaluate", "--data", "somewhere", "--compat")
    assert "one of the arguments --data --rated-pairs is required" in refused("evaluate")
