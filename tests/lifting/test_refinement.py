from pathlib import Path

import numpy as np
import pytest
import torch

from bdsynth.errors import InputError
from bdsynth.lifting.refinement import Refinement, back_project

GOLDEN = Path(__file__).parents[1] / "golden" / "lifting"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "pstmo_refine.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


@pytest.fixture
def net(golden) -> Refinement:
    net = Refinement().eval().requires_grad_(False)
    net.load_state_dict({k.removeprefix("state/"): v for k, v in golden.items() if k.startswith("state/")})
    return net


def test_back_projects_like_the_original(golden):
    depth = golden["truth"][:, :, 0, 2]
    rays = back_project(golden["poses"], golden["keypoints"], golden["cameras"], depth)
    torch.testing.assert_close(rays, golden["rays"], atol=1e-5, rtol=0)


def test_refines_like_the_original(golden, net):
    torch.testing.assert_close(net(golden["poses"], golden["rays"]), golden["refined"], atol=1e-5, rtol=0)


def test_published_names_and_sizes():
    with torch.device("meta"):
        net = Refinement()
    assert sum(p.numel() for p in net.parameters()) == 140_322
    assert [(key, tuple(value.shape)) for key, value in net.state_dict().items()] == [
        ("post_refine.0.weight", (1024, 102)),
        ("post_refine.0.bias", (1024,)),
        ("post_refine.3.weight", (34, 1024)),
        ("post_refine.3.bias", (34,)),
    ]


def test_result_lies_between_both_and_at_the_depth_of_the_pose(net):
    poses, rays = torch.randn(5, 3, 17, 3), torch.randn(5, 3, 17, 3)
    refined = net(poses, rays)
    low, high = torch.minimum(poses, rays)[..., :2], torch.maximum(poses, rays)[..., :2]
    assert ((low - 1e-5 <= refined[..., :2]) & (refined[..., :2] <= high + 1e-5)).all()
    assert torch.equal(refined[..., 2], poses[..., 2])


@pytest.mark.parametrize("root", [0, 2])
def test_a_true_pose_is_its_own_back_projection(root):
    pose = torch.randn(4, 6, 5, 3).double()
    pose -= pose[:, :, [root]].clone()
    place = torch.tensor([0.3, -0.2, 6.0]).double() + 0.5 * torch.randn(4, 6, 3).double()
    cameras = torch.tensor([2.2, 2.3, 0.05, -0.01]).double().expand(4, 4)
    points = pose + place[:, :, None]
    keypoints = cameras[:, None, None, :2] * points[..., :2] / points[..., 2:] + cameras[:, None, None, 2:]
    found = back_project(pose, keypoints, cameras, place[..., 2], root=root)
    torch.testing.assert_close(found, pose, atol=1e-12, rtol=0)


def test_what_a_pose_says_of_its_root_does_not_matter():
    pose, keypoints = torch.randn(1, 2, 4, 3), torch.randn(1, 2, 4, 2)
    cameras, depth = torch.tensor([[2.0, 2.0, 0.0, 0.0]]), torch.full((1, 2), 5.0)
    moved = pose.clone()
    moved[:, :, 0] += 1
    first, second = (back_project(p, keypoints, cameras, depth) for p in (pose, moved))
    assert torch.equal(first, second) and not first[:, :, 0].any()


def test_another_shape_is_refused(net):
    with pytest.raises(InputError, match=r"expected \(B, T, 17, 3\)"):
        net(torch.zeros(1, 1, 16, 3), torch.zeros(1, 1, 16, 3))
    with pytest.raises(InputError, match=r"\(1, 1, 17, 3\) and \(1, 2, 17, 3\)"):
        net(torch.zeros(1, 1, 17, 3), torch.zeros(1, 2, 17, 3))
