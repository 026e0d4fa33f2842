import threading
import time
import warnings

import numpy as np
import pytest

import bdsynth.perception.detect as module
from bdsynth.cli.demo import clips_folder
from bdsynth.errors import InputError
from bdsynth.perception.detect import detect
from bdsynth.perception.detectors import Detected
from bdsynth.perception.frames import Frames
from bdsynth.skeletons import get_skeleton


class Film(Frames):
    """Frames whose pixels say which they are; remembers how far it was read."""

    def __init__(self, n=40, fps=20.0, times=None, fails=None, live=False):
        self.name, self.source = "film", "film.mp4"
        self.fps, self.size, self.n_frames, self.live = fps, (64, 48), n, live
        self.times = np.arange(n) / fps if times is None else times
        self.fails, self.read, self.closed = fails, 0, False

    def __iter__(self):
        try:
            for index, moment in enumerate(self.times):
                if index == self.fails:
                    raise InputError("film: torn")
                self.read = index + 1
                yield index, float(moment), np.full((48, 64, 3), index, np.uint8)
        finally:
            self.closed = True


class Finder:
    """People who walk to the right, 3 pixels a frame at 20 frames a second."""

    name, skeleton = "finder", get_skeleton("coco_17")

    def __init__(self, walker, people=1, times=None, hidden=()):
        self.body = walker.positions[0] - walker.positions[0].mean(0)
        self.people, self.times, self.hidden = people, times, hidden
        self.resets = 0

    def reset(self):
        self.resets += 1

    def where(self, moment, number=0):
        return (1 + 0.5 * number) * self.body + [100 + 60 * moment, 200 + 600 * number]

    def detect(self, rgb):
        t = int(rgb[0, 0, 0])
        if t in self.hidden:
            return []
        moment, found = t / 20 if self.times is None else self.times[t], []
        for number in range(self.people):
            points = self.where(moment, number)
            low = points.min(0)
            box = np.concatenate([low, points.max(0) - low])
            found.append(Detected(np.concatenate([points, np.full((17, 1), 0.8)], axis=1), box, 0.9))
        return found


@pytest.fixture(scope="module")
def walker(scene, as_coco):
    return as_coco(scene.pixels)


def test_keypoints_of_a_film(walker):
    finder = Finder(walker)
    (person,) = detect(Film(), detector=finder).values()
    assert (person.start, person.motion.n_frames, person.motion.fps, person.motion.unit) == (0, 40, 20, "px")
    assert person.motion.skeleton.name == "coco_17" and person.motion.name == "film" and finder.resets == 1
    expected = np.stack([finder.where(t / 20) for t in range(40)])
    np.testing.assert_allclose(person.motion.positions, expected, atol=1e-3)


def test_people_are_chosen(walker):
    assert list(detect(Film(), detector=Finder(walker, 2))) == ["1", "2"]
    (large,) = detect(Film(), detector=Finder(walker, 2), person="largest").values()
    np.testing.assert_allclose(large.motion.positions[0], Finder(walker).where(0, 1), atol=1e-3)
    with pytest.raises(InputError, match="no person '7'"):
        detect(Film(), detector=Finder(walker, 2), person="7")


def test_frames_without_anybody_stay_in_time(walker):
    (person,) = detect(Film(), detector=Finder(walker, hidden=(0, 1, 10, 11))).values()
    assert (person.start, person.motion.n_frames) == (2, 38)
    missing = ~(person.motion.confidence > 0).any(1)
    assert np.flatnonzero(missing).tolist() == [8, 9]


def test_times_of_a_variable_rate_decide(walker):
    """Everybody is where they are at t / fps, whenever the frames were taken."""
    times = np.cumsum(np.random.default_rng(0).choice([0.03, 0.05, 0.11], 40))
    times -= times[0]
    finder = Finder(walker, times=times)
    (person,) = detect(Film(times=times), detector=finder).values()
    assert person.motion.n_frames == int(times[-1] * 20 + 1e-6) + 1
    expected = np.stack([finder.where(t / 20) for t in range(person.motion.n_frames)])
    np.testing.assert_allclose(person.motion.positions, expected, atol=1e-3)
    late = Finder(walker, times=times, hidden=range(8))
    (person,) = detect(Film(times=times), detector=late).values()
    np.testing.assert_allclose(person.motion.positions[0], finder.where(person.start / 20), atol=1e-3)


def test_a_swap_is_undone(walker):
    class Confused(Finder):
        def detect(self, rgb):
            (one,) = super().detect(rgb)
            swap = list(self.skeleton.mirror) if rgb[0, 0, 0] in (0, 1, 20) else slice(None)
            return [Detected(one.keypoints[swap], one.box, one.score)]

    (person,) = detect(Film(), detector=Confused(walker)).values()
    expected = np.stack([Finder(walker).where(t / 20) for t in range(40)])
    np.testing.assert_allclose(person.motion.positions, expected, atol=1e-3)


def test_nobody(walker):
    with pytest.raises(InputError, match="^film.mp4: nobody was found in any of its 40 frames"):
        detect(Film(), detector=Finder(walker, 0))


# -- decoding ahead ------------------------------------------------------------------------------


def test_few_frames_are_held(walker):
    film, ahead = Film(200), []

    class Slow(Finder):
        def detect(self, rgb):
            time.sleep(0.002)
            ahead.append(film.read - int(rgb[0, 0, 0]))
            return super().detect(rgb)

    detect(film, detector=Slow(walker))
    assert 2 < max(ahead) <= module._AHEAD + 2


def test_decoding_and_detecting_overlap(walker):
    class Slow(Film):
        def __iter__(self):
            for frame in super().__iter__():
                time.sleep(0.01)
                yield frame

    class Heavy(Finder):
        def detect(self, rgb):
            time.sleep(0.01)
            return super().detect(rgb)

    start = time.perf_counter()
    detect(Slow(), detector=Heavy(walker))
    assert time.perf_counter() - start < 0.8 - 0.2  # one after the other it were 0.8 s


def test_errors_of_either_side_end_both(walker):
    with pytest.raises(InputError, match="film: torn"):
        detect(Film(fails=10), detector=Finder(walker))

    class Broken(Finder):
        def detect(self, rgb):
            raise RuntimeError("no memory")

    film = Film(10_000)
    with pytest.raises(RuntimeError, match="no memory"):
        detect(film, detector=Broken(walker))
    assert film.closed and film.read < 20
    assert not [thread for thread in threading.enumerate() if thread.name == "decoding"]


def test_a_webcam_ends_with_an_interrupt(walker):
    class Interrupted(Finder):
        def detect(self, rgb):
            if rgb[0, 0, 0] == 30:
                raise KeyboardInterrupt
            return super().detect(rgb)

    (person,) = detect(Film(200, live=True), detector=Interrupted(walker)).values()
    assert person.motion.n_frames == 30
    with pytest.raises(KeyboardInterrupt):
        detect(Film(200), detector=Interrupted(walker))


def test_progress_wraps_the_frames(walker):
    seen = []

    def progress(frames):
        for frame in frames:
            seen.append(frame[0])
            yield frame

    detect(Film(), detector=Finder(walker), progress=progress)
    assert seen == list(range(40))


# -- a real video --------------------------------------------------------------------------------


def test_a_real_video():
    pytest.importorskip("ai_edge_litert")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (person,) = detect(clips_folder() / "pose2sim_balance.mp4").values()
    assert (person.start, person.motion.n_frames, person.motion.fps) == (0, 50, 30)
    assert person.motion.confidence.min() > 0.3
    joint = person.motion.skeleton.index("left_wrist")
    np.testing.assert_allclose(person.motion.positions[15, joint], [207, 295], atol=12)
