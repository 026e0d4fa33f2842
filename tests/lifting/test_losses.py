from pathlib import Path

import numpy as np
import pytest
import torch

from bdsynth.camera import Camera, normalize_screen
from bdsynth.learning.losses import weighted_sum
from bdsynth.lifting.anatomy import AnatomyNet
from bdsynth.lifting.losses import (
    anatomy_losses,
    anatomy_weights,
    mpjpe,
    project,
    semi_supervised_losses,
    trajectory_error,
)
from bdsynth.skeletons import get_skeleton

GOLDEN = Path(__file__).parents[1] / "golden" / "lifting"
BONES = get_skeleton("h36m_17").bones


def load(name: str) -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


@pytest.fixture(scope="module")
def semi():
    return load("vp3d_semi_loss")


@pytest.fixture(scope="module")
def anatomy():
    return load("anatomy3d_train_loss")


@pytest.fixture
def net(anatomy):
    net = AnatomyNet((3, 3, 3), channels=32, dropout=0.0).train()
    net.load_state_dict({k.removeprefix("sd/"): v for k, v in anatomy.items() if k.startswith("sd/")})
    return net


def semi_losses(semi, **more):
    names = ("pos", "traj", "gt3d", "gttraj", "cam", "kp2d")
    return semi_supervised_losses(*(more.get(name, semi[f"in/{name}"]) for name in names), BONES)


def losses_of(net, anatomy, target=13):
    outputs = net.training_outputs(anatomy["in/inputs_2d"], anatomy["in/rand_2d"], anatomy["in/randaug_2d"])
    names = ("inputs_3d", "rand_3d", "randaug_3d", "bonelennew")
    truth = (anatomy[f"in/{name}"] for name in names)
    return anatomy_losses(outputs, *truth, target=target, frame=int(anatomy["in/k"]))


# -- parity --------------------------------------------------------------------------------------


def test_semi_supervised_losses_are_those_of_the_original(semi):
    assert [joint for joint, _ in BONES] == [j for j, parent in enumerate(semi["in/parents"]) if parent >= 0]
    losses = semi_losses(semi)
    names = {"pose": "3d", "trajectory": "traj", "projection": "reconstruction"}
    for ours, theirs in names.items():
        assert losses[ours].item() == pytest.approx(semi[f"out/loss_{theirs}"].item(), abs=1e-6)
    assert losses["bones"].item() == pytest.approx(semi["out/bone_penalty"].item(), abs=1e-6)
    assert sum(losses.values()).item() == pytest.approx(semi["out/total"].item(), abs=1e-6)


def test_projects_like_the_original(semi):
    points = semi["in/pos"][4:] + semi["in/traj"][4:]
    torch.testing.assert_close(project(points, semi["in/cam"]), semi["out/reprojection"], atol=1e-6, rtol=1e-6)


def test_anatomy_losses_are_those_of_the_original(net, anatomy):
    losses, weights = losses_of(net, anatomy), anatomy_weights()
    weighted = {name: weights[name] * loss for name, loss in losses.items()}
    names = {"pos": "pose", "rand": "drawn", "randaug": "augmented"}
    names |= {"length": "length", "lengthaug": "augmented_length"}
    found = {theirs: weighted[ours] for theirs, ours in names.items()}
    found["direct"] = weighted["direction"] + weighted["first_direction"]
    found["js"] = weighted["shift"] + weighted["first_shift"]
    for name, loss in found.items():
        assert loss.item() == pytest.approx(anatomy[f"out/loss_{name}"].item(), rel=1e-5), name
    assert weighted_sum(losses, weights).item() == pytest.approx(anatomy["out/total"].item(), rel=1e-5)


def test_anatomy_gradients_are_those_of_the_original(net, anatomy):
    weighted_sum(losses_of(net, anatomy), anatomy_weights()).backward()
    for name, parameter in net.named_parameters():
        if name != "boneatt.bias":  # a shift of all frames' logits does nothing: its gradient is rounding
            expected = anatomy[f"out/gradnorm/{name}"].item()
            assert parameter.grad.norm().item() == pytest.approx(expected, rel=1e-4, abs=1e-5), name


# -- contract ------------------------------------------------------------------------------------


def test_mpjpe():
    assert mpjpe(torch.zeros(2, 5, 3), torch.tensor([3.0, 0.0, 4.0])).item() == 5
    assert mpjpe(torch.tensor([[0.0, 0.0], [0.0, 2.0]]), torch.zeros(2)).item() == 1


def test_far_trajectories_count_less():
    near, far = torch.tensor([[0.0, 0.0, 2.0]]), torch.tensor([[0.0, 0.0, 8.0]])
    assert trajectory_error(near + 1, near).item() == pytest.approx(4 * trajectory_error(far + 1, far).item())


def test_projection_is_that_of_the_camera():
    camera = Camera(1000, 1002, 1145, 1143, 512, 515, np.eye(3), np.zeros(3), (-0.2, 0.2, -0.01, 0.001, -0.002))
    points = np.random.default_rng(0).uniform((-1, -1, 3), (1, 1, 6), (1, 4, 17, 3))
    expected = normalize_screen(camera.project(points), camera.width, camera.height)
    found = project(torch.from_numpy(points), torch.from_numpy(camera.intrinsic)[None].double())
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_every_camera_films_its_own_sequence(semi):
    points, cameras = semi["in/gt3d"][:2] + torch.tensor([0, 0, 5.0]), semi["in/cam"]
    both = project(points, cameras)
    for i in range(2):
        torch.testing.assert_close(both[i : i + 1], project(points[i : i + 1], cameras[i : i + 1]))


def test_perfect_predictions_lose_nothing(semi):
    pose = torch.cat([semi["in/gt3d"]] * 2)
    trajectory = torch.cat([semi["in/gttraj"]] * 2)
    cameras = semi["in/cam"].repeat(2, 1)
    seen = project(pose[4:] + trajectory[4:], cameras)
    losses = semi_losses(semi, pos=pose, traj=trajectory, cam=cameras, kp2d=seen)
    assert {name: loss.item() for name, loss in losses.items()} == dict.fromkeys(losses, 0.0)


def test_unlabeled_sequences_are_learned_from_by_keypoints_and_bones(semi):
    pose = semi["in/pos"].clone().requires_grad_()
    losses = semi_losses(semi, pos=pose)
    for name, rows in {"pose": range(4), "projection": (4, 5), "bones": range(6)}.items():
        (gradient,) = torch.autograd.grad(losses[name], pose, retain_graph=True)
        touched = gradient.flatten(1).abs().sum(dim=1).nonzero().flatten().tolist()
        assert touched == list(rows), name


def test_causal_nets_are_held_against_the_last_frame(net, anatomy):
    """The target that is asked for counts, and of the others only the lengths of bones."""
    changed = {**anatomy, "in/inputs_3d": anatomy["in/inputs_3d"].clone()}
    changed["in/inputs_3d"][:, :-1] = -changed["in/inputs_3d"][:, :-1]  # lengths stay
    last, middle = losses_of(net.eval(), anatomy, 26), losses_of(net, anatomy, 13)
    assert losses_of(net, changed, 26).items() == last.items()
    assert losses_of(net, changed, 13)["pose"] != middle["pose"] and last["pose"] != middle["pose"]


def test_weights_name_the_losses(net, anatomy):
    assert anatomy_weights().keys() == losses_of(net, anatomy).keys()
    weights = anatomy_weights(direction=2, length=3, shift=5, first=0.1)
    assert (weights["direction"], weights["first_direction"]) == (2, 0.2)
    assert (weights["length"], weights["augmented_length"]) == (3, 3)
    assert (weights["shift"], weights["first_shift"]) == (5, 0.5)
