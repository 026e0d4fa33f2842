"""Every config that is shipped: it parses, says what it is, and keeps to the names of the seed."""

from pathlib import Path

import pytest

from bdsynth.appearance.config import ShapePoseConfig, VUNetConfig
from bdsynth.behavior.config import BehaviorNetConfig, MTVAEConfig
from bdsynth.cli.train import EXPERIMENTS, read_config
from bdsynth.errors import nearest
from bdsynth.learning.config import Section, dump_config, load_yaml, parse_config
from bdsynth.lifting.config import Anatomy3DConfig, PSTMOConfig, PSTMOPretrainConfig, VideoPose3DConfig
from bdsynth.similarity.config import BodyPartConfig

CONFIGS = sorted((Path(__file__).parents[1] / "config").glob("*.yaml"))
SCHEMAS = {
    "behavior_net": BehaviorNetConfig,
    "mt_vae": MTVAEConfig,
    "shape_and_pose_net": ShapePoseConfig,
    "cvbae": ShapePoseConfig,
    "vunet": VUNetConfig,
    "video_pose_3d": VideoPose3DConfig,
    "anatomy_3d": Anatomy3DConfig,
    "p_stmo": PSTMOConfig,
    "p_stmo_pretrain": PSTMOPretrainConfig,
    "bpe": BodyPartConfig,
}


def test_every_experiment_is_covered():
    assert set(SCHEMAS) == set(EXPERIMENTS)
    shipped = {read_config(path, [])[1].general.experiment for path in CONFIGS}
    assert shipped == set(EXPERIMENTS) - {"cvbae"}  # another name of shape_and_pose_net


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs(path):
    experiment, config = read_config(path, [])
    assert config.general.experiment in EXPERIMENTS
    assert type(config) is experiment.config_class is SCHEMAS[config.general.experiment]
    assert config.general.project_name == path.stem  # no two configs share a run folder
    assert not Path(config.general.base_dir).is_absolute()
    assert not Path(config.data.datapath).is_absolute()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configs_say_what_they_are(path):
    assert path.read_text().startswith("# ")
    config = read_config(path, [])[1]
    assert parse_config(load_yaml(path), type(config), path) == config
    for section, values in load_yaml(path).items():  # nothing is silently turned into something else
        for key, value in values.items():
            kept = getattr(getattr(config, section), key)
            assert kept == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_saved_configs_read_back(path, tmp_path):
    config = read_config(path, ["general.seed=7"])[1]
    (tmp_path / "config.yaml").write_text(dump_config(config))
    assert read_config(tmp_path / "config.yaml", [])[1] == config


def sections(schema):
    for name, field in schema.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield name, field.annotation


@pytest.mark.parametrize("schema", SCHEMAS.values())
def test_every_section_is_known_to_the_seed(schema):
    names = [name for name, _ in sections(schema)]
    assert [name for name in names if name != "metrics"] == [
        "general", "data", "architecture", "training", "logging"
    ]  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS.values())
def test_keys_are_told_apart_by_their_names(schema):
    """A typing error in a key leads back to it."""
    for _, section in sections(schema):
        for key in section.model_fields:
            assert f"'{key}'" in nearest(key[:-1] + "_", section.model_fields)


