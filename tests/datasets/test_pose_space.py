import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bdsynth.datasets.pose_space import PoseSpace
from bdsynth.errors import InputError
from bdsynth.skeletons import get_skeleton

SKELETON = get_skeleton("h36m_17")
metres = st.floats(-5, 5, width=32)
poses = arrays(np.float32, (3, 4, 17, 3), elements=metres, fill=metres)


def space(representation="world", seed=0):
    rng = np.random.default_rng(seed)
    return PoseSpace.fit([rng.normal(size=(50, 17, 3)) * rng.uniform(0.1, 2, 3)], SKELETON, representation)


@pytest.mark.parametrize("representation", ["world", "root_relative"])
@given(poses)
def test_denormalize_inverts_normalize(representation, positions):
    ours = space(representation)
    x = ours.normalize(positions)
    assert x.shape == (3, 4, 51) and x.dtype == np.float32
    np.testing.assert_allclose(ours.denormalize(x), positions, atol=2e-5)
    np.testing.assert_allclose(ours.normalize(torch.from_numpy(positions)), x, atol=1e-5)
    np.testing.assert_allclose(ours.denormalize(torch.from_numpy(x)), positions, atol=2e-5)


def test_world_is_joint_major_and_root_relative_subtracts_the_pelvis():
    positions = np.random.default_rng(1).normal(size=(5, 17, 3)).astype(np.float32)
    plain = [PoseSpace(SKELETON, r, np.zeros(51), np.ones(51)) for r in ("world", "root_relative")]
    world, relative = (s.normalize(positions) for s in plain)
    np.testing.assert_array_equal(world[:, 3:6], positions[:, 1])
    np.testing.assert_array_equal(relative[:, :3], positions[:, 0])
    np.testing.assert_allclose(relative[:, 3:6], positions[:, 1] - positions[:, 0])
    other = get_skeleton("h36m_17_compvis")  # its pelvis is joint 6
    relative = PoseSpace(other, "root_relative", np.zeros(51), np.ones(51)).normalize(positions)
    np.testing.assert_array_equal(relative[:, 18:21], positions[:, 6])
    np.testing.assert_allclose(relative[:, :3], positions[:, 0] - positions[:, 6])


def test_fit_in_pieces_is_fit_at_once_and_constant_dimensions_are_only_centered():
    positions = np.random.default_rng(2).normal(size=(90, 17, 3)) + 100
    positions[:, 4, 1] = 7.0
    whole = PoseSpace.fit([positions], SKELETON)
    pieces = PoseSpace.fit(iter([positions[:13], positions[13:80], positions[80:]]), SKELETON)
    np.testing.assert_allclose(whole.mean, pieces.mean)
    np.testing.assert_allclose(whole.std, pieces.std)
    flat = positions.reshape(90, 51)
    np.testing.assert_allclose(whole.mean, flat.mean(0), rtol=1e-6)
    expected = flat.std(0)
    expected[13] = 1.0
    np.testing.assert_allclose(whole.std, expected, rtol=1e-5)


def test_dict_round_trip_is_exact():
    ours = space("root_relative")
    again = PoseSpace.from_dict(json.loads(json.dumps(ours.to_dict())))
    assert again.skeleton == ours.skeleton and again.representation == "root_relative"
    np.testing.assert_array_equal(again.mean, ours.mean)
    np.testing.assert_array_equal(again.std, ours.std)


def test_statistics_from_files(tmp_path, dataset):
    ours = space()
    np.savez(tmp_path / "s.npz", mean=ours.mean, std=ours.std)
    again = PoseSpace.from_statistics(tmp_path / "s.npz", SKELETON)
    np.testing.assert_array_equal(again.mean, ours.mean)
    other = get_skeleton("h36m_17_compvis")
    reordered = PoseSpace.from_statistics(dataset.path / "index.json", other)
    pelvis = other.index("pelvis") * 3
    np.testing.assert_allclose(reordered.mean[pelvis : pelvis + 3], dataset.mean[:3], rtol=1e-6)
    with pytest.raises(InputError, match="not of coco_17"):
        PoseSpace.from_statistics(dataset.path / "index.json", get_skeleton("coco_17"))
    np.savez(tmp_path / "odd.npz", mean=ours.mean)
    for name, message in (("odd.npz", "'std' is missing"), ("no.npz", "no.npz: cannot be read")):
        with pytest.raises(InputError, match=message):
            PoseSpace.from_statistics(tmp_path / name, SKELETON)
    (tmp_path / "bad.json").write_text("[1, 2]")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04nonsense")
    for name in ("bad.json", "bad.npz"):
        with pytest.raises(InputError, match=f"{name}: cannot be read"):
            PoseSpace.from_statistics(tmp_path / name, SKELETON)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"representation": "root-relative"}, "did you mean 'root_relative'"),
        ({"mean": [0.0] * 50}, "mean is not 51"),
        ({"mean": ["x"] * 51}, "not a list of numbers"),
        ({"std": [0.0] * 51}, "not positive"),
        ({"std": [float("nan")] * 51}, "std is not 51 finite"),
        ({"skeleton": {"name": "x"}}, "skeleton"),
    ],
)
def test_bad_statistics(change, message):
    with pytest.raises(InputError, match=message):
        PoseSpace.from_dict({**space().to_dict(), **change})


def test_nothing_to_fit():
    with pytest.raises(InputError, match="no poses"):
        PoseSpace.fit([], SKELETON)
    with pytest.raises(InputError, match="not finite"):
        PoseSpace.fit([np.full((2, 17, 3), np.nan)], SKELETON)
