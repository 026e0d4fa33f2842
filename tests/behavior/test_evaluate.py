"""The evaluation against a naive recomputation, one sequence and one joint at a time."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bdsynth.behavior import evaluate as module
from bdsynth.behavior.evaluate import evaluate, evaluate_performers
from bdsynth.behavior.measures import MEASURES, REAL
from bdsynth.behavior.performers import of_model
from bdsynth.datasets.prepared import Clip, write_prepared
from bdsynth.errors import InputError
from bdsynth.geometry import canonical_placement
from bdsynth.motion import Motion
from bdsynth.skeletons import Skeleton

pytestmark = pytest.mark.usefixtures("hasty_judges")
FEW = {"n_samples": 4, "max_sequences": 5}
SAMPLED = ("best_ade", "best_fde", "best_ade_pose", "best_fde_pose", "asd", "fsd", "apd")


@pytest.fixture(scope="module")
def results(tiny_model, tiny_dataset, hasty_judges):
    return evaluate(tiny_model, tiny_dataset, seed=3, **FEW)


def test_every_measure_is_there(results):
    assert list(results.rows) == [REAL, "tiny net", "copy the source", "stand still"]
    # of two clips no transfer stays in one half, so that none can be judged from the other
    assert set(results.rows["tiny net"]) == set(MEASURES) - {"realism"}
    assert set(results.rows["stand still"]) == set(MEASURES) - {"realism", "posture_start", "posture_frames"}
    assert not set(results.rows[REAL]) & {*SAMPLED, "reconstruction_ade"}
    for values in results.rows.values():
        assert all(np.isfinite(value) and value >= 0 for value in values.values())
        assert all(value <= 1 for key, value in values.items() if "accuracy" in key)
    assert results.protocol == {
        "data": "tiny",
        "split": "test",
        "sequences": 5,
        "clips": 2,
        "sampled sequences": 2,
        "samples": 4,
        "judged by": "104 sequences of 4 train clips",
        "observed frames": 1,
        "frames": 16,
        "fps": 25.0,
        "seed": 3,
        "prior": "flow",
    }
    assert all(len(curve) == 16 for curve in results.errors.values())


def sequences(dataset, count):
    """(T + 1, J, 3) in the world: windows spread over those of the test split, found by hand."""
    starts = [
        (clip, first)
        for clip in dataset.clips("test")
        for first in range(clip.start, clip.stop - 32)  # the last frame is 32 later and in the clip
    ]
    chosen = np.linspace(0, len(starts) - 1, count).round().astype(int)
    return [dataset.positions[first : first + 33 : 2] for _, first in (starts[i] for i in chosen)]


def pose_distance(a, b):
    return float(np.sqrt(sum((x - y) ** 2 for x, y in zip(a.ravel(), b.ravel(), strict=True))))


def joint_distance(a, b):
    return float(np.mean([np.sqrt(((x - y) ** 2).sum()) for x, y in zip(a, b, strict=True)]))


def test_values_by_hand(results, tiny_model, tiny_dataset):
    space, real = tiny_model.space, sequences(tiny_dataset, 5)
    hips = [space.skeleton.index(joint) for joint in ("pelvis", "right_hip", "left_hip")]

    def placement(start):
        return replace(canonical_placement(start, *hips), scale=tiny_model.place(start).scale)

    def decoded(code, start):
        x0 = space.normalize(placement(start).to_canonical(start))
        y = tiny_model.net.decode(code[None], torch.tensor(x0[None], dtype=torch.float32), 16)
        return placement(start).to_world(space.denormalize(y[0].numpy()))

    ade, fde, flat, jitter, still = [], [], [], [], []
    for sequence in real:
        x = space.normalize(placement(sequence[0]).to_canonical(sequence[:16]))
        rebuilt = decoded(tiny_model.net.encode(torch.tensor(x[None], dtype=torch.float32)).mean[0], sequence[0])
        errors = [joint_distance(rebuilt[t], sequence[t + 1]) for t in range(16)]
        ade.append(np.mean(errors))
        fde.append(errors[-1])
        flat.append(np.mean([pose_distance(rebuilt[t], sequence[t + 1]) for t in range(16)]))
        still.append(np.mean([joint_distance(sequence[0], sequence[t + 1]) for t in range(16)]))
        jitter.append(np.mean(np.linalg.norm(np.diff(sequence[1:].astype(float), 3, axis=0), axis=-1)) * 25**3)
    expected = {
        "reconstruction_ade": np.mean(ade),
        "reconstruction_fde": np.mean(fde),
        "reconstruction_ade_pose": np.mean(flat),
    }
    codes = tiny_model.sample_codes(2 * 4, seed=3)
    best, best_pose, nearest, spread = [], [], [], []
    for p, sequence in enumerate(real[::4]):
        samples = [decoded(codes[4 * p + k], sequence[0]) for k in range(4)]
        for found, distance in ((best, joint_distance), (best_pose, pose_distance)):
            found.append(min(np.mean([distance(s[t], sequence[t + 1]) for t in range(16)]) for s in samples))
        for k, one in enumerate(samples):
            others = [other for j, other in enumerate(samples) if j != k]
            nearest.append(min(np.mean([pose_distance(one[t], o[t]) for t in range(16)]) for o in others))
            spread += [pose_distance(one, other) for other in others]
    expected |= {
        "best_ade": np.mean(best),
        "best_ade_pose": np.mean(best_pose),
        "asd": np.mean(nearest),
        "apd": np.mean(spread),
    }
    values = results.rows["tiny net"]
    for key, value in expected.items():
        assert values[key] == pytest.approx(value, rel=2e-3), key
    assert results.rows[REAL]["jitter"] == pytest.approx(np.mean(jitter), rel=2e-3)
    assert results.rows["stand still"]["reconstruction_ade"] == pytest.approx(np.mean(still), rel=1e-4)
    assert results.rows["copy the source"]["reconstruction_ade"] == pytest.approx(0, abs=1e-5)
    assert np.mean(results.errors["tiny net"]) == pytest.approx(values["reconstruction_ade"], rel=1e-5)


def test_deterministic(results, tiny_model, tiny_dataset):
    again = evaluate(tiny_model, tiny_dataset, seed=3, **FEW)
    assert again == results
    other = evaluate(tiny_model, tiny_dataset, seed=4, **FEW).rows["tiny net"]
    assert other["best_ade"] != results.rows["tiny net"]["best_ade"]
    assert other["reconstruction_ade"] == results.rows["tiny net"]["reconstruction_ade"]


def test_what_is_performed(tiny_model, tiny_dataset, monkeypatch):
    """Every sequence from its own start, then from one of another clip, then samples for every fourth."""
    loaded, calls = of_model(tiny_model), []

    class Spy:
        name, past, read, draw = "spy", 0, loaded.performer.read, loaded.performer.draw

        def perform(self, codes, starts):
            calls.append((codes, starts))
            return loaded.performer.perform(codes, starts)

    evaluate_performers([replace(loaded, performer=Spy())], tiny_dataset, n_samples=2, seed=5)
    (codes, own), (again, other), *sampling = calls
    assert own.shape == (52, 1, 17, 3) and torch.equal(codes, again)
    clip = torch.arange(52) // 26  # 26 sequences of running, 26 of walking
    which = torch.cdist(other.flatten(1).double(), own.flatten(1).double()).argmin(1)
    assert torch.equal(own[which], other) and (clip[which] != clip).all()
    assert len(which.unique()) > 20  # drawn, not always the same
    assert torch.equal(torch.cat([x[0] for x in sampling]), tiny_model.sample_codes(26, seed=5))
    assert torch.equal(torch.cat([x[1] for x in sampling]), own[::4].repeat_interleave(2, 0))


def test_splits_and_priors(results, tiny_model, flowless, tiny_dataset):
    train = evaluate(tiny_model, tiny_dataset, "train", seed=3, **FEW)
    assert train.protocol["split"] == "train" and train.protocol["judged by"].endswith("2 test clips")
    normal = evaluate(tiny_model, tiny_dataset, prior="normal", seed=3, **FEW)
    assert normal.protocol["prior"] == "normal"
    assert normal.rows["tiny net"]["apd"] != results.rows["tiny net"]["apd"]
    without = evaluate(flowless, tiny_dataset, seed=3, **FEW)
    assert without == normal
    with pytest.raises(InputError, match="has no flow"):
        evaluate(flowless, tiny_dataset, prior="flow", **FEW)


def test_a_judge_that_always_says_walking(tiny_model, tiny_dataset, monkeypatch):
    walking = tiny_dataset.actions.index("walking")

    class Walking:
        def name(self, motion):
            return torch.full((len(motion),), walking)

        def features(self, motion):
            return motion.flatten(1)[:, :4]

    monkeypatch.setattr(module.ActionJudge, "train", lambda *arguments: Walking())
    rows = evaluate(tiny_model, tiny_dataset, n_samples=2).rows
    for values in rows.values():  # of two actions that occur, one is always named
        assert values["accuracy_transfer"] == values["accuracy_transfer_other"] == 0.5
        assert values["accuracy_posture"] == 0.5


def test_several_models_on_the_same_sequences(results, tiny_model, flowless, tiny_dataset):
    pair = [of_model(tiny_model, "one"), of_model(flowless, "two")]
    said = []
    found = evaluate_performers(pair, tiny_dataset, seed=3, say=said.append, **FEW)
    assert list(found.rows) == [REAL, "one", "two", "copy the source", "stand still"]
    assert found.rows["one"] == results.rows["tiny net"] and found.rows[REAL] == results.rows[REAL]
    assert said[1:] == list(found.rows)[1:]
    with pytest.raises(InputError, match="two: 15 frames of h36m_17 at 25 fps, while one has 16"):
        evaluate_performers([pair[0], replace(pair[1], length=15)], tiny_dataset, **FEW)


# --- What is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, message",
    [
        ({"n_samples": 1}, "samples is 1, expected at least 2"),
        ({"max_sequences": 0}, "sequences is 0, expected at least 1"),
        ({"split": "validation"}, "no split is named 'validation'"),
        ({"prior": "uniform"}, "prior 'uniform'"),
    ],
)
def test_refused(tiny_model, tiny_dataset, options, message):
    with pytest.raises(InputError, match=message):
        evaluate(tiny_model, tiny_dataset, **{**FEW, **options})


def prepared(tmp_path, motion, actions=("walk", "run")):
    both = [(action, split) for action in actions for split in ("train", "test")]
    rows = [(Clip(f"{action} {split}", action, split=split), motion) for action, split in both]
    return write_prepared(tmp_path / "other", rows, name="other", licence="free")


def test_joints_in_another_order(tiny_model, tmp_path, walking):
    values = [
        evaluate(tiny_model, prepared(tmp_path / name, walking.to_skeleton(name)), **FEW).rows
        for name in ("h36m_17", "h36m_17_compvis")
    ]
    assert values[0] == values[1]


def test_data_of_another_skeleton(tiny_model, tmp_path, walking):
    stick = Skeleton("stick", ("pelvis", "left_hip"), (-1, 0))
    dataset = prepared(tmp_path, Motion(walking.positions[:, [0, 4]], stick, walking.fps))
    with pytest.raises(InputError, match="stick.*right_knee"):
        evaluate(tiny_model, dataset, **FEW)


@pytest.mark.parametrize("fps", [30, 12.5, 24.9])
def test_data_at_another_rate(tiny_model, tmp_path, walking, fps):
    dataset = prepared(tmp_path, walking.replace(fps=fps))
    with pytest.raises(InputError, match="no multiple of the model's 25"):
        evaluate(tiny_model, dataset, **FEW)


def test_data_of_one_action(tiny_model, tmp_path, walking):
    dataset = prepared(tmp_path, walking, actions=("walk",))
    with pytest.raises(InputError, match="one action only"):
        evaluate(tiny_model, dataset, **FEW)


def test_data_of_short_clips(tiny_model, tmp_path, walking):
    with pytest.raises(InputError, match="no test clip has the 33 frames"):
        evaluate(tiny_model, prepared(tmp_path, walking.slice(0, 30)), **FEW)


def test_a_model_without_statistics(tiny_model, tiny_dataset):
    with pytest.raises(InputError, match="--statistics"):
        evaluate(replace(tiny_model, space=None), tiny_dataset, **FEW)
