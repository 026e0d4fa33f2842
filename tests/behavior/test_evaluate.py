"""The evaluation against a naive recomputation, one sequence and one joint at a time."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from bdsynth.behavior.evaluate import MEASURES, Evaluation, evaluate, measure_samples
from bdsynth.datasets.prepared import Clip, write_prepared
from bdsynth.errors import InputError
from bdsynth.geometry import bone_lengths, canonical_placement
from bdsynth.motion import Motion
from bdsynth.skeletons import Skeleton

FEW = {"n_samples": 4, "max_sequences": 5}


@pytest.fixture(scope="module")
def results(tiny_model, tiny_dataset):
    return evaluate(tiny_model, tiny_dataset, seed=3, **FEW)


def test_every_measure_is_there(results):
    assert list(results.values) == list(MEASURES)
    assert all(np.isfinite(value) and value >= 0 for value in results.values.values())
    assert all(0 <= value <= 1 for key, value in results.values.items() if "accuracy" in key)
    assert results.protocol == {
        "data": "tiny",
        "split": "test",
        "sequences": 5,
        "sampled sequences": 2,
        "samples": 4,
        "prior": "flow",
        "frames": 16,
        "fps": 25.0,
        "seed": 3,
    }


def sequences(tiny_model, tiny_dataset, count):
    """(T + 1, J, 3) canonical metres: windows spread over those of the test split, found by hand."""
    starts = [
        (clip, first)
        for clip in tiny_dataset.clips("test")
        for first in range(clip.start, clip.stop - 32)  # the last frame is 32 later and in the clip
    ]
    chosen = np.linspace(0, len(starts) - 1, count).round().astype(int)
    joint = tiny_dataset.skeleton.index
    found = []
    for clip, first in (starts[i] for i in chosen):
        positions = tiny_dataset.positions[first : first + 33 : 2].astype(np.float64)
        legs = bone_lengths(tiny_dataset.positions[clip.start], tiny_dataset.skeleton.parents)
        legs = legs[[joint(f"{s}_{j}") for s in ("left", "right") for j in ("knee", "ankle")]].sum() / 2
        placement = canonical_placement(positions[0], *map(joint, ("pelvis", "right_hip", "left_hip")))
        found.append(placement.to_canonical(positions) * tiny_model.leg_length / legs)
    return found


def pose_distance(a, b):
    return float(np.sqrt(sum((x - y) ** 2 for x, y in zip(a.ravel(), b.ravel(), strict=True))))


def test_values_by_hand(results, tiny_model, tiny_dataset):
    space, real = tiny_model.space, sequences(tiny_model, tiny_dataset, 5)

    def decoded(code, start):
        x0 = torch.tensor(space.normalize(start)[None], dtype=torch.float32)
        return space.denormalize(tiny_model.net.decode(code[None], x0, 16)[0].numpy())

    ade, fde, mpjpe, still, jitter = [], [], [], [], []
    for sequence in real:
        x = torch.tensor(space.normalize(sequence[:16])[None], dtype=torch.float32)
        rebuilt = decoded(tiny_model.net.encode(x).mean[0], sequence[0])
        errors = [pose_distance(rebuilt[t], sequence[t + 1]) for t in range(16)]
        ade.append(np.mean(errors))
        fde.append(errors[-1])
        mpjpe.append(np.mean([np.linalg.norm(rebuilt[t] - sequence[t + 1], axis=-1) for t in range(16)]))
        still.append(np.mean([pose_distance(sequence[0], sequence[t + 1]) for t in range(16)]))
        jerk = np.diff(sequence[1:], 3, axis=0) * 25**3
        jitter.append(np.mean(np.linalg.norm(jerk, axis=-1)))
    expected = {
        "reconstruction_ade": np.mean(ade),
        "reconstruction_fde": np.mean(fde),
        "reconstruction_mpjpe": 1000 * np.mean(mpjpe),
        "still_ade": np.mean(still),
        "jitter_real": np.mean(jitter),
    }
    codes = tiny_model.sample_codes(2 * 4, seed=3)
    best, best_end, nearest, spread = [], [], [], []
    for p, sequence in enumerate(real[::4]):
        samples = [decoded(codes[4 * p + k], sequence[0]) for k in range(4)]
        best.append(min(np.mean([pose_distance(s[t], sequence[t + 1]) for t in range(16)]) for s in samples))
        best_end.append(min(pose_distance(s[15], sequence[16]) for s in samples))
        for k, one in enumerate(samples):
            others = [other for j, other in enumerate(samples) if j != k]
            nearest.append(min(np.mean([pose_distance(one[t], o[t]) for t in range(16)]) for o in others))
            spread += [pose_distance(one, other) for other in others]
    expected |= {
        "best_ade": np.mean(best),
        "best_fde": np.mean(best_end),
        "asd": np.mean(nearest),
        "apd": np.mean(spread),
    }
    for key, value in expected.items():
        assert results.values[key] == pytest.approx(value, rel=2e-3), key


def test_deterministic(results, tiny_model, tiny_dataset):
    again = evaluate(tiny_model, tiny_dataset, seed=3, **FEW)
    assert again.values == results.values
    other = evaluate(tiny_model, tiny_dataset, seed=4, **FEW)
    assert other.values["best_ade"] != results.values["best_ade"]
    assert other.values["reconstruction_ade"] == results.values["reconstruction_ade"]


def test_every_sequence_when_there_are_few(tiny_model, tiny_dataset):
    protocol = evaluate(tiny_model, tiny_dataset, n_samples=2).protocol
    assert protocol["sequences"] == 2 * (58 - 32) and protocol["sampled sequences"] == 13


def test_what_is_decoded(tiny_model, tiny_dataset, monkeypatch):
    """Every sequence from its own start, then from one of another action, then samples for every fourth."""
    decode, calls = tiny_model.net.decode, []
    monkeypatch.setattr(tiny_model.net, "decode", lambda *x: calls.append(x) or decode(*x))
    evaluate(tiny_model, tiny_dataset, n_samples=2, seed=5)
    (codes, own, length), (again, other, _), *sampling = calls
    assert len(own) == 52 and length == 16 and torch.equal(codes, again)
    action = torch.arange(52) // 26  # 26 sequences of running, 26 of walking
    which = torch.cdist(other.double(), own.double()).argmin(1)
    assert torch.equal(own[which], other) and (action[which] != action).all()
    assert len(which.unique()) > 20  # drawn, not always the same
    assert torch.equal(torch.cat([x[0] for x in sampling]), tiny_model.sample_codes(26, seed=5))
    assert torch.equal(torch.cat([x[1] for x in sampling]), own[::4].repeat_interleave(2, 0))


def test_splits_and_priors(results, tiny_model, flowless, tiny_dataset):
    train = evaluate(tiny_model, tiny_dataset, "train", seed=3, **FEW)
    assert train.protocol["split"] == "train" and train.values["still_ade"] != results.values["still_ade"]
    normal = evaluate(tiny_model, tiny_dataset, prior="normal", seed=3, **FEW)
    assert normal.protocol["prior"] == "normal" and normal.values["apd"] != results.values["apd"]
    without = evaluate(flowless, tiny_dataset, seed=3, **FEW)
    assert without.protocol == normal.protocol and without.values == normal.values
    with pytest.raises(InputError, match="has no flow"):
        evaluate(flowless, tiny_dataset, prior="flow", **FEW)


def test_a_net_without_a_classifier_recognizes_nothing(tiny_model, tiny_dataset, results):
    for model in (replace(tiny_model, classifier=None), replace(tiny_model, actions=("a", "b", "c"))):
        values = evaluate(model, tiny_dataset, seed=3, **FEW).values
        assert values.keys() == {key for key in MEASURES if "accuracy" not in key}
        assert values["asd"] == results.values["asd"]


def test_a_classifier_that_always_says_walking(tiny_model, tiny_dataset):
    class Walking(torch.nn.Module):
        def forward(self, x):
            return torch.tensor([0.0, 1.0, 0.0]).expand(len(x), 3)

    values = evaluate(replace(tiny_model, classifier=Walking()), tiny_dataset, **FEW).values
    # of the five, running, running, (either), walking, walking
    assert values["action_accuracy_real"] == pytest.approx(0.4, abs=0.21)
    assert values["action_accuracy_transfer"] == values["action_accuracy_real"]
    # the postures of running are from walking and the other way round
    assert values["action_accuracy_posture"] == pytest.approx(1 - values["action_accuracy_real"])
    # names in another order are other classes
    turned = replace(tiny_model, classifier=Walking(), actions=tiny_dataset.actions[::-1])
    assert evaluate(turned, tiny_dataset, **FEW).values["action_accuracy_real"] == values["action_accuracy_real"]
    turned = replace(tiny_model, classifier=Walking(), actions=("walking", "washwindow", "running"))
    assert evaluate(turned, tiny_dataset, **FEW).values["action_accuracy_real"] == 0


def test_text_and_json(results):
    table = results.table()
    assert all(key in table for key in results.values) and "sequences 5" in table.splitlines()[-1]
    data = json.loads(results.to_json(weights="net"))
    assert data == {"values": results.values, "protocol": results.protocol, "weights": "net"}


def test_a_table_of_some_measures():
    assert Evaluation({"apd": 1.5}, {"seed": 1}).table().splitlines() == [
        f"{'apd':<32} {1.5:>9.4f}  {MEASURES['apd']}",
        "(seed 1)",
    ]


def test_samples_are_measured_in_parts():
    torch.manual_seed(0)
    samples, real = torch.randn(11, 3, 5, 6), torch.randn(11, 5, 6)
    asked = []

    def generate(first, last):
        asked.append((first, last))
        return samples[first:last]

    values = measure_samples(generate, real)
    assert asked == [(0, 8), (8, 11)]
    whole = (samples - real[:, None]).norm(dim=-1).mean(-1).amin(-1).mean()
    assert values["best_ade"] == pytest.approx(float(whole), rel=1e-5)


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
        evaluate(tiny_model, prepared(tmp_path / name, walking.to_skeleton(name)), **FEW).values
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
