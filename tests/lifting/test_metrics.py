import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bdsynth.errors import InputError
from bdsynth.lifting import metrics
from bdsynth.lifting.metrics import LiftingEvaluation, SequenceErrors, measure, measure_mpi, mpi_inf_3dhp
from bdsynth.skeletons import get_skeleton

GOLDEN = Path(__file__).parents[1] / "golden" / "lifting"


def golden(name):
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


@pytest.fixture
def poses():
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 0.3, (20, 17, 3))
    truth[:, 0] = 0
    return truth + rng.normal(0, 0.05, truth.shape), truth


# -- distances -----------------------------------------------------------------------------------


def test_nothing_is_off_where_all_is_right(poses):
    _, truth = poses
    for distance in (metrics.mpjpe, metrics.p_mpjpe, metrics.n_mpjpe, metrics.velocity_error):
        assert distance(truth, truth) == pytest.approx(0, abs=1e-12)


def test_protocols_forgive_what_they_fit(poses):
    predicted, truth = poses
    turned = 1.7 * truth @ Rotation.from_euler("xyz", [0.3, -1, 2]).as_matrix() + [1, 2, 3]
    assert metrics.p_mpjpe(turned, truth) == pytest.approx(0, abs=1e-9)
    assert metrics.n_mpjpe(1.7 * truth, truth) == pytest.approx(0, abs=1e-12)
    assert metrics.n_mpjpe(turned, truth) > 0.1
    assert metrics.p_mpjpe(truth * [-1, 1, 1], truth) > 0.1  # a mirror image is another pose
    assert metrics.p_mpjpe(predicted, truth) < metrics.mpjpe(predicted, truth)


def test_differences_in_time():
    t = np.arange(5.0)[:, None, None]
    still, going = np.zeros((5, 2, 3)), t * [3.0, 0, 4.0] * np.ones((5, 2, 3))
    assert metrics.velocity_error(going, still) == pytest.approx(5)
    assert metrics.acceleration_error(going, still) == pytest.approx(0)
    assert metrics.acceleration_error(t * going, still) == pytest.approx(10)
    with pytest.raises(InputError, match="2 frames"):
        metrics.acceleration_error(going[:2], still[:2])


def test_pck_is_strict_and_auc_counts_zero():
    truth = np.zeros((1, 2, 3))
    predicted = np.array([[[150.0, 0, 0], [0, 149.9, 0]]])
    assert metrics.pck(predicted, truth) == 50
    assert metrics.auc(truth, truth) == pytest.approx(100 * 30 / 31)


@pytest.mark.parametrize("shapes", [((4, 17, 3), (4, 16, 3)), ((4, 17, 2), (4, 17, 2)), ((0, 17, 3), (0, 17, 3))])
def test_other_shapes_are_refused(shapes):
    for distance in (metrics.mpjpe, metrics.p_mpjpe, metrics.n_mpjpe, metrics.pck):
        with pytest.raises(InputError, match="metrics: shapes"):
            distance(*map(np.zeros, shapes))


# -- parity --------------------------------------------------------------------------------------


def test_like_video_pose_3d():
    g = golden("vp3d_metrics")
    predicted, truth = g["in_pred"], g["in_gt"]
    assert metrics.mpjpe(predicted, truth) == pytest.approx(g["out_mpjpe"], abs=1e-7)
    assert metrics.p_mpjpe(predicted, truth) == pytest.approx(g["out_p_mpjpe"], abs=1e-7)
    assert metrics.p_mpjpe(predicted, g["in_gt_reflected"]) == pytest.approx(g["out_p_mpjpe_reflected"], abs=1e-7)
    assert metrics.n_mpjpe(predicted, truth) == pytest.approx(g["out_n_mpjpe"], abs=1e-7)
    assert metrics.velocity_error(predicted, truth) == pytest.approx(g["out_mean_velocity_error"], abs=1e-7)


def test_like_p_stmo():
    g = golden("pstmo_action_metrics")
    predicted, truth = g["in_pred"][:, 0], g["in_gt"][:, 0]
    for name, part in (("Walking", slice(0, 12)), ("Photo", slice(12, 20))):
        assert metrics.mpjpe(predicted[part], truth[part]) == pytest.approx(g[f"out_p1_{name}"], abs=1e-7)
        assert metrics.p_mpjpe(predicted[part], truth[part]) == pytest.approx(g[f"out_p2_{name}_exact"], abs=1e-7)
        published = g[f"out_p2_{name}_as_published"]  # averages over mixed batches
        assert metrics.p_mpjpe(predicted[part], truth[part]) != pytest.approx(published, abs=1e-4)
    frames = [metrics.p_mpjpe(p[None], t[None]) for p, t in zip(predicted, truth, strict=True)]
    np.testing.assert_allclose(frames, g["out_p2_exact_per_frame"], atol=1e-7)


def test_like_mpi_inf_3dhp():
    g = golden("mpi3dhp_metrics")
    values = mpi_inf_3dhp(g["in_pred_mm"], g["in_gt_mm"])
    assert values["mpjpe"] == pytest.approx(g["out_mpjpe17"], abs=1e-9)
    assert values["pck"] == pytest.approx(g["out_pck_total"], abs=1e-9)
    assert values["auc"] == pytest.approx(g["out_auc_total"], abs=1e-9)
    for name in ("pck", "auc"):
        groups = [values[f"{name}_{group}"] for group in metrics.MPI_GROUPS]
        np.testing.assert_allclose(groups, g[f"out_{name}_groups"], atol=1e-9)
    errors = metrics.joint_errors(g["in_pred_mm"], g["in_gt_mm"]).mean(0)
    np.testing.assert_allclose(errors, g["out_per_joint"], atol=1e-9)


def test_like_anatomy_3d():
    g = golden("anatomy3d_pck_auc")
    predicted, truth = g["in_pred"], g["in_gt"]
    assert metrics.pck(predicted, truth, 0.15) / 100 == pytest.approx(g["out_pck"], abs=1e-6)
    assert metrics.auc(predicted, truth, np.arange(150) / 1000) / 100 == pytest.approx(g["out_auc"], abs=1e-6)


# -- protocols and tables ------------------------------------------------------------------------


def test_roots_are_zeroed_or_kept(poses):
    predicted, truth = poses
    kept = measure(predicted, truth + 5, "S9 Walking 1", "Walking 1", predicted_root="kept")
    assert kept.values["mpjpe"] == pytest.approx(1000 * metrics.mpjpe(predicted, truth))
    zeroed = measure(predicted, truth, "S9 Walking 1", "Walking 1")
    relative = predicted - predicted[:, :1]
    assert zeroed.values["mpjpe"] == pytest.approx(1000 * metrics.mpjpe(relative, truth))
    assert (zeroed.action, zeroed.frames) == ("Walking", 20)


def test_mpi_poses_are_relative_to_the_pelvis(poses):
    predicted, truth = poses
    row = measure_mpi(predicted + 3, truth - 1, "TS1", get_skeleton("mpi_inf_3dhp_17"))
    same = measure_mpi(predicted, truth, "TS1")
    assert row.values["mpjpe"] == pytest.approx(same.values["mpjpe"])
    assert row.values["pck"] > row.values["auc"] > 0


@pytest.fixture
def rows():
    return [
        SequenceErrors("S9 Walking", "Walking", 10, {"mpjpe": 40.0}),
        SequenceErrors("S11 Walking", "Walking", 30, {"mpjpe": 80.0}),
        SequenceErrors("S9 Photo", "Photo", 100, {"mpjpe": 30.0}),
    ]


def test_actions_count_the_same_and_frames_in_them(rows):
    evaluation = LiftingEvaluation(rows, {"data": "h36m"})
    assert evaluation.actions == {"Walking": {"mpjpe": 70.0}, "Photo": {"mpjpe": 30.0}}
    assert evaluation.totals == {"mpjpe": 50.0}
    by_frames = LiftingEvaluation(rows, {}, average="frames")
    assert by_frames.totals["mpjpe"] == pytest.approx((400 + 2400 + 3000) / 140)


def test_table_and_json(rows):
    evaluation = LiftingEvaluation(rows, {"data": "h36m"})
    header, walking, photo, total, meaning, protocol = evaluation.table().splitlines()
    assert header.split() == ["mpjpe"] and walking.split() == ["Walking", "70.00"]
    assert photo.split() == ["Photo", "30.00"] and total.split() == ["total", "50.00"]
    assert meaning.startswith("mpjpe: mm") and protocol == "(total: mean over actions, data h36m)"
    content = json.loads(evaluation.to_json(seed=3))
    assert content["totals"] == {"mpjpe": 50.0} and content["seed"] == 3
    assert content["sequences"][1] == {"name": "S11 Walking", "action": "Walking", "frames": 30, "mpjpe": 80.0}
    assert content["protocol"] == {"average": "actions", "data": "h36m"}


def test_nothing_to_average():
    with pytest.raises(InputError, match="no sequence"):
        LiftingEvaluation([], {})
