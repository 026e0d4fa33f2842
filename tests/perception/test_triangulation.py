"""Bodies before the cameras of a real calibration come back, also from views that are wrong."""

import numpy as np
import pytest

from bdsynth.errors import InputError
from bdsynth.formats.people import Person
from bdsynth.motion import Motion
from bdsynth.perception.calibration import read_calibration
from bdsynth.perception.matching import from_first_frame, match_people
from bdsynth.perception.triangulation import reprojection_errors, triangulate

FRAMES = 60


@pytest.fixture(scope="module")
def cameras(small_data):
    return read_calibration(small_data / "pose2sim" / "Calib.qca.txt")


@pytest.fixture(scope="module")
def body(scene):
    """In the middle of the four cameras, metres."""
    world = scene.world.slice(0, FRAMES)
    return world.with_positions(world.positions - [*world.positions.mean((0, 1))[:2], 0])


def seen(body, cameras, rng=None, noise=0.0):
    views = {}
    for name, camera in cameras.items():
        pixels = camera.project(body.positions)
        if rng is not None:
            pixels = pixels + rng.normal(scale=noise, size=pixels.shape)
        views[name] = Motion(pixels, body.skeleton, body.fps, "px", name="walk")
    return views


def off(motion, body):
    """(T, J) metres, NaN where masked."""
    error = np.linalg.norm(motion.positions - body.positions, axis=-1)
    return np.where(motion.confidence > 0, error, np.nan)


def test_what_four_cameras_see_comes_back(body, cameras):
    motion = triangulate(seen(body, cameras), cameras)
    assert (motion.unit, motion.fps, motion.skeleton, motion.name) == ("m", 50, body.skeleton, "walk")
    assert motion.is_complete and off(motion, body).max() < 1e-4
    low = motion.positions[..., 2].min(1)
    assert (abs(low - low.mean()) < 0.1).all()  # z is up: feet stay near the floor


def test_noise_is_spread_best_by_confidence(body, cameras):
    """The views that are sure count: as good as those alone, better than all alike."""
    rng = np.random.default_rng(0)
    views = seen(body, cameras, rng, 2.0)
    noisy = {**views, "cam03": seen(body, cameras, rng, 15.0)["cam03"]}
    sure = {name: m.with_positions(m.positions, np.full(m.positions.shape[:2], 0.35 if name == "cam03" else 1.0))
            for name, m in noisy.items()}  # fmt: skip
    alike, weighted = (np.nanmean(off(triangulate(v, cameras, max_error=200), body)) for v in (noisy, sure))
    assert weighted < 0.7 * alike and weighted < 0.006


def test_least_squares_on_the_picture(body, cameras):
    """No point close to the result has smaller reprojection errors: Gauss-Newton has arrived."""
    views = seen(body, cameras, np.random.default_rng(1), 5.0)
    motion = triangulate(views, cameras)

    def total(positions):
        moved = motion.with_positions(positions, motion.confidence)
        return sum(np.square(e) for e in reprojection_errors(moved, views, cameras).values())

    best = total(motion.positions)
    for axis in range(3):
        for step in (-0.002, 0.002):
            moved = motion.positions.copy()
            moved[..., axis] += step
            assert (total(moved) > best).mean() > 0.99


@pytest.mark.parametrize("names", [("cam01", "cam02", "cam03", "cam04"), ("cam01", "cam03", "cam04")])
def test_a_wrong_view_is_left_out(body, cameras, names):
    """Legs taken for each other in one view for a while, sure as it is; a joint that flies about in another."""
    rng = np.random.default_rng(2)
    views = {name: motion for name, motion in seen(body, cameras, rng, 2.0).items() if name in names}
    swapped = views["cam04"].positions.copy()
    swapped[10:40, 1:7] = swapped[10:40][:, [4, 5, 6, 1, 2, 3]]
    swapped[45:50, 16] += rng.normal(scale=300, size=(5, 2))
    views["cam04"] = views["cam04"].with_positions(swapped)
    motion = triangulate(views, cameras)
    error = off(motion, body)
    assert np.isfinite(error).mean() > 0.99
    assert np.nanmax(error) < 0.15 and np.nanmean(error) < 0.01
    errors = reprojection_errors(motion, views, cameras)
    assert np.nanmedian(errors["cam01"]) < 4 and np.nanmedian(errors["cam04"][10:40, [2, 3, 5, 6]]) > 20


def test_two_views_that_agree_by_accident(body, cameras):
    """One view is wrong along the epipolar line of another, more exactly than the others are right."""
    three = {name: cameras[name] for name in ("cam01", "cam02", "cam04")}
    views = seen(body, three, np.random.default_rng(3), 4.0)
    truth = body.positions[30, 16].astype(float)
    eye = cameras["cam01"].position
    elsewhere = truth + 0.35 * (truth - eye) / np.linalg.norm(truth - eye)  # on the ray of camera 1
    pixels = {name: motion.positions.copy() for name, motion in views.items()}
    pixels["cam01"][30, 16] = cameras["cam01"].project(truth)
    pixels["cam02"][30, 16] = cameras["cam02"].project(elsewhere)
    wrong = {name: motion.with_positions(pixels[name]) for name, motion in views.items()}
    motion = triangulate(wrong, cameras)
    assert motion.confidence[30, 16] == 0 or off(motion, body)[30, 16] < 0.05
    assert np.nanmax(off(motion, body)) < 0.1


def test_masked_where_fewer_than_two_views_agree(body, cameras):
    views = {name: motion for name, motion in seen(body, cameras).items() if name in ("cam01", "cam02", "cam03")}
    sure = {name: np.ones((FRAMES, 17)) for name in views}
    sure["cam01"][20:30] = 0.2
    sure["cam02"][25:40] = 0.0
    pixels = {name: motion.positions.copy() for name, motion in views.items()}
    pixels["cam02"][25:40] = np.nan
    rng = np.random.default_rng(0)
    for name in pixels:  # nobody agrees with anybody
        pixels[name][50, 5] = rng.uniform([0, 0], [1000, 300])
    views = {name: motion.with_positions(pixels[name], sure[name]) for name, motion in views.items()}
    views["cam03"] = views["cam03"].slice(0, 55)
    motion = triangulate(views, cameras, max_error=10)
    assert motion.n_frames == FRAMES
    masked = motion.confidence == 0
    assert masked[25:30].all() and not masked[:25].any() and not masked[30:50].any() and masked[50, 5]
    assert masked.sum() == 5 * 17 + 1 and np.nanmax(off(motion, body)) < 1e-3
    np.testing.assert_allclose(motion.confidence[10], 1.0)


def test_two_people_in_any_order(body, cameras, scene):
    """Everybody is found in every view, whatever their numbers; somebody whom one camera sees is not."""
    other = body.with_positions(body.positions[::-1] * [1, -1, 1] + [0.3, 0.5, 0])
    away = body.with_positions(body.positions + [-0.8, -0.6, 0])
    far = body.with_positions(body.positions + [0.9, 0.7, 0])
    a, b, c, d = (
        seen(one, cameras, np.random.default_rng(n), 3.0) for n, one in enumerate((body, other, away, far))
    )
    views = {name: {"1": Person(a[name]), "2": Person(b[name])} for name in ("cam01", "cam03")}
    views["cam02"] = {"7": Person(b["cam02"].slice(10, 50), 10), "9": Person(a["cam02"]), "3": Person(c["cam02"])}
    views["cam04"] = {"1": Person(b["cam04"])}
    views["cam03"]["3"] = Person(d["cam03"])
    groups = match_people(views, cameras)
    assert groups == [
        {"cam01": "2", "cam03": "2", "cam02": "7", "cam04": "1"}, {"cam01": "1", "cam03": "1", "cam02": "9"}
    ]  # fmt: skip
    late = from_first_frame(views["cam02"]["7"])
    assert late.n_frames == 50 and (late.confidence[:10] == 0).all()
    motion = triangulate({"cam01": b["cam01"], "cam02": late}, cameras)
    assert (motion.confidence[:10] == 0).all() and np.nanmax(off(motion, other)) < 0.1
    with pytest.raises(InputError, match="view 'cam9': has no camera, the calibration has cam01"):
        match_people({"cam9": {}}, cameras)


def test_refused(body, cameras):
    views = seen(body, cameras)
    one = views["cam01"]

    def refuse(message, views, **options):
        with pytest.raises(InputError, match=message):
            triangulate(views, cameras, **options)

    refuse("1 view, expected at least 2", {"cam01": one})
    refuse("view 'cam9': has no camera, the calibration has cam01, cam02", {**views, "cam9": one})
    refuse("view 'cam02': has 25 fps, but others 50", {**views, "cam02": one.replace(fps=25)})
    refuse("view 'cam02': is in m, expected pixels", {**views, "cam02": body})
    refuse("view 'cam02': is on h36m_17_compvis, but others on h36m_17",
           {**views, "cam02": one.to_skeleton("h36m_17_compvis")})  # fmt: skip
    refuse("min_confidence is 2, expected a number in .0, 1.", views, min_confidence=2)
    refuse("max_error is 0, expected pixels, more than 0", views, max_error=0)
    far = {"cam01": one, "cam02": views["cam02"].with_positions(views["cam02"].positions + [0, 600])}
    refuse("no two of the views cam01, cam02 agree within 3 px", far, max_error=3)
