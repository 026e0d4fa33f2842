from pathlib import Path

import numpy as np
import pytest
import torch

from bdsynth.behavior.auxiliary import (
    ActionClassifier,
    BehaviorProbe,
    ChangeClassifier,
    PostureProbe,
    PostureRegressor,
    RealismClassifier,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "behavior" / "aux_nets.npz"


def golden(name):
    """The arrays of one network, and its weights."""
    with np.load(GOLDEN) as file:
        arrays = {k.removeprefix(f"{name}/"): file[k] for k in file.files if k.startswith(f"{name}/")}
    tensors = {key: torch.from_numpy(value) for key, value in arrays.items()}
    state = {k.removeprefix("state/"): v for k, v in tensors.items() if k.startswith("state/")}
    return tensors, state


def close(actual, expected):
    torch.testing.assert_close(actual, expected, atol=1e-6, rtol=1e-5)


def test_posture_regressor():
    data, state = golden("Regressor_fly")
    net = PostureRegressor(64, 51)
    net.load_state_dict(state)
    frames = data["in1"].argmax(1)
    close(net(data["in0"], frames), data["out0"])
    close(net(data["in0"], int(frames[2]))[2], data["out0"][2])  # one frame for all of the batch
    assert not torch.allclose(net(data["in0"], 0), net(data["in0"], 1))


def test_posture_regressor_of_another_length():
    net = PostureRegressor(8, 6, n_frames=20)
    assert net(torch.randn(3, 8), 19).shape == (3, 6)
    with pytest.raises(RuntimeError):
        net(torch.randn(3, 8), 20)


def test_action_classifier():
    data, state = golden("Classifier_action")
    net = ActionClassifier(51, 15, 32)
    net.load_state_dict(state)
    close(net(data["in0"]), data["out0"])
    close(net.features(data["in0"]), data["out1"])
    assert ActionClassifier(**net.sizes()).state_dict().keys() == state.keys()


@pytest.mark.parametrize("net", [ActionClassifier(4, 3, 8), RealismClassifier(4, 8)])
def test_classifiers_do_not_see_what_follows_a_sequence(net):
    x = torch.randn(2, 9, 4)
    torch.testing.assert_close(net(x, torch.tensor([9, 5]))[1], net(x[1:, :5])[0])


def test_change_classifier():
    data, state = golden("Sequence_disc_michael")
    net = ChangeClassifier(51, 15)
    net.load_state_dict(state)
    net = net.double()  # what machines add up in other orders in float32 differs by more than the tolerance
    changes = data["in0"].double().transpose(1, 2)  # the original has time last
    close(net(changes), data["out0"].double())
    close(net.features(changes), data["out1"].double())


@pytest.mark.parametrize("n_frames", range(2, 14))
def test_change_classifier_of_another_length(n_frames):
    net = ChangeClassifier(6, 4, n_frames)
    assert net(torch.randn(2, n_frames, 6).diff(dim=1)).shape == (2, 4)


def test_behavior_probe():
    data, state = golden("Classifier_action_beta")
    net = BehaviorProbe(64, 15)
    net.load_state_dict(state)
    close(net(data["in0"]), data["out0"])


def test_realism_classifier():
    data, state = golden("Classifier")
    net = RealismClassifier(51)
    net.load_state_dict(state)
    close(net(data["in0"]), data["out0"][:, 0])


def test_posture_probe():
    data, state = golden("EvalRegressor")
    net = PostureProbe(64, 51)
    net.load_state_dict(state)
    close(net(data["in0"]), data["out0"])


def test_sizes_of_the_original():
    def count(net):
        return sum(p.numel() for p in net.parameters())

    assert count(PostureRegressor(1024, 51)) == 1_731_891
    assert count(ActionClassifier(51, 15)) == 1_224_719
    assert count(ChangeClassifier(51, 15)) == 93_792
    assert count(BehaviorProbe(1024, 15)) == 15_375
    assert count(RealismClassifier(51)) == 237_569
    assert count(PostureProbe(1024, 51)) == 669_235
