import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bdsynth.behavior.kinematic import Bones, KinematicNet
from bdsynth.behavior.model import BehaviorModel
from bdsynth.behavior.sequences import mix_sequences, swap_starts
from bdsynth.datasets.pose_space import PoseSpace
from bdsynth.errors import InputError
from bdsynth.geometry import bone_lengths
from bdsynth.skeletons import Skeleton

T = 20


@pytest.fixture(scope="module", params=["world", "root_relative"])
def space(request, walking):
    return PoseSpace.fit([walking.positions], walking.skeleton, request.param)


@pytest.fixture(scope="module")
def sequence(space, walking):
    """(3, T + 1, N) in double precision."""
    frames = [walking.positions[first : first + T + 1] for first in (0, 5, 9)]
    return space.normalize(torch.from_numpy(np.stack(frames)).double())


def make(space, **sizes) -> KinematicNet:
    torch.manual_seed(0)
    net = KinematicNet(space, 8, T, **{"width": 16, "depth": 2, "n_cosines": 6} | sizes).double().eval()
    for parameter in net.parameters():  # corrections start at 0
        torch.nn.init.normal_(parameter, std=0.3)
    return net.requires_grad_(False)


def close(actual, expected, atol=1e-9):
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


def test_bones_are_put_together_again(space, sequence):
    bones = Bones(space).double()
    pelvis, directions, lengths = bones.split(sequence)
    assert pelvis.shape == (3, T + 1, 3) and directions.shape == (3, T + 1, 16, 3)
    close(directions.norm(dim=-1), torch.ones(3, T + 1, 16, dtype=torch.double))
    close(bones.join(pelvis, directions, lengths), sequence)
    assert bones.moving(sequence).shape[-1] == bones.n_features == 51


def test_bones_without_length_stay_where_they_are(space, sequence):
    bones = Bones(space).double()
    positions = space.denormalize(sequence)
    parent = space.skeleton.parents[space.skeleton.index("head")]
    positions[..., space.skeleton.index("head"), :] = positions[..., parent, :]
    x = space.normalize(positions)
    close(bones.join(*bones.split(x)), x)
    assert make(space).decode(torch.ones(3, 8).double(), x[:, 0], T).isfinite().all()


def test_a_skeleton_with_another_root():
    skeleton = Skeleton("upside down", ("head", "pelvis"), (-1, 0))
    with pytest.raises(InputError, match="the pelvis is not the root"):
        Bones(PoseSpace(skeleton, "world", np.zeros(6), np.ones(6)))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), length=st.integers(1, 3 * T))
def test_bones_keep_their_lengths(space, sequence, seed, length):
    net, start = make(space), sequence[:, 3]
    code = torch.randn(3, 8, generator=torch.Generator().manual_seed(seed)).double()
    decoded = net.decode(code, start, length)
    assert decoded.shape == (3, length, 51)
    parents = space.skeleton.parents
    made = bone_lengths(space.denormalize(decoded).numpy(), parents)
    np.testing.assert_allclose(
        made,
        np.broadcast_to(bone_lengths(space.denormalize(start).numpy(), parents)[:, None], made.shape),
        atol=1e-9,
    )
    sure = max(0, length - net.fade)  # the last frames are where more would fade in
    close(net.decode(code, start, 3 * T)[:, :sure], decoded[:, :sure])


def test_a_behavior_goes_on_from_a_posture_before_its_end(space, sequence):
    """What comes again starts from the last frame but ``fade``, and has replaced the end once that is over."""
    net, code = make(space), torch.randn(3, 8).double()
    once = net.decode(code, sequence[:, 0], T)
    again = net.decode(code, once[:, -1 - net.fade], T)
    twice = net.decode(code, sequence[:, 0], 2 * T - net.fade)
    close(twice[:, : T - net.fade], once[:, : T - net.fade])
    close(twice[:, T - 1 :], again[:, net.fade - 1 :])


def test_cosines_can_say_what_people_do(space, sequence):
    net = make(space, n_cosines=12)
    changes = net._changes(sequence[:, :T], None)
    fitted = torch.linalg.pinv(net.b_enc.fit) @ net.b_enc.coefficients(changes)
    assert changes.abs().max() > 0.5
    close(fitted, changes, 0.01)
    assert net.decoder.cosines.shape == (T, 12)


def test_movements_do_not_slow_down_at_the_ends(space):
    """A pelvis that moves on evenly does so in the first and last frames too."""
    net = make(space, n_cosines=12)
    ramp = torch.linspace(0, 1, T).double()[None, :, None]
    fitted = torch.linalg.pinv(net.b_enc.fit) @ net.b_enc.coefficients(ramp)
    close(fitted.diff(dim=1), torch.full((1, T - 1, 1), 1 / (T - 1)).double(), 0.002)


def test_where_a_person_stands_does_not_matter(space, sequence):
    net = make(space)
    positions = space.denormalize(sequence)
    shifted = space.normalize(positions + torch.tensor([3.0, -2.0, 0.0]))
    close(net.encode(shifted[:, :T]).mean, net.encode(sequence[:, :T]).mean)
    code = torch.randn(3, 8).double()
    moved = space.denormalize(net.decode(code, shifted[:, 0], T))
    close(moved - torch.tensor([3.0, -2.0, 0.0]), space.denormalize(net.decode(code, sequence[:, 0], T)))


@pytest.mark.parametrize("reads", [False, True])
def test_the_posture_is_seen_only_if_asked_for(space, sequence, reads):
    net = make(space, reads_posture=reads)
    assert net.sizes()["reads_posture"] is reads
    still = sequence[:, :1].expand(-1, T, -1)  # three postures, and nothing changes
    means = net.encode(still).mean
    assert ((means - means[:1]).abs().amax(1)[1:] > 1e-3).all() == reads


def test_what_follows_a_sequence_is_not_looked_at(space, sequence):
    net, lengths = make(space), torch.tensor([T, 7, 1])
    padded = net.encode(sequence[:, :T], lengths).mean
    for i, length in enumerate(lengths.tolist()):
        close(padded[i], net.encode(sequence[i : i + 1, :length]).mean[0])
    assert not torch.allclose(padded[1], net.encode(sequence[:, :T]).mean[1])


def test_sequences_that_are_too_long(space, sequence):
    with pytest.raises(InputError, match="a sequence has 21 frames, 20 are the most"):
        make(space).encode(sequence)


def test_scales_are_those_of_the_sequences(space, sequence):
    net = make(space)
    net.scale_to(sequence[:, :T])
    coefficients = net.b_enc.coefficients(net._changes(sequence[:, :T], None))
    close(net.b_enc.scales, net.decoder.scales)
    strong = net.b_enc.scales > 0.021 * net.b_enc.scales.amax(0)
    assert strong.any()
    spread = (coefficients / net.b_enc.scales).square().mean(0).sqrt()
    assert ((spread - 1).abs() < 1e-6)[strong & (net.b_enc.scales > 1e-3)].all()


def test_forward_is_encode_sample_decode(space, sequence):
    net = make(space)
    decoded, posterior = net(sequence[:, :T], sequence[:, 3], 5, generator=torch.Generator().manual_seed(1))
    code = posterior.sample(torch.Generator().manual_seed(1))
    close(decoded, net.decode(code, sequence[:, 3], 5))
    assert posterior.mean.shape == posterior.log_std.shape == (3, 8)


def test_swapped_starts_keep_their_bones(space, sequence):
    bones, start, target = Bones(space).double(), sequence[:, 0], sequence[:, 1:]
    taller = space.normalize(1.1 * space.denormalize(start[:1]))
    start = torch.cat([taller, start[1:]])
    torch.manual_seed(0)
    other, blended = swap_starts(start, target, 1.0, 5, bones)
    assert not torch.equal(other, start)
    lengths = bones.split(blended)[2]
    close(lengths, bones.split(other)[2][:, None].expand_as(lengths))
    pelvis, directions, _ = bones.split(blended)
    close(directions[:, 5:], bones.split(target)[1][:, 5:])
    close(pelvis[:, 5:], bones.split(target)[0][:, 5:])
    nearer = (directions[:, 0] - bones.split(other)[1]).norm(dim=-1).mean()
    assert nearer < (bones.split(target)[1][:, 0] - bones.split(other)[1]).norm(dim=-1).mean()


def test_a_saved_model_does_the_same(space, tmp_path, walking):
    from bdsynth.behavior.model import load_model

    net = make(space).float()
    model = BehaviorModel(net=net, space=space, fps=25.0, length=T, min_length=10, leg_length=0.8).frozen()
    model.save(tmp_path / "net.safetensors")
    loaded = load_model(tmp_path / "net.safetensors")
    assert isinstance(loaded.net, KinematicNet) and loaded.net.sizes() == net.sizes()
    code = model.encode([walking])
    assert torch.equal(loaded.encode([walking]), code)
    for one, two in zip(model.realize(code, walking), loaded.realize(code, walking), strict=True):
        np.testing.assert_array_equal(one.positions, two.positions)


# --- Mixed sequences ----------------------------------------------------------------------------------------


def test_mixed_sequences_take_a_part_of_the_body_or_lie_between(space, sequence):
    bones, lengths = Bones(space).double(), torch.tensor([T, 9, 14])
    batch = sequence.repeat(100, 1, 1)
    torch.manual_seed(0)
    made, made_lengths = mix_sequences(batch, lengths.repeat(100), 1.0, bones)
    _, turned, sizes = bones.split(batch)
    _, now, sizes_now = bones.split(made)
    close(sizes_now, sizes)
    same = (now - turned).abs().amax((1, 3)) < 1e-9  # (300, N) bones that move as they did
    other = torch.stack([(now - turned[k]).abs().amax((1, 3)) < 1e-9 for k in range(3)]).any(0)
    parts = (same | other).all(1)  # every bone does what that bone did in one of the sequences
    assert 0.4 < parts.double().mean() < 0.85  # a sequence may be mixed with another copy of itself
    outwards = bones.chains[bones.ends]
    taken = ~same & parts[:, None]
    led = torch.stack([outwards[:, j] > 0 for j in range(16)])  # a bone, and those that follow it
    assert all(any(torch.equal(row, one) for one in led) for row in taken[taken.any(1)])
    assert (made_lengths <= lengths.repeat(100)).all() and set(made_lengths.tolist()) == {T, 9, 14}


def test_no_sequence_is_mixed_where_the_share_is_0(space, sequence):
    lengths = torch.tensor([T, 9, 14])
    made, made_lengths = mix_sequences(sequence, lengths, 0.0, Bones(space).double())
    close(made, sequence)
    assert torch.equal(made_lengths, lengths)
