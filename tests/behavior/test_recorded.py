import numpy as np
import pytest
import torch

from bdsynth.behavior.recorded import Recorded, halves, record
from bdsynth.errors import InputError


def test_stretches_of_clips(tiny_dataset):
    found = record(tiny_dataset, "test", 16, 25.0, past=3, count=7)
    assert found.positions.shape == (7, 3 + 1 + 16, 17, 3) and found.past == 3
    for positions, label, clip in zip(found.positions.numpy(), found.action, found.clip, strict=True):
        row = tiny_dataset.index[clip]
        assert row.split == "test" and tiny_dataset.actions[label] == row.action
        frames = tiny_dataset.positions[row.start : row.stop]
        first = int(np.abs(frames - positions[3]).sum((1, 2)).argmin())  # the start posture
        wanted = first + 2 * np.arange(-3, 17)
        np.testing.assert_array_equal(positions, frames[np.maximum(wanted, 0)])
    assert torch.equal(found.starts, found.positions[:, :4])
    assert torch.equal(found.motion, found.positions[:, 3:]) and torch.equal(found.future, found.positions[:, 4:])


def test_the_past_chooses_no_other_sequences(tiny_dataset):
    some, none = (record(tiny_dataset, "test", 16, 25.0, past=past, count=9) for past in (9, 0))
    assert torch.equal(some.motion, none.positions)
    assert (some.positions[0, :10] == none.positions[0, 0]).all()  # nothing was recorded before


def test_at_another_rate(tiny_dataset):
    assert len(record(tiny_dataset, "train", 10, 50.0, count=5)) == 5
    for fps in (30.0, 100.0):
        with pytest.raises(InputError, match=f"50 fps is no multiple of the model's {fps:g}"):
            record(tiny_dataset, "train", 10, fps)


def made(actions, clips):
    action, clip = torch.tensor(actions), torch.tensor(clips)
    return Recorded(torch.zeros(len(action), 2, 1, 3), 0, action, clip)


def test_halves_are_of_whole_clips_and_of_every_action():
    clip = np.repeat(np.arange(24), 5)
    found = made((clip % 3).tolist(), clip.tolist())
    half = halves(found, 0).numpy()
    for number in range(24):
        assert len(set(half[clip == number])) == 1
    for action in range(3):
        assert half[clip % 3 == action].mean() == 0.5
    assert np.array_equal(half, halves(found, 0)) and not np.array_equal(half, halves(found, 1))


def test_two_clips_are_two_halves():
    assert set(halves(made([0, 0, 1], [4, 4, 7]), 0).tolist()) == {True, False}
    assert not halves(made([0, 0], [1, 1]), 0).any()  # of one clip there is one half
