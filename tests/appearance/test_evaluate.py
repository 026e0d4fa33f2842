"""The evaluation of an appearance model, on eight people with three pictures each."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from bdsynth.appearance.evaluate import UNITS, Evaluation, evaluate
from bdsynth.appearance.grids import picture_grid, training_grid
from bdsynth.appearance.model import AppearanceModel
from bdsynth.appearance.network import ShapePostureNet, Sizes
from bdsynth.appearance.pairs import other_people, same_people, spread
from bdsynth.appearance.vunet import VUNet
from bdsynth.datasets.human36m_pictures import Human36mPictures
from bdsynth.datasets.image_batches import ImageSet
from bdsynth.datasets.images import IndexPictures
from bdsynth.errors import InputError
from bdsynth.formats.h36m_annotations_writer import VideoRows, write_annotations
from bdsynth.formats.people_index import read_people_index

SIZES = Sizes.of(32, inplane=True, box_factor=0, bottleneck_factor=2, nf_start=4, nf_max=8)


@pytest.fixture(scope="module")
def pictures(people):
    return IndexPictures(read_people_index(people), people, "people")


@pytest.fixture(scope="module")
def images(pictures):
    return ImageSet(pictures, "test", size=32, box_factor=0)


@pytest.fixture(scope="module")
def everybody(pictures):
    return ImageSet(pictures, "train", size=32, box_factor=0)


@pytest.fixture(scope="module", params=[ShapePostureNet, VUNet], ids=["net", "vunet"])
def model(request):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AppearanceModel(request.param(SIZES), "people")


@pytest.fixture(scope="module")
def results(model, everybody, thin_vgg):
    return evaluate(model, everybody, batch_size=5, perceptual_weights=thin_vgg, workers=0)


def unknown(images):
    """The same pictures, of which nobody says who is seen."""
    pictures = IndexPictures(replace(read_people_index(images.pictures.path(0).parent), persons=None),
                             images.pictures.path(0).parent, "people")  # fmt: skip
    return ImageSet(pictures, images.split, size=32, box_factor=0)


# --- Numbers -----------------------------------------------------------------------------------------------


def test_what_is_measured(results):
    tasks = ("reconstruction", "new_posture")
    expected = [f"{task}_{name}" for task in tasks for name in ("ssim", "mask_ssim", "psnr")]
    expected += [f"{task}_frechet_vgg19_relu4_2" for task in (*tasks, "transfer")]
    expected += [f"{who}_recognized" for who in ("truth", "new_posture", "transfer")]
    expected += ["posture_left", "posture_left_error", "posture_mean_error"]
    assert list(results.values) == expected == list(results.units)
    assert all(np.isfinite(value) for value in results.values.values())
    assert all(0 <= value <= 1 for key, value in results.values.items() if key.endswith("recognized"))
    assert results.protocol == {
        "data": "people", "split": "train", "pictures": 18, "of": 18, "people": 6, "new postures": 18,
        "transfers": 18, "size": 32, "appearance": "posterior means", "masks": "joints", "seed": 0,
    }  # fmt: skip
    left_out = " ".join(results.notes)
    assert all(word in left_out for word in ("LPIPS (alex, vgg)", "2D detector", "temporal error"))


def test_reconstruction_by_hand(model, everybody, results):
    values = {"ssim": [], "psnr": []}
    for row in everybody.rows:
        batch = everybody.gather([row], np.random.default_rng(0), [row])
        drawn = model.net(batch["pose_img_inplane"], batch["stickman"])[0].detach().clamp(-1, 1)
        a, b = ((x[0].permute(1, 2, 0).numpy() + 1) / 2 for x in (drawn, batch["pose_img"]))
        how = {"channel_axis": -1, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        values["ssim"].append(structural_similarity(a, b, data_range=1, **how))
        values["psnr"].append(peak_signal_noise_ratio(b, a, data_range=1))
    for name, each in values.items():
        assert results.values[f"reconstruction_{name}"] == pytest.approx(np.mean(each), rel=1e-4)


def test_a_perfect_model(everybody, thin_vgg, model, monkeypatch):
    """Whatever it is asked, it draws the picture that appearance was read from, in the right posture."""
    from bdsynth.appearance import evaluate as module

    seen = {}
    gather = ImageSet.gather

    def remember(self, rows, rng, partners):
        batch = gather(self, rows, rng, partners)
        seen["truth"] = batch["pose_img"]
        return batch

    monkeypatch.setattr(ImageSet, "gather", remember)
    monkeypatch.setattr(module.AppearanceModel, "draw", lambda self, appearance, stickmen: seen["truth"])
    values = evaluate(model, everybody, perceptual_weights=thin_vgg, batch_size=18, workers=0).values
    for task in ("reconstruction", "new_posture"):
        assert values[f"{task}_ssim"] == values[f"{task}_mask_ssim"] == pytest.approx(1)
        assert values[f"{task}_psnr"] == pytest.approx(100)
        assert values[f"{task}_frechet_vgg19_relu4_2"] == pytest.approx(0, abs=1e-6)
    assert values["truth_recognized"] > 1 / 3 > values["transfer_recognized"]  # it drew somebody else
    assert values["new_posture_recognized"] > 1 / 3


def test_deterministic_and_the_net_stays_as_it_was(model, images):
    state = {key: value.clone() for key, value in model.net.state_dict().items()}
    model.net.train()
    random = torch.get_rng_state()
    first = evaluate(model, images, workers=0)
    assert evaluate(model, images, batch_size=1, workers=2).values == pytest.approx(first.values, rel=1e-4)
    assert model.net.training and torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(value, state[key]) for key, value in model.net.state_dict().items())
    other = evaluate(model, images, workers=0, seed=1).values
    assert other["reconstruction_ssim"] == first.values["reconstruction_ssim"]


def test_few_pictures(model, everybody, thin_vgg):
    results = evaluate(model, everybody, 4, perceptual_weights=thin_vgg, workers=0)
    assert results.protocol["pictures"] == 4 and results.protocol["of"] == 18
    assert "posture_left" not in results.values and "truth_recognized" not in results.values
    assert any("posture left" in note for note in results.notes) and any("recognition" in n for n in results.notes)


def test_nobody_is_known(model, everybody, thin_vgg):
    results = evaluate(model, unknown(everybody), perceptual_weights=thin_vgg, workers=0)
    assert results.protocol["people"] == "unknown" and results.protocol["new postures"] == 0
    assert not any(key.startswith("new_posture") or key.endswith("recognized") for key in results.values)
    assert "transfer_frechet_vgg19_relu4_2" in results.values and "posture_left" in results.values
    assert any("do not say who" in note for note in results.notes)
    assert set(results.grids) == {"reconstruction", "transfer"}


def test_masks_from_files(model, everybody, tmp_path, monkeypatch):
    frames, masks = tmp_path / "imageSequence" / "1", tmp_path / "maskSequence" / "1"
    frames.mkdir(parents=True)
    masks.mkdir(parents=True)
    pictures = everybody.pictures
    for row in range(len(pictures)):
        Image.open(pictures.path(row)).save(frames / f"{row}.png")
        mask = np.zeros((48, 48), np.uint8)
        mask[:24] = 255
        Image.fromarray(mask).save(masks / f"{row}.png")
    monkeypatch.setattr(pictures, "_files", [frames / f"{row}.png" for row in range(len(pictures))])
    results = evaluate(model, everybody, workers=0)
    assert results.protocol["masks"] == "files"
    from bdsynth.appearance.evaluate import _masks

    found, _ = _masks(everybody, everybody.rows[:3])
    assert found.shape == (3, 32, 32) and found[:, :16].all() and not found[:, 16:].any()


def test_text_and_json(results):
    table = results.table()
    assert all(key in table for key in results.values) and "left out: LPIPS" in table
    data = json.loads(results.to_json(weights="net"))
    assert data["values"] == results.values and data["protocol"] == results.protocol and data["weights"] == "net"
    assert data["left_out"] == list(results.notes) and "grids" not in data
    assert Evaluation({}, {}, {"seed": 1}).table() == "(seed 1)"
    assert set(UNITS) == {"ssim", "mask_ssim", "psnr", "lpips_alex", "lpips_vgg"}


def test_what_does_not_fit_is_refused(model, pictures, images):
    for other, word in (
        (ImageSet(pictures, "test", size=64, box_factor=0), "pictures of 32 pixels"),
        (ImageSet(pictures, "test", size=32, box_factor=1), "appearance of 32"),
        (ImageSet(pictures, "test", size=32, inplane=False), "from part crops, the image set gives whole"),
    ):
        with pytest.raises(InputError, match=word):
            evaluate(model, other)
    with pytest.raises(InputError, match="postures of market, the pictures have those of people"):
        evaluate(AppearanceModel(model.net, "market"), images)
    with pytest.raises(InputError, match="n_max is 0"):
        evaluate(model, images, 0)


# --- Pairs -------------------------------------------------------------------------------------------------


def test_pairs(everybody):
    persons, rows = everybody.pictures.persons, everybody.rows
    same, other = same_people(everybody, rows, 0), other_people(everybody, rows, 0)
    assert (persons[same] == persons[rows]).all() and (same != rows).all()
    assert (persons[other] != persons[rows]).all() and set(other) <= set(rows)
    assert not np.array_equal(other, other_people(everybody, rows, 1))
    many = np.repeat(rows, 300)
    counts = np.bincount(other_people(everybody, many, 0)[many == rows[0]], minlength=18)
    assert (counts[:3] == 0).all()  # the person's own
    drawn = np.unique(np.concatenate([same_people(everybody, rows[:1], seed) for seed in range(20)]))
    assert drawn.tolist() == [1, 2]
    all_others = np.unique(np.concatenate([other_people(everybody, rows[:1], seed) for seed in range(200)]))
    assert all_others.tolist() == list(range(3, 18))


def test_pairs_of_the_unknown(everybody):
    images = unknown(everybody)
    assert (same_people(images, images.rows, 0) == -1).all()
    assert (other_people(images, images.rows, 0) != images.rows).all()


def test_spread():
    rows = np.arange(10) * 2
    assert spread(rows, 3).tolist() == [0, 8, 18] and spread(rows, 99) is rows


# --- Grids -------------------------------------------------------------------------------------------------


def test_grids(results):
    assert set(results.grids) == {"reconstruction", "new_posture", "transfer"}
    for grid in results.grids.values():
        assert grid.dtype == np.uint8 and grid.shape == (16 + 8 * 34, 4 * 34 - 2, 3)


def test_where_pictures_lie_in_a_grid():
    gray = torch.linspace(-1, 1, 4)[:, None, None, None].expand(4, 3, 8, 8)
    grid = picture_grid({"a": gray[:2], "b": gray[2:]})
    assert grid.shape == (16 + 2 * 10, 18, 3)
    assert (grid[16:24, :8] == 0).all() and (grid[26:34, :8] == 85).all()
    assert (grid[16:24, 10:] == 170).all() and (grid[26:34, 10:] == 255).all()
    assert (grid[:16] < 128).any()  # captions


def test_training_grid(model, images):
    model.net.train()
    first, second = training_grid(model, images, 2), training_grid(model, images, 2)
    assert set(first) == {"reconstruction", "new_posture", "transfer"} and model.net.training
    for name, grid in first.items():
        assert grid.shape == (16 + 2 * 34, 4 * 34 - 2, 3) and (grid == second[name]).all()
    truth = images.gather(images.rows[[0]], np.random.default_rng(0), images.rows[[0]])["pose_img"]
    shown = first["reconstruction"][16:48, -32:]
    assert np.abs(shown / 127.5 - 1 - truth[0].permute(1, 2, 0).numpy()).max() < 0.01


# --- Videos ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Somebody who sways, in test videos of 20 and 10 frames that grow brighter by 2 gray levels a frame."""
    root, rng = tmp_path_factory.mktemp("videos"), np.random.default_rng(0)
    (root / "processed" / "all").mkdir(parents=True)
    body, videos = rng.uniform(-600, 600, (32, 3)), []
    for subject, subaction, frames in ((1, 1, 4), (9, 1, 20), (9, 2, 10)):
        folder = f"processed/all/S{subject}/Directions-{subaction}/imageSequence/54138969"
        (root / folder).mkdir(parents=True)
        paths = [f"{folder}/img_{t:06d}.png" for t in range(1, frames + 1)]
        for t, path in enumerate(paths):
            Image.new("RGB", (48, 48), (100 + 2 * t,) * 3).save(root / path)
        world = np.repeat(body[None], frames, 0) + 30 * np.sin(np.arange(frames))[:, None, None]
        world = world.astype(np.float32)
        videos.append(
            VideoRows(subject, 2, subaction, 54138969, paths, (48, 48), np.array([80, 24, 80, 24], float),
                      np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 3000]], float), world[..., :2], world, world,
                      world)
        )  # fmt: skip
    write_annotations(root / "processed" / "all" / "annot_export.h5", iter(videos))
    return ImageSet(Human36mPictures(root), "test", size=32, box_factor=0)


def test_temporal_error_of_videos(model, video):
    model = AppearanceModel(model.net, "human36m")
    results = evaluate(model, video, workers=0)
    assert results.protocol["people"] == 1  # who is known, although nobody else is tested
    assert results.values["temporal_still"] == pytest.approx(2 / 255, rel=1e-3)
    assert 0 < results.values["temporal_error"] < 0.5
    assert "1 videos of 16 frames" in results.units["temporal_error"]  # the short one is none
    assert "new_posture_ssim" in results.values and set(results.grids) == {"reconstruction", "new_posture"}
