import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bdsynth.errors import InputError
from bdsynth.similarity.losses import losses
from bdsynth.similarity.network import MOTIONS, BodyPartNet, Outputs

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "similarity" / "bpe_losses.json").read_text())


@pytest.fixture
def outputs(bpe_net, bpe_batch):
    with torch.no_grad():
        return bpe_net(bpe_batch)


def _floats(values):
    return {name: float(value.detach()) for name, value in values.items()}


# -- the original -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("losses_eval_l2", {}),
        ("losses_eval_l2", {"triplet": "l2", "foot_velocity": 0.1, "std": torch.ones(19, 2)}),
        ("losses_eval_cosine", {"triplet": "cosine"}),
        ("losses_eval_norecon", {"reconstruction": False}),
        ("losses_eval_simw5", {"similarity_weight": 5.0}),
    ],
)
def test_published(outputs, bpe_batch, name, options):
    made = _floats(losses(outputs, bpe_batch, compat=True, **options))
    assert list(made) == list(GOLDEN[name])
    assert made == pytest.approx(GOLDEN[name], abs=1e-5)


def test_published_training_steps(bpe_net, bpe_batch):
    for module in bpe_net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    bpe_net.train()
    optimizer = torch.optim.Adam(bpe_net.parameters(), lr=1e-3, weight_decay=1e-2)
    for step in range(2):
        made = losses(bpe_net(bpe_batch), bpe_batch, compat=True)
        assert _floats(made) == pytest.approx(GOLDEN["train_steps_dropout0"][step], abs=1e-4)
        total = sum(made.values())
        assert float(total.detach()) == pytest.approx(GOLDEN["train_steps_total"][step], abs=1e-4)
        if step == 0:
            total.backward()
            optimizer.step()


# -- what should be near, and what far --------------------------------------------------------------------


def _perfect(batch, skeleton_scale=1.0, view_scale=1.0) -> Outputs:
    """Codes that depend on nothing but the motion, the skeleton or the view, each far from the other."""
    n = len(batch["variation"])
    eye = torch.eye(64)
    motions = {at: [eye[at[0] // 2].expand(n, 64)[..., None].repeat(1, 1, 4)] * 5 for at in MOTIONS}
    everything = [(m, s, v) for m in range(3) for s in range(2) for v in range(2)]
    bodies = {at: [skeleton_scale * eye[at[1]].expand(n, 64)] * 5 for at in everything}
    views = {at: view_scale * eye[at[2]].expand(n, 64) for at in everything}
    targets = [batch[part].flatten(1, 3).transpose(0, 1) for part in ("ra", "la", "rl", "ll", "torso")]
    return Outputs(motions, bodies, views, targets)


def test_codes_that_tell_everything_apart_cost_nothing(bpe_batch):
    batch = {**bpe_batch, "variation": torch.zeros(8)}
    for whole_body in (False, True):
        outputs = _perfect(batch)
        if whole_body:
            outputs = Outputs(
                outputs.motions, {at: codes[:1] for at, codes in outputs.bodies.items()}, outputs.views,
                outputs.reconstructions,
            )  # fmt: skip
        made = _floats(losses(outputs, batch, foot_velocity=1.0, std=torch.ones(19, 2)))
        assert made == pytest.approx(dict.fromkeys(made, 0.0), abs=1e-5)
        published = _floats(losses(outputs, batch, compat=True, triplet="cosine"))
        assert published["v_tpl1"] > 1 and published["v_tpl2"] > 1  # the wrong way round
        assert (published["b_tpl1"] > 1) == whole_body


@pytest.mark.parametrize(
    ("triplet", "similarity", "variant"),
    [("cosine", "l2", {}), ("l2", "l2", {}), ("cosine", "cosine", {"all_joints": True})],
)
def test_it_can_be_learned(triplet, similarity, variant, bpe_batch):
    torch.manual_seed(0)
    net = BodyPartNet(**variant, dropout=0.0)
    batch = {name: values[:4] for name, values in bpe_batch.items()}
    if variant:
        whole = torch.cat([batch[part] for part in ("ra", "la", "rl", "ll", "torso")], dim=-2)
        batch |= {part: torch.randn(4, 3, 2, 2, of.stop - of.start, 32) for part, of in net.ranges.items()}
        batch |= {"whole": whole, "target": whole}
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    how = {"triplet": triplet, "similarity": similarity, "foot_velocity": 0.1, "std": torch.ones(19, 2)}
    totals = []
    for _ in range(2):
        total = sum(losses(net(batch), batch, **how).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(float(total.detach()))
    assert np.isfinite(totals).all() and totals[1] < totals[0]


def test_the_anchor_is_not_moved(bpe_net, bpe_batch):
    outputs = bpe_net({name: values[:2] for name, values in bpe_batch.items()})
    loss = losses(outputs, {name: values[:2] for name, values in bpe_batch.items()})["m_quad1"]
    of = [outputs.motions[at][0] for at in (MOTIONS[3], MOTIONS[0])]  # anchor and p of the first quadruplet
    anchor, p = torch.autograd.grad(loss, of, allow_unused=True)
    assert anchor is None and p.any()


def test_variations_may_be_apart_by_their_score(bpe_batch):
    outputs = _perfect(bpe_batch)  # p and its variation on one place
    still = _floats(losses(outputs, {**bpe_batch, "variation": torch.zeros(8)}))
    varied = _floats(losses(outputs, {**bpe_batch, "variation": torch.ones(8)}, similarity_weight=2.0))
    assert varied["m_quad1"] - still["m_quad1"] == pytest.approx(2 * 0.2**2, abs=1e-5)


# -- feet --------------------------------------------------------------------------------------------


def test_foot_velocity_is_that_of_the_ankle(bpe_batch):
    """Moves one ankle by 3 a frame, from its hip, from the mid-hip or with it: all the same."""
    std = torch.rand(19, 2, generator=torch.Generator().manual_seed(0)) + 0.5
    still = _perfect(bpe_batch)
    moves = {"ankle": (2, slice(4, 6), 8), "hip": (4, slice(8, 10), 16)}
    frames, results = 3.0 * torch.arange(32.0), []
    for part, channels, row in moves.values():
        made = [values.clone() for values in still.reconstructions]
        made[part][..., channels, :] += frames / std[row][:, None]
        results.append(losses(_made(still, made), bpe_batch, foot_velocity=1.0, std=std)["foot_vel"])
    expected = (3.0 / std[18]).square().mean() / 2  # of two feet one moves
    torch.testing.assert_close(torch.stack(results), expected.expand(2))
    made = [values.clone() for values in still.reconstructions]
    made[4][..., 12:, :] += 3.0 / std[18][:, None]
    both = losses(_made(still, made), bpe_batch, foot_velocity=0.5, std=std)["foot_vel"]
    torch.testing.assert_close(both, 0.5 * 2 * expected)


def _made(outputs, reconstructions):
    return Outputs(outputs.motions, outputs.bodies, outputs.views, reconstructions)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"triplet": "l1"}, "triplet"), ({"similarity": "l1"}, "similarity"), ({"foot_velocity": 1}, "velocity")],
)
def test_refuses(bpe_batch, options, named):
    with pytest.raises(InputError, match=named):
        losses(_perfect(bpe_batch), bpe_batch, **options)
