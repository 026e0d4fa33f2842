import numpy as np
import pytest
from PIL import Image, ImageDraw

from bdsynth.display.drawing import PALETTE, SCALE, draw_disc, draw_stroke, empty_sheet, same_scale, scene_of


def as_seen(motion):
    """From the front, in pixels, y down."""
    y, z = motion.positions[..., 1], motion.positions[..., 2]
    return motion.replace(positions=np.stack([y, 2 - z], axis=-1) * 100, unit="px")


@pytest.mark.parametrize("seen", [lambda motion: motion, as_seen])
def test_all_joints_are_projected_into_the_picture(make_person, seen):
    motion = seen(make_person(10, speed=1.0))
    scene = scene_of(motion, (120, 90), "auto", trail=False)
    for t in (0, 9):
        points, zoom, near = scene.project(motion.positions[t], t)
        assert points.shape == (17, 2) and zoom.shape == near.shape == (17,)
        assert (points > 0).all() and (points < np.array([120, 90]) * SCALE).all()
        head, ankle = (points[motion.skeleton.index(joint)] for joint in ("head", "left_ankle"))
        assert head[1] < ankle[1]
    assert scene.seen.shape == (10, 17) and scene.seen.all()
    assert scene.frame(empty_sheet((120, 90), ""), 0).shape == (90, 120, 3)


def test_same_scale(make_person):
    large = make_person(1)
    small = large.with_positions(0.5 * large.positions)
    scenes = [scene_of(motion, (90, 90), "auto", trail=False) for motion in (large, small)]
    assert scenes[1].fit < scenes[0].fit
    widest = scenes[0].fit
    same_scale(scenes)
    assert [scene.fit for scene in scenes] == [widest, widest]


def test_strokes_and_discs():
    image = Image.new("L", (40, 40))
    draw = ImageDraw.Draw(image)
    draw_stroke(draw, np.array([5.0, 10]), np.array([35.0, 10]), 0.2, 255)  # at least one pixel wide
    draw_disc(draw, np.array([20.0, 30]), 5, 255)
    pixels = np.asarray(image) > 0
    assert pixels[10, 5:36].all() and not pixels[8].any() and not pixels[12].any()
    assert 70 < pixels[20:].sum() < 100 and pixels[30, 15:26].all()


def test_a_long_caption_is_cut():
    sheet = np.asarray(empty_sheet((60, 40), "a caption of very many words"))
    assert sheet.shape == (40 * SCALE, 60 * SCALE, 3)
    written = (sheet != PALETTE["background"]).any(-1)
    assert written[:25].any() and not written[:, -8:].any()
    assert (np.asarray(empty_sheet((60, 40), "")) == PALETTE["background"]).all()
