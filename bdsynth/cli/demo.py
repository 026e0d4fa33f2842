"""``bdsynth demo``: behavior transfer, sampling, rendering, and a video, on the clips that come along."""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bdsynth.cli.common import add_model_arguments, device_of, load, stretch
from bdsynth.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from bdsynth.behavior.model import BehaviorModel
    from bdsynth.motion import Motion

# (behavior, posture): who does what with whose body. Clips are in bdsynth/assets/clips.
TRANSFERS = (
    ("cmu_walking", "reactidle_standing"),
    ("cmu_jumping", "cmu_walking"),
    ("cmu_directing_traffic", "reactidle_acted"),
)
FILM = "pose2sim_balance.mp4"
PERSON = "synthetic:7"  # nobody the appearance net was trained on
DRAWN_FPS = 12.5  # half as many pictures to draw


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", default="demo_output", metavar="DIR", help="folder for the results")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from bdsynth.behavior.sample import sample
    from bdsynth.behavior.transfer import transfer
    from bdsynth.display.report import Picture, Table, Text, Viewer, write_report
    from bdsynth.display.skeleton import side_by_side
    from bdsynth.display.video import write_video
    from bdsynth.formats import read_motion, write_motion

    started = time.perf_counter()
    clips = {path.stem: read_motion(path) for path in sorted(clips_folder().glob("*.[bn][vp][hz]"))}
    model = load(args)
    folder = Path(args.output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"-o {folder}: cannot be made: {error.strerror}") from None
    print(f"{len(clips)} clips, a behavior net ({model.net.dim_hidden_b} dimensions) and an appearance net")

    stance = TRANSFERS[0][1]
    samples = sample(clips[stance], model, count=len(TRANSFERS), seed=args.seed)
    panels, rows, performed = {}, [], {}
    for i, ((behavior, posture), new) in enumerate(zip(TRANSFERS, samples, strict=True), start=1):
        result = transfer(clips[behavior], clips[posture], model, keep_bone_lengths=True)
        what, who = _words(behavior), _words(posture)
        shown = stretch(clips[behavior], 0.0, result.duration)
        panels |= {what: shown, f"{what} on {who}": result, f"new behavior {i}": new}
        file, sampled = folder / f"{behavior}_on_{posture}.bvh", folder / f"sample_{i}.npz"
        performed[f"{what} on {who}"] = result
        write_motion(file, result)
        write_motion(sampled, new)
        rows.append([what, who, result.n_frames, file.name])
        print(f"transfer  {what} on {who}: {file}")
        print(f"sample    new behavior {i} from {_words(stance)}: {sampled}")

    video, drawn, report = folder / "demo.mp4", folder / "person.mp4", folder / "demo.html"
    filmed = folder / "from_video.mp4"
    write_video(video, side_by_side(panels, fps=25), fps=25)
    has_people, sees = (importlib.util.find_spec(name) is not None for name in ("anny", "ai_edge_litert"))
    if has_people:
        write_video(drawn, _drawn_person(performed, args), fps=DRAWN_FPS)
    if has_people and sees:
        write_video(filmed, _from_video(clips_folder() / FILM, clips[stance], model), fps=DRAWN_FPS)
    sections = [
        Text(
            "Left: a real behavior. Middle: the same behavior, performed from the start posture of somebody "
            "else. Right: a behavior that nobody performed, sampled from the flow. Drag to turn, scroll to zoom."
        ),
        Viewer(panels),
        Table(rows, columns=["behavior", "posture", "frames", "file"], caption="Transfers"),
    ]
    if has_people:
        caption = (
            "The transfers on a person whom the appearance net never saw in training. Left: the motion. Middle: "
            "drawn by the net, which knows one picture of the person. Right: the ray caster's truth."
        )
        sections.append(Picture(drawn, caption=caption))
    if has_people and sees:
        caption = (
            "From a video. Left: a man who balances (Pose2Sim), with the joints that the detector found. Middle: "
            "lifted to space. Right: somebody else does it, drawn by the ray caster."
        )
        sections.append(Picture(filmed, caption=caption))
    write_report(report, "bdsynth demo", sections, command=args.command)
    print(f"\ndone in {time.perf_counter() - started:.1f} s\nvideo:  {video}")
    print(f"person: {drawn}" if has_people else "person: left out, as it takes the extra bdsynth[humans]")
    print(f"filmed: {filmed}" if has_people and sees else "filmed: left out, as it takes bdsynth[humans,video]")
    print(f"report: {report}")


def _drawn_person(motions: dict[str, Motion], args: argparse.Namespace) -> Iterator[np.ndarray]:
    """One motion after the other: stick figure, drawn by the net, and as the ray caster has it; (256, 768, 3)."""
    import numpy as np
    from PIL import Image

    from bdsynth.appearance.model import load_appearance
    from bdsynth.appearance.render import render
    from bdsynth.display.skeleton import side_by_side

    net = load_appearance().to(device_of(args))
    for caption, motion in motions.items():
        figures = side_by_side({caption: motion}, fps=DRAWN_FPS, size=(256, 256))
        people = [
            render(motion, PERSON, model=model, size=net.sizes.spatial_size, fps=DRAWN_FPS)
            for model in (net, None)
        ]
        for figure, *seen in zip(figures, *people, strict=True):
            large = (np.asarray(Image.fromarray(picture).resize((256, 256))) for picture in seen)
            yield np.hstack([figure, *large])


def _from_video(film: Path, stance: Motion, model: BehaviorModel) -> Iterator[np.ndarray]:
    """Detected, lifted, and performed by somebody else who starts as in ``stance``; (256, 768, 3)."""
    import numpy as np
    from PIL import Image, ImageOps

    from bdsynth.appearance.render import render
    from bdsynth.behavior.transfer import transfer
    from bdsynth.cli.detect import overlays
    from bdsynth.display.skeleton import side_by_side
    from bdsynth.lifting.lift import lift
    from bdsynth.perception.detect import detect
    from bdsynth.perception.frames import open_frames

    frames = open_frames(film)
    people = detect(frames)
    moved = lift(people["1"].motion, size=frames.size)
    person = render(transfer(moved, stance, model, keep_bone_lengths=True), PERSON, fps=DRAWN_FPS)
    figures = side_by_side({"in space": moved}, fps=DRAWN_FPS, size=(256, 256))
    seen = list(overlays(frames, people))
    for number, (figure, drawn) in enumerate(zip(figures, person, strict=False)):  # the last one may be cut off
        frame = seen[min(round(number / DRAWN_FPS * frames.fps), len(seen) - 1)]
        yield np.hstack(
            [np.asarray(ImageOps.fit(Image.fromarray(frame), (256, 256), centering=(0.5, 0.4))), figure, drawn]
        )


def clips_folder() -> Path:
    """The clips that come with the package; their licences are in LICENSES.md beside them."""
    return Path(__file__).parent.parent / "assets" / "clips"


def _words(clip: str) -> str:
    source, _, what = clip.partition("_")
    names = {"cmu": "CMU", "reactidle": "ReActIdle"}
    return f"{what.replace('_', ' ')} ({names[source]})"
