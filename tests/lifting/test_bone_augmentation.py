from pathlib import Path

import numpy as np
import pytest
import torch

from bdsynth.lifting.anatomy import BONES, bone_vectors
from bdsynth.lifting.bone_augmentation import augment_bones

GOLDEN = Path(__file__).parents[1] / "golden" / "lifting" / "anatomy3d_randomaug.npz"


@pytest.fixture
def positions():
    return torch.randn(5, 7, 17, 3, generator=torch.Generator().manual_seed(0))


def test_augments_like_the_original():
    with np.load(GOLDEN, allow_pickle=False) as file:
        golden = {key: torch.from_numpy(file[key]) for key in file.files}
    noise = torch.from_numpy(np.random.RandomState(5).rand(4, 16) - 0.5)
    positions, lengths = augment_bones(golden["in/seq"], golden["in/augdegree"].item(), noise=noise)
    torch.testing.assert_close(positions, golden["out/aug"], atol=1e-12, rtol=0)
    torch.testing.assert_close(lengths, golden["out/bonelennew"], atol=1e-12, rtol=0)


def test_only_lengths_change(positions):
    before = bone_vectors(positions)
    augmented, lengths = augment_bones(positions, noise=torch.full((5, 16), 0.5))
    after = bone_vectors(augmented)
    torch.testing.assert_close(
        torch.nn.functional.normalize(after, dim=-1), torch.nn.functional.normalize(before, dim=-1)
    )
    change = after.norm(dim=-1) - before.norm(dim=-1)  # (5, 7, 16)
    torch.testing.assert_close(change, (0.3 * before.norm(dim=-1).mean(dim=(0, 1))).expand_as(change))
    torch.testing.assert_close(lengths, after.norm(dim=-1).mean(dim=1))
    torch.testing.assert_close(augmented[:, :, 0], positions[:, :, 0])


@pytest.mark.parametrize("bone", range(16))
def test_one_bone_moves_what_hangs_from_it(positions, bone):
    noise = torch.zeros(5, 16)
    noise[:, bone] = 0.4
    augmented, _ = augment_bones(positions, noise=noise)
    before, after = bone_vectors(positions).norm(dim=-1), bone_vectors(augmented).norm(dim=-1)
    changed = (after - before).abs().amax(dim=(0, 1)) > 1e-4
    assert changed.nonzero().flatten().tolist() == [bone]
    assert ((augmented - positions).norm(dim=-1).amax(dim=(0, 1)) > 1e-4)[list(BONES[bone])].sum() == 1


def test_the_truth_is_not_changed(positions):
    before = positions.clone()
    augment_bones(positions)
    assert torch.equal(positions, before)


def test_noise_comes_from_the_generator(positions):
    generators = (torch.Generator().manual_seed(seed) for seed in (1, 1, 2))
    first, second, other = (augment_bones(positions, generator=generator) for generator in generators)
    assert torch.equal(first[0], second[0]) and not torch.allclose(first[0], other[0])
    spread = first[1] - bone_vectors(positions).norm(dim=-1).mean(dim=1)
    mean = bone_vectors(positions).norm(dim=-1).mean(dim=(0, 1))
    assert (spread.abs() <= 0.3 * mean).all() and spread.std(dim=0).min() > 0.01


def test_degree(positions):
    torch.testing.assert_close(augment_bones(positions, 0.0)[0], positions)


def test_bones_of_length_zero_stay_finite():
    augmented, lengths = augment_bones(torch.zeros(2, 3, 17, 3))
    assert augmented.isfinite().all() and lengths.isfinite().all()
