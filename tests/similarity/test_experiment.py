"""What the training of the embedding is made of: rates, statistics, held-out recordings, hidden joints."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bdsynth.cli.train import read_config
from bdsynth.datasets.prepared import Clip, write_prepared
from bdsynth.datasets.quadruplets import SKELETON
from bdsynth.errors import InputError
from bdsynth.motion import Motion
from bdsynth.similarity.experiment import (
    BodyPartExperiment,
    SeenQuadruplets,
    _hidden,
    learning_rate,
    losses_of,
    mean_losses,
    measure_features,
    open_quadruplets,
    total_of,
)
from bdsynth.similarity.features import PARTS, channels, from_coco
from bdsynth.similarity.model import EmbeddingModel
from bdsynth.similarity.network import BodyPartNet

GOLDEN = Path(__file__).parents[1] / "golden" / "similarity" / "bpe_minisara.npz"
CONFIG = Path(__file__).parents[2] / "config" / "bpe_demo.yaml"


@pytest.fixture(scope="module")
def neutral():
    """(48, 15, 3) each: what one character does without variation."""
    with np.load(GOLDEN) as golden:
        names = [name for name in golden.files if name.endswith("Height_0|Activity_0")]
        return [np.moveaxis(from_coco(golden[name]), -1, 0) for name in names]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six recordings in train and two in test, of which the even ones are done by two people."""
    rng, rows = np.random.default_rng(0), []
    for k in range(8):
        for body in range(1 + (k % 2 == 0)):
            walk = np.cumsum(rng.normal(size=(60, 15, 3)), axis=0) * 0.02
            pose = rng.normal(size=(15, 3)) * 0.3 + walk
            clip = Clip(f"{k}_{body}", "ab"[k % 2], split="test" if k > 5 else "train", source=f"recording {k}")
            rows.append((clip, Motion(pose, SKELETON, 30.0)))
    path = tmp_path_factory.mktemp("mocap") / "data"
    write_prepared(path, rows, name="some", licence="none")
    return path


def config(folder, *sets):
    return read_config(CONFIG, [f"data.datapath={folder}", "training.batch_size=4", *sets])[1]


# --- Rates and statistics ----------------------------------------------------------------------------------


def test_the_published_rates():
    """Falls of the published training, where each third of an epoch has one step more than the counter counts."""
    rates = [learning_rate(i, 6, 1e-3, 0.98, compat=True) for i in range(6)]
    assert rates == pytest.approx([1e-3, 9.604e-4, 9.41192e-4, 9.2236816e-4, 9.039207968e-4, 8.85842380864e-4])
    assert learning_rate(100, 2, 1e-3, 0.98, compat=True) < 1e-3  # no division by zero in short epochs


def test_rates_fall_three_times_in_an_epoch():
    rates = [learning_rate(i, 9, 1.0, 0.5) for i in range(18)]
    assert rates == [0.5 ** (i // 3) for i in range(18)]


def test_statistics_in_the_published_unit_are_twice_as_large(neutral):
    (mean, std), (mean_2, std_2) = measure_features(neutral), measure_features(neutral, unit=128.0)
    np.testing.assert_array_equal(mean_2, 2 * mean)
    moving = std > 1e-8
    assert (~moving).sum() == 8 and (std[~moving] == 1e-9).all()  # the roots of the limbs
    np.testing.assert_array_equal(std_2[moving], 2 * std[moving])


def test_statistics_as_published(neutral):
    """Of all train characters; what they have in common are the velocities and the sway of the upper body."""
    mean, std = measure_features(neutral, unit=128.0)
    with np.load(GOLDEN) as golden:
        np.testing.assert_allclose(mean[18], golden["meanpose"][18], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(std[18], golden["stdpose"][18], rtol=1e-5)
        np.testing.assert_allclose(std[13, 0], golden["stdpose"][13, 0], rtol=1e-5)
        np.testing.assert_array_equal(std == 1e-9, golden["stdpose"] == 1e-9)


def test_statistics_normalize(neutral):
    """Over all views the features have mean 0 and deviation 1."""
    mean, std = measure_features(neutral, all_joints=True)
    assert mean.shape == (76, 2)
    again = measure_features([neutral[0], neutral[0]])
    once = measure_features([neutral[0]])
    np.testing.assert_allclose(again[1], once[1])
    with pytest.raises(InputError, match="there is no motion"):
        measure_features([])


# --- Data --------------------------------------------------------------------------------------------------


def test_whole_recordings_are_held_out(folder):
    data = config(folder, "data.validation=0.4").data
    train, held = (open_quadruplets(data, split, False, 0) for split in ("train", "validation"))
    sides = [{clip.source for clip in part.clips} for part in (train, held)]
    assert not sides[0] & sides[1] and len(sides[1]) == 2 and len(sides[0]) == 4
    assert {c.source for c in open_quadruplets(data, "test", False, 0).clips} == {"recording 6", "recording 7"}
    assert open_quadruplets(config(folder, "data.validation=0").data, "validation", False, 0) is None
    with pytest.raises(InputError, match="data.validation: SARA is validated by its test characters"):
        open_quadruplets(config(folder, "data.dataset=SARA", "data.validation=0.2").data, "train", False, 0)


@pytest.mark.parametrize("all_joints", [False, True])
@pytest.mark.parametrize("invisibility", [False, True])
def test_every_variant_learns_from_its_batches(folder, all_joints, invisibility):
    sets = [f"architecture.all_joints={all_joints}".lower(), f"architecture.invisibility={invisibility}".lower()]
    experiment = BodyPartExperiment(config(folder, *sets))
    batch = experiment.batches(0)[0]
    for part, of in channels(all_joints, invisibility).items():
        assert batch[part].shape == (4, 3, 2, 2, of.stop - of.start, 32) and batch[part].dtype == torch.float32
    assert batch["variation"].shape == (4,)
    total = total_of(losses_of(experiment.config, experiment.model, batch))
    total.backward()
    moved = [name for name, p in experiment.model.net.named_parameters() if p.grad is not None and p.grad.any()]
    assert any(name.startswith("mot_encoders.4") for name in moved) and torch.isfinite(total)


def test_joints_are_hidden_in_training_only(folder):
    source = open_quadruplets(config(folder).data, "train", False, 0)
    model = EmbeddingModel(BodyPartNet(invisibility=True), np.zeros((19, 2)), np.ones((19, 2)))
    for augment in (False, True):
        seen = SeenQuadruplets(source, model, augment).gather(np.arange(6), np.random.default_rng(0))
        flags = torch.cat([seen[part][..., 2::3, :] for part in PARTS], dim=-2)
        assert bool((flags == 0).any()) == augment
        wrist = seen["ra"][..., 6:8, :]
        assert torch.equal((wrist == 0).all(-2), seen["ra"][..., 8, :] == 0)
        assert (seen["target"][..., 4:6, :] != 0).all()  # what is to be reconstructed is whole


def test_hidden_joints():
    """Up to three in every frame, as many in all frames of an item, but not always the same ones."""
    hidden = 1 - _hidden((200, 15, 32), np.random.default_rng(0))
    counts = hidden.sum(1)  # (200, 32)
    assert (counts == counts[:, :1]).all() and set(np.unique(counts)) == {0, 1, 2, 3}
    three = hidden[counts[:, 0] == 3]
    assert (three.mean(-1) < 1).all()
    assert np.abs(three.mean((0, 2)) - 0.2).max() < 0.05


# --- The experiment ----------------------------------------------------------------------------------------


def test_epochs_are_functions_of_the_seed(folder):
    one, two = (BodyPartExperiment(config(folder)) for _ in range(2))
    for key, array in one.batches(3)[1].items():
        assert torch.equal(array, two.batches(3)[1][key])
        assert key == "variation" or not torch.equal(array, two.batches(4)[1][key])
    n = len(one.batches(0))
    assert n == 100 and len(one.batches(0).skip(98)) == 2
    whole = BodyPartExperiment(config(folder, "training.steps_per_epoch=null"))
    assert len(whole.batches(0)) == len(one.train) // 4


def test_statistics_that_lie_there_are_taken(folder, tmp_path):
    import shutil

    shutil.copytree(folder, tmp_path / "data")
    np.save(tmp_path / "data" / "meanpose_rc_with_view_unit64.npy", np.full((19, 2), 3.0))
    np.save(tmp_path / "data" / "stdpose_rc_with_view_unit64.npy", np.full((19, 2), 5.0))
    model = BodyPartExperiment(config(tmp_path / "data")).model
    assert (model.mean == 3).all() and (model.std == 5).all()


def test_compat_measures_in_the_other_unit(folder):
    plain, compat = (
        BodyPartExperiment(config(folder, f"training.objective={objective}")).model
        for objective in ("default", "compat")
    )
    np.testing.assert_array_equal(compat.mean, 2 * plain.mean)


def test_mean_losses_are_means_over_quadruplets(folder):
    experiment = BodyPartExperiment(config(folder, "data.validation=0.4", "logging.n_validation=5"))
    experiment.model.net.eval()
    found = mean_losses(experiment.config, experiment.model, experiment.held_out)
    assert found["loss"] == pytest.approx(sum(value for key, value in found.items() if key != "loss"))
    assert found == mean_losses(experiment.config, experiment.model, experiment.held_out)
    seen, sums = SeenQuadruplets(experiment.held_out, experiment.model), 0.0
    order = np.linspace(0, len(experiment.held_out) - 1, 5).astype(int)
    for k, numbers in enumerate((order[:4], order[4:])):
        batch = seen.gather(numbers, np.random.default_rng([42, 0, 1, k]))
        sums += len(numbers) * total_of(losses_of(experiment.config, experiment.model, batch)).item()
    assert found["loss"] == pytest.approx(sums / 5, rel=1e-5)
