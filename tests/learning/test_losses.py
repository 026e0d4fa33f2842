import pytest
import torch

from bdsynth.learning.losses import weighted_sum


def test_sum_and_gradient():
    a, b, c = (torch.tensor(v, requires_grad=True) for v in (1.0, 2.0, 3.0))
    total = weighted_sum({"a": a, "b": b, "c": c}, {"a": 2.5, "b": torch.tensor(0.5)})
    assert total.item() == 3.5
    total.backward()
    assert (a.grad, b.grad, c.grad) == (2.5, 0.5, None)


def test_weight_zero_keeps_nan_out():
    assert (
        weighted_sum({"a": torch.tensor(float("nan")), "b": torch.ones(())}, {"a": 0, "b": 1}) == 1
    )


def test_all_zero_can_still_be_differentiated():
    a = torch.tensor(2.0, requires_grad=True)
    weighted_sum({"a": a}, {"a": 0}).backward()
    assert a.grad == 0


@pytest.mark.parametrize("weights", [{"typo": 1.0}, {}])
def test_weight_without_loss(weights):
    with pytest.raises(KeyError, match="the losses are"):
        weighted_sum({"a": torch.ones(())}, weights)
