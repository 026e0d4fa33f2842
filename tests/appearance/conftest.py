import numpy as np
import pytest
import torch

STANDING = np.array(  # openpose_18, fractions of the picture
    [[.5, .1], [.5, .2], [.4, .22], [.35, .35], [.33, .48], [.6, .22], [.65, .35], [.67, .48], [.43, .5],
     [.42, .7], [.42, .9], [.57, .5], [.58, .7], [.58, .9], [.48, .08], [.52, .08], [.45, .1], [.55, .1]]
)  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def people(tmp_path_factory):
    """A folder in the form of data.people: eight persons with three small pictures each, two persons test."""
    from PIL import Image

    from bdsynth.formats.people_index import PeopleIndex, write_people_index

    folder, rng = tmp_path_factory.mktemp("people"), np.random.default_rng(0)
    names, joints = [], []
    for i in range(24):
        person = np.random.default_rng(i // 3).integers(0, 255, (6, 6, 3)).astype(np.uint8)
        Image.fromarray(person).resize((48, 48), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
        names.append(f"{i}.png")
        joints.append(STANDING + rng.normal(0, 0.02, STANDING.shape))
    index = PeopleIndex(tuple(names), np.array(joints), np.arange(24) < 18, np.arange(24) // 3, "openpose_18")
    write_people_index(folder / "index.p", index)
    return folder


@pytest.fixture(scope="session")
def thin_vgg(tmp_path_factory):
    """A file with a VGG19 of a few channels and random weights."""
    rng = torch.Generator().manual_seed(0)
    widths, state, channels, place = (4, 4, 6, 6, *[8] * 12), {}, 3, 0
    for i, width in enumerate(widths):
        place += 1 if i in (2, 4, 8, 12) else 0  # a pooling layer
        scale = (2 / (9 * channels)) ** 0.5
        state[f"features.{place}.weight"] = scale * torch.randn(width, channels, 3, 3, generator=rng)
        state[f"features.{place}.bias"] = 0.1 * torch.randn(width, generator=rng)
        channels, place = width, place + 2
    path = tmp_path_factory.mktemp("vgg") / "thin.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="session")
def make_config(people, thin_vgg):
    """A small config on those people, changed by arguments of --set."""
    from bdsynth.appearance.config import ShapePoseConfig, VUNetConfig
    from bdsynth.learning.config import apply_overrides, parse_config

    schemas = {"shape_and_pose_net": ShapePoseConfig, "vunet": VUNetConfig}

    def make(*overrides, experiment="shape_and_pose_net"):
        data = {
            "general": {"base_dir": "runs", "project_name": "tiny", "experiment": experiment},
            "data": {
                "dataset": "People", "datapath": str(people), "spatial_size": 32, "inplane_normalize": True,
                "box_factor": 0, "bottleneck_factor": 2, "n_data_workers": 0,
            },
            "architecture": {"nf_start": 4, "nf_max": 8},
            "training": {
                "batch_size": 4, "end_iteration": 8, "steps_per_epoch": 4, "perceptual_weights": str(thin_vgg),
            },
        }  # fmt: skip
        return parse_config(apply_overrides(data, list(overrides)), schemas[experiment], "tiny.yaml")

    return make
