"""What the configs of the behavior room say, and what a config may not say."""

from pathlib import Path

import pytest

from bdsynth.cli.train import read_config
from bdsynth.errors import InputError

CONFIGS = Path(__file__).parents[2] / "config"


def refusal(file, *overrides) -> str:
    with pytest.raises(InputError) as caught:
        read_config(file, list(overrides))
    return str(caught.value)


@pytest.fixture
def file():
    return CONFIGS / "behavior_net.yaml"


def test_published_values():
    config = read_config(CONFIGS / "behavior_net_compat.yaml", [])[1]
    training = config.training
    assert (training.batch_size, training.n_epochs, training.lr_init) == (64, 50, 1e-4)
    assert (training.tau, training.gamma, training.recon_loss_weight) == ((0.2, 0.45, 0.7), 0.3, 2.5)
    assert (training.information_max, training.gamma_init, training.gamma_step) == (100, 0, 1e-5)
    assert (training.weight_regressor, training.regressor_steps, training.lr_regressor) == (0.01, 5, 1e-4)
    assert (training.n_epochs_flow, training.flow_lr, training.weight_decay) == (5, 4.5e-7, 0)
    assert training.objective == "compat" and training.swap_start == 0 and training.clip_grad is None
    sizes = config.architecture
    assert (sizes.dim_hidden_b, sizes.n_flows, sizes.flow_hidden_depth) == (1024, 15, 2)
    assert sizes.flow_mid_channels_factor == 2 and not sizes.linear_in_decoder and not sizes.cvae
    data = config.data
    assert (data.seq_length, data.sequential_frame_lag, data.min_seq_length) == (50, 2, None)
    assert not data.canonical and not data.normalize_size and not data.mirror
    assert (data.representation, data.balance) == ("world", "none")


# --- What is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "override, expected",
    [
        ("training.lr_inti=1", "training.lr_inti: unknown key (did you mean 'lr_init'?)"),
        ("trainig.lr_init=1", "trainig: unknown key (did you mean 'training'?)"),
        ("data.seq_len=50", "data.seq_len: unknown key (did you mean 'seq_length'?)"),
        ("training.n_epochs=many", "training.n_epochs: "),
        ("training.n_epochs=0", "training.n_epochs: "),
        ("training.n_epochs=1.5", "training.n_epochs: "),
        ("training.n_epochs=true", "training.n_epochs: "),
        ("training.lr_init=0", "training.lr_init: "),
        ("training.lr_init=.inf", "training.lr_init: "),
        ("training.lr_init='1e-3'", "training.lr_init: "),
        ("training.tau=[0.5, 1.5]", "training.tau[1]: "),
        ("training.tau=0.5", "training.tau: "),
        ("training.objective=original", "training.objective: "),
        ("training.swap_start=1.5", "training.swap_start: "),
        ("training.batch_size=1", "training.batch_size: "),
        ("data.canonical=1", "data.canonical: "),
        ("data.dataset=HumanEva", "data.dataset: "),
        ("data.datapath=3", "data.datapath: "),
        ("data.seq_length=1", "data.seq_length: "),
        ("data.representation=screen", "data.representation: "),
        ("architecture.dim_hidden_b=17", "architecture.dim_hidden_b: "),  # the flow halves it
        ("architecture.dim_hidden_b=2", "architecture.dim_hidden_b: "),  # the regressor quarters it
        ("architecture.n_flows=0", "architecture.n_flows: "),
        ("general.project_name=a/b", "general.project_name: "),
        ("logging.keep_checkpoints=0", "logging.keep_checkpoints: "),
        ("general=3", "general"),
        ("general.experiment=behaviour_net", "is 'behaviour_net' (did you mean 'behavior_net'?)"),
        ("general.experiment=3", "general.experiment is 3"),
        ("general.experiment=[mt_vae]", "general.experiment is ['mt_vae']"),
    ],
)
def test_one_line_names_the_key(file, override, expected):
    message = refusal(file, override)
    assert expected in message and "\n" not in message
    assert str(file) in message


@pytest.mark.parametrize("override", ["training.lr_init", "=3", "training.=3", ".x=1", "general.seed.x=1"])
def test_overrides_that_are_none(file, override):
    message = refusal(file, override)
    assert message.startswith(f"--set {override}: ") and "\n" not in message


def test_all_problems_at_once(file):
    lines = refusal(file, "training.lr_init=-1", "data.mirror=3").splitlines()
    assert len(lines) == 2 and "data.mirror" in lines[0] and "training.lr_init" in lines[1]


def test_overrides_are_read_as_yaml(file):
    overrides = [
        "training.lr_init=3e-4",
        "training.tau=[0.5]",
        "training.clip_grad=null",
        "data.mirror=false",
        "general.project_name=2024-01-01",
        "training.lr_init=2e-4",  # the last one counts
    ]
    config = read_config(file, overrides)[1]
    assert config.training.lr_init == 2e-4 and config.training.tau == (0.5,)
    assert config.training.clip_grad is None and config.data.mirror is False
    assert config.general.project_name == "2024-01-01"


def test_a_section_that_is_left_out_has_its_defaults(tmp_path):
    (tmp_path / "short.yaml").write_text(
        "general: {base_dir: runs, project_name: short, experiment: mt_vae}\ndata: {datapath: here}\n"
    )
    config = read_config(tmp_path / "short.yaml", [])[1]
    assert config.data.seq_length == 59 and config.data.n_cond == 10 and config.training.batch_size == 256


def test_missing_keys(tmp_path):
    (tmp_path / "short.yaml").write_text("general: {base_dir: runs, experiment: mt_vae}\ndata: {}\n")
    lines = refusal(tmp_path / "short.yaml").splitlines()
    assert [line.split(": ", 1)[1] for line in lines] == [
        "general.project_name: is missing",
        "data.datapath: is missing",
    ]


def test_odd_mt_vae(file):
    message = refusal(file.with_name("mt_vae.yaml"), "architecture.dim_hidden=15")
    assert "architecture.dim_hidden: " in message
