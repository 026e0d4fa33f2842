import pytest

from bdsynth.errors import InputError
from bdsynth.learning.runs import RunFolder


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "runs", "behavior_net", "first")


def test_layout(run, tmp_path):
    run.create()
    for kind in ("ckpt", "config", "generated", "log"):
        folder = tmp_path / "runs" / "behavior_net" / kind / "first"
        assert folder.is_dir()
        assert getattr(run, kind) == folder
    assert run.config_file == run.config / "config.yaml"


def test_a_run_that_left_nothing_is_no_run(run):
    run.create()
    run.create()


@pytest.mark.parametrize("left", ["config", "checkpoint"])
def test_an_existing_run_is_refused_with_the_three_ways_out(run, left):
    run.create()
    if left == "config":
        run.save_config("a: 1\n")
    else:
        (run.ckpt / "reg_ckpt_checkpoint_3").mkdir()
    with pytest.raises(InputError) as caught:
        run.create()
    message = str(caught.value)
    assert "\n" not in message
    for way in ("--restart", "--set general.project_name=", "--overwrite", str(run.config_file)):
        assert way in message


def test_overwrite_removes_this_project_only(run):
    other = RunFolder(run.base_dir, run.experiment, "second")
    for each in (run, other):
        each.create()
        each.save_config("a: 1\n")
        (each.ckpt / "weights").write_text("x")
        (each.generated / "video.mp4").write_text("x")
    run.create(overwrite=True)
    assert not run.exists
    assert not any(run.generated.iterdir())
    assert other.exists
    assert (other.ckpt / "weights").exists() and (other.generated / "video.mp4").exists()


def test_overwrite_does_not_follow_links(run, tmp_path):
    run.create()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("x")
    run.ckpt.rmdir()
    run.ckpt.symlink_to(elsewhere)
    run.create(overwrite=True)
    assert (elsewhere / "precious").exists()
    assert not run.ckpt.is_symlink() and run.ckpt.is_dir()


def test_config_is_required_for_resuming(run):
    with pytest.raises(InputError, match=r"config\.yaml: no such run to resume"):
        run.require_config()
    run.save_config("a: 1\n")
    assert run.require_config().read_text() == "a: 1\n"


@pytest.mark.parametrize("name", ["..", "a/b", "", "/abs"])
def test_names_cannot_leave_the_base_folder(tmp_path, name):
    with pytest.raises(InputError, match="general.project_name"):
        RunFolder(tmp_path, "behavior_net", name)
    with pytest.raises(InputError, match="general.experiment"):
        RunFolder(tmp_path, name, "first")


def test_a_place_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be made"):
        RunFolder(tmp_path / "file", "behavior_net", "first").create()


def test_other_processes_of_a_training_leave_the_folders_to_the_first(run, monkeypatch):
    run.create()
    run.save_config("a: 1\n")
    monkeypatch.setenv("LOCAL_RANK", "1")
    run.create()
    run.save_config("b: 2\n")
    assert run.config_file.read_text() == "a: 1\n"
