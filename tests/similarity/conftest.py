"""The published body part embedding on made-up people: its weights, what it read and what it made of it."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bdsynth.similarity.features import PARTS
from bdsynth.similarity.network import BodyPartNet

GOLDEN = Path(__file__).parents[1] / "golden" / "similarity"


@pytest.fixture(scope="session")
def bpe_views():
    return dict(np.load(GOLDEN / "bpe_views.npz"))


@pytest.fixture(scope="session")
def bpe_outputs():
    return dict(np.load(GOLDEN / "bpe_outputs.npz"))


@pytest.fixture(scope="session")
def bpe_batch():
    golden = np.load(GOLDEN / "bpe_batch.npz")
    batch = {part: torch.from_numpy(golden[f"batch_{part}"]) for part in PARTS}
    return {**batch, "variation": torch.from_numpy(golden["batch_variation_p_sp"])}


@pytest.fixture(scope="session")
def bpe_state():
    files = [np.load(GOLDEN / f"bpe_state_{i}.npz") for i in range(3)]
    return {name: torch.from_numpy(file[name]) for file in files for name in file}


@pytest.fixture
def bpe_net(bpe_state):
    net = BodyPartNet()
    net.load_state_dict(bpe_state)
    return net.eval()


@pytest.fixture
def bpe_model(bpe_net, bpe_views):
    mean, std = bpe_views["meanpose"], bpe_views["stdpose"]
    return SimpleNamespace(net=bpe_net, mean=mean, std=std, fps=30.0, window=32, name="golden")
