"""``bdsynth search PICTURE VIDEO``: the frame of a video that is most like the pose in a picture."""

from __future__ import annotations

__all__ = ["add_arguments", "run"]

import argparse
import itertools
import re
from typing import TYPE_CHECKING

from bdsynth.cli.common import check_file, say_written
from bdsynth.cli.compare import (
    holds_keypoints,
    meaning,
    one_of,
    published_entries,
    read_everybody,
    read_one,
    settle_threshold,
)
from bdsynth.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from bdsynth.display.comparison import Marks
    from bdsynth.formats.people import Person
    from bdsynth.motion import Motion
    from bdsynth.similarity.result import Hit

METHODS = ("cos", "l1", "l2")
_HEIGHT, _HIGHEST = 480, 1080  # of the pictures side by side, pixels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("picture", metavar="PICTURE", help="pose: keypoints of a picture (JSON), or a motion file of one frame")
    add(
        "poses",
        metavar="VIDEO",
        help="keypoints of a video (JSON of AlphaPose, PoseFlow, OpenPose or its folder) or a motion file",
    )
    add("--method", choices=METHODS, default="cos", help="how alikeness is measured")
    add("--person", metavar="WHO", help="who in the picture: largest, or by number")
    add("--fps", type=float, help="of the video, where the file does not tell")
    add("--threshold", type=float, default=50.0, help="joints that score below it are red")
    add("--compat", action="store_true", help="the numbers of the published scorer, from AlphaPose files")
    group = parser.add_argument_group("results")
    group.add_argument("-o", "--output", metavar="FILE", help="picture (.png): pose and frame, side by side")
    group.add_argument("--image", metavar="FILE", help="the picture, to draw the pose over it")
    group.add_argument("--video", metavar="FILE", help="the video, to draw the hit over its frame")
    group.add_argument("--report", metavar="FILE", help="a page with the pictures, a curve and numbers (.html)")
    group.add_argument("--json", metavar="FILE", help="the result as data; - for standard output")


def run(args: argparse.Namespace) -> None:
    from bdsynth.similarity.search import search

    _check(args)
    if args.compat:
        from bdsynth.formats.people import Person

        pose, normal_pose, _ = published_entries(args.picture, 1.0)
        entries, normal, images = published_entries(args.poses, args.fps)
        pose, people = pose.slice(0, 1), {"": Person(entries)}
        hit = search(normal_pose.slice(0, 1), {"": Person(normal)}, args.method, compat=True)
        image = images[hit.frame]
        where = f"entry {hit.frame}, picture {image}"
    else:
        pose, people = _pose(args.picture, args.person), read_everybody(args.poses, args.fps)
        hit = search(pose, people, args.method)
        image = _image(args.poses, people[hit.person], hit.frame)
        where = f"frame {hit.frame}, {hit.time:.2f} s"
        where += f", picture {image}" if image else ""
        where += f", person {hit.person}" if len(people) > 1 else ""
    written = []
    if args.output or args.report:
        picture = _side_by_side(args, pose, people[hit.person], hit, image)
        written = _write(args, picture, hit, people[hit.person].motion.fps, where)
    if args.json != "-":
        print(f"{where}\n{hit.table()}\n{meaning(args)}")
    facts = {**hit.to_dict(), "image": image, "picture": args.picture, "video": args.poses}
    say_written(args, {**facts, "threshold": args.threshold}, written)


def _check(args: argparse.Namespace) -> None:
    """Refuses what could not be written or does not go together, before any work."""
    if args.output:
        check_file("-o", args.output, (".png",))
    if args.report:
        check_file("--report", args.report, (".html",))
    if args.json not in (None, "-"):
        check_file("--json", args.json)
    settle_threshold(args.threshold, (0, 100))
    if args.compat and args.person is not None:
        raise InputError("--person: the published scorer (--compat) does not know it: it takes the first entry")
    if (args.image or args.video) and not (args.output or args.report):
        raise InputError("--image, --video: nothing to draw them in, give -o FILE.png or --report FILE.html")


# --- Reading -----------------------------------------------------------------------------------------------


def _pose(path: str, who: str | None) -> Motion:
    """The one frame to search for."""
    from bdsynth.formats.keypoints_json import read_keypoints
    from bdsynth.formats.people import Person
    from bdsynth.motion import Motion

    if not holds_keypoints(path):
        return read_one(path, 1.0, who)
    found = read_keypoints(path)
    n_pictures = len({detection.image for detection in found})
    if n_pictures != 1:
        raise InputError(f"{path}: has people in {n_pictures} pictures, expected one pose to search for")
    people = {}
    for number, one in enumerate(found):
        name = str(number if one.person is None else one.person)
        motion = Motion(one.keypoints[None], one.skeleton, 1.0, "px", one.confidence[None], one.image)
        people[name] = Person(motion)
    return one_of(path, people, who).motion


def _image(path: str, person: Person, frame: int) -> str | None:
    """The picture of a frame as the file names it; None where it does not."""
    import numpy as np

    from bdsynth.formats.keypoints_json import read_keypoints

    if not holds_keypoints(path):
        return None
    keypoints = person.motion.positions[frame - person.start]
    found = (one for one in read_keypoints(path) if one.keypoints.shape == keypoints.shape)
    return next((one.image for one in found if np.array_equal(one.keypoints, keypoints, equal_nan=True)), None)


# --- Showing -----------------------------------------------------------------------------------------------


def _side_by_side(
    args: argparse.Namespace, pose: Motion, person: Person, hit: Hit, image: str | None
) -> np.ndarray:
    """The pose and the frame, over their pictures where there are any, and the scores below."""
    import numpy as np

    from bdsynth.datasets.images import read_picture
    from bdsynth.display.comparison import Marks, with_scores

    t = hit.frame - person.start
    found = person.motion.slice(t, t + 1)
    head = hit.parts.get("head", hit.parts.get("Head", np.nan))
    joints = dict(zip(hit.skeleton.joints, hit.joints, strict=True))
    marks = Marks.of_joints(joints | {"head": head}, args.threshold)
    pictures = [
        read_picture(args.image) if args.image else None,
        _frame_of(args.video, hit.frame, image) if args.video else None,
    ]
    height = max([_HEIGHT, *(len(picture) for picture in pictures if picture is not None)])
    sides = [
        _side(*side, marks, min(height, _HIGHEST))
        for side in zip((pose, found), ("pose", "most alike"), pictures, strict=True)
    ]
    scores = {"overall": hit.overall, **hit.parts}
    shown = {name: (score, bool(score >= args.threshold)) for name, score in scores.items()}
    return with_scores(np.concatenate(sides, axis=1), shown)


def _side(pose: Motion, caption: str, picture: np.ndarray | None, marks: Marks, height: int) -> np.ndarray:
    import numpy as np
    from PIL import Image

    from bdsynth.display.comparison import draw_pose, over_picture

    if picture is None:
        return draw_pose(pose, marks, (height, height), caption)
    drawn = Image.fromarray(over_picture(picture, pose, marks))
    width = max(1, round(drawn.width * height / drawn.height))
    return np.asarray(drawn.resize((width, height), Image.Resampling.BICUBIC))


def _frame_of(video: str, frame: int, image: str | None) -> np.ndarray:
    """The picture of a frame, by the number in the name that the file of keypoints gives it."""
    from bdsynth.display.video import read_video

    numbers = re.findall(r"\d+", image.rpartition(".")[0] or image) if image else []
    number = int(numbers[-1]) if numbers else frame
    _, frames = read_video(video)
    picture = next(itertools.islice(frames, number, None), None)
    if picture is None:
        raise InputError(f"--video {video}: ends before frame {number}")
    return picture


def _write(args: argparse.Namespace, picture: np.ndarray, hit: Hit, fps: float, where: str) -> list[str]:
    import numpy as np
    from PIL import Image

    from bdsynth.display.report import Picture, Plot, Table, write_report
    from bdsynth.learning.atomic import atomic_write

    written = []
    if args.output:
        atomic_write(args.output, lambda file: Image.fromarray(picture).save(file, format="PNG"))
        written.append(args.output)
    if args.report:
        over_time, x = {"best of anybody": hit.over_time}, np.arange(len(hit.over_time)) / fps
        parts = [[name, score] for name, score in {"overall": hit.overall, **hit.parts}.items()]
        joints = [list(pair) for pair in zip(hit.skeleton.joints, map(float, hit.joints), strict=True)]
        settings = {
            "pose": args.picture, "video": args.poses, "method": args.method, "threshold": args.threshold,
            "numbers": "of the published scorer" if args.compat else "mended",
        }  # fmt: skip
        sections = [
            Picture(picture, caption=f"{where}; red is below {args.threshold:g}"),
            Table(parts, ["", "score"], title="Scores", caption=meaning(args)),
            Plot(over_time, x=x, x_label="time, s", y_label="score", title="Over time"),
            Table(joints, ["joint", "score"], title="Joints"),
            Table([[key, value] for key, value in settings.items()], columns=["setting", "value"]),
        ]
        write_report(args.report, "The frame most like a pose", sections, command=args.command)
        written.append(args.report)
    return written
