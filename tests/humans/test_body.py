"""Bodies drawn from seeds."""

import dataclasses
import sys

import numpy as np
import pytest

from bdsynth.errors import InputError
from bdsynth.humans.body import Body, Phenotype, require_humans, sample_phenotype, topology


def test_missing_packages_are_told_in_one_line(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "anny", None)
    with pytest.raises(InputError, match=r"install bdsynth\[humans\]"):
        require_humans()


def test_the_rooms_modules_do_not_import_anny_or_warp() -> None:
    import subprocess

    modules = "actor atlas body clothes feet look patterns raycaster retarget rotations studio tailor".split()
    lines = "; ".join(f"import bdsynth.humans.{name}" for name in modules)
    code = f"import sys; {lines}; sys.exit(any(name in sys.modules for name in ('anny', 'warp', 'torch')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_phenotypes_are_functions_of_the_seed_and_plausible() -> None:
    people = [sample_phenotype(seed) for seed in range(300)]
    assert people == [sample_phenotype(seed) for seed in range(300)]
    assert len(set(people)) == 300
    men = np.array([p.height for p in people if p.gender < 0.5])
    women = np.array([p.height for p in people if p.gender > 0.5])
    assert 110 < len(men) < 190
    assert abs(men.mean() - 1.77) < 0.02 and abs(women.mean() - 1.645) < 0.02
    assert women.min() > 1.45 and men.max() < 2.0


def test_fields_can_be_fixed_without_moving_the_others() -> None:
    plain, fixed = sample_phenotype(3), sample_phenotype(3, weight=0.9)
    assert fixed == dataclasses.replace(plain, weight=0.9)
    with pytest.raises(InputError, match="did you mean 'height'"):
        sample_phenotype(3, hight=1.8)
    with pytest.raises(InputError, match="age is 1.5"):
        sample_phenotype(3, age=1.5)


@pytest.mark.parametrize("height", [1.5, 1.75, 1.98])
def test_a_body_has_exactly_its_height(height: float) -> None:
    body = Body.of(Phenotype(gender=0.1, age=0.7, muscle=0.5, weight=0.5, proportions=0.5, height=height))
    assert np.ptp(body.vertices[:, 2]) == pytest.approx(height, abs=1e-4)


def test_bodies_stand_upright_and_face_minus_y(body: Body) -> None:
    assert body.head("head")[2] > body.head("root")[2] > body.head("lowerleg01.L")[2] > body.head("foot.L")[2]
    assert body.head("upperarm01.L")[0] > 0 > body.head("upperarm01.R")[0]
    assert body.nose[1] < body.head("head")[1] - 0.05
    assert body.crown[2] == body.vertices[:, 2].max()


def test_topology_is_sound() -> None:
    shared = topology()
    assert shared.faces.min() == 0 and shared.faces.max() == len(shared.kept) - 1
    assert np.allclose(shared.weights.sum(1), 1, atol=1e-5)
    assert (np.diff(shared.weights, axis=1) <= 1e-6).all()
    assert shared.uv.min() >= 0 and shared.uv.max() <= 1
    assert all(parent < b for b, parent in enumerate(shared.parents))


def test_faces_look_outward(body: Body) -> None:
    a, b, c = (body.vertices[topology().faces[:, k]].astype(np.float64) for k in range(3))
    volume = np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6
    assert 0.03 < volume < 0.2


def test_posing_moves_bones_rigidly(body: Body) -> None:
    mesh, n = body.mesh, len(topology().bones)
    rest = np.tile(np.eye(3), (2, n, 1, 1))
    heads = np.stack([body.heads, body.heads + (1.0, 2.0, 3.0)])
    posed = mesh.posed(rest, heads)
    assert np.abs(posed[0] - body.vertices).max() < 1e-5
    assert np.abs(posed[1] - body.vertices - (1.0, 2.0, 3.0)).max() < 1e-5
