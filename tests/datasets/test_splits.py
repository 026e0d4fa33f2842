import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdsynth.datasets.splits import split_groups
from bdsynth.errors import InputError

durations = st.floats(0.1, 100)


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), durations), min_size=1, max_size=40),
    st.floats(0.05, 0.95),
    st.integers(0, 99),
)
def test_by_clip_every_action_stands_on_both_sides(clips, fraction, seed):
    groups = [f"clip{i}" for i in range(len(clips))]
    actions = [action for action, _ in clips]
    sides = split_groups(groups, actions, [d for _, d in clips], fraction, seed)
    assert sides == split_groups(groups, actions, [d for _, d in clips], fraction, seed)
    for action in set(actions):
        of_action = [side for side, a in zip(sides, actions, strict=True) if a == action]
        assert set(of_action) == ({"train", "test"} if len(of_action) > 1 else {"train"})


@given(
    st.lists(st.tuples(st.integers(0, 6), st.sampled_from("abc"), durations), min_size=1, max_size=40),
    st.integers(0, 9),
)
def test_groups_stay_whole_and_train_is_never_empty(clips, seed):
    groups = [f"subject {s}" for s, _, _ in clips]
    sides = split_groups(groups, [a for _, a, _ in clips], [d for _, _, d in clips], 0.25, seed)
    side_of = {}
    for group, side in zip(groups, sides, strict=True):
        assert side_of.setdefault(group, side) == side
    assert "train" in sides


@given(st.integers(0, 50), st.integers(4, 40))
def test_share_by_duration(seed, n):
    lengths = [1.0 + i % 3 for i in range(n)]
    sides = split_groups([str(i) for i in range(n)], ["walk"] * n, lengths, 0.25, seed)
    share = sum(d for d, side in zip(lengths, sides, strict=True) if side == "test") / sum(lengths)
    assert abs(share - 0.25) <= 1.5 * max(lengths) / sum(lengths)


def test_a_subject_with_two_actions_moves_as_one():
    # x is done by 1 and 2, y by 2 only: 2 must train for y, so 1 must test for x
    for seed in range(20):
        sides = split_groups(["1", "2", "2"], ["x", "x", "y"], [9.0, 1.0, 1.0], 0.25, seed)
        assert sides == ["test", "train", "train"]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), durations), min_size=1, max_size=40))
def test_a_part_is_split_as_if_alone(clips):
    groups = [f"{part}{i}" for i, (part, _, _) in enumerate(clips)]
    parts, lengths = [part for part, _, _ in clips], [d for _, _, d in clips]
    actions = [part + action for part, action, _ in clips]  # nothing in common
    together = split_groups(groups, actions, lengths, 0.25, 0, parts)
    for part in set(parts):
        chosen = [i for i, p in enumerate(parts) if p == part]
        alone = split_groups(*([values[i] for i in chosen] for values in (groups, actions, lengths)), 0.25, 0)
        assert alone == [together[i] for i in chosen]


def test_an_action_with_one_recording_in_each_of_two_parts():
    sides = split_groups(["a1", "b1"], ["walk", "walk"], [1.0, 2.0], 0.25, 0, ["a", "b"])
    assert set(sides) == {"train", "test"}


def test_the_seed_matters():
    groups, actions = [str(i) for i in range(20)], ["walk"] * 20
    assert len({tuple(split_groups(groups, actions, [1.0] * 20, 0.25, seed)) for seed in range(5)}) > 1


@pytest.mark.parametrize("fraction", [0, 1, -0.5, float("nan")])
def test_bad_fraction(fraction):
    with pytest.raises(InputError, match="test fraction"):
        split_groups(["1"], ["walk"], [1.0], fraction)
