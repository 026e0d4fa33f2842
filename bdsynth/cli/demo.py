"""``bdsynth demo``: behavior transfer and sampling on the clips that come along."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from bdsynth.cli.common import add_model_arguments, load, stretch
from bdsynth.errors import InputError

# (behavior, posture): who does what with whose body. Clips are in bdsynth/assets/clips.
TRANSFERS = (
    ("cmu_walking", "reactidle_standing"),
    ("cmu_jumping", "cmu_walking"),
    ("cmu_directing_traffic", "reactidle_acted"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", default="demo_output", metavar="DIR", help="folder for the results")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from bdsynth.behavior.sample import sample
    from bdsynth.behavior.transfer import transfer
    from bdsynth.display.report import Table, Text, Viewer, write_report
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
    print(f"{len(clips)} clips and a behavior net ({model.net.dim_hidden_b} dimensions) come along")

    stance = TRANSFERS[0][1]
    samples = sample(clips[stance], model, count=len(TRANSFERS), seed=args.seed)
    panels, rows = {}, []
    for i, ((behavior, posture), new) in enumerate(zip(TRANSFERS, samples, strict=True), start=1):
        result = transfer(clips[behavior], clips[posture], model, keep_bone_lengths=True)
        what, who = _words(behavior), _words(posture)
        shown = stretch(clips[behavior], 0.0, result.duration)
        panels |= {what: shown, f"{what} on {who}": result, f"new behavior {i}": new}
        file, sampled = folder / f"{behavior}_on_{posture}.bvh", folder / f"sample_{i}.npz"
        write_motion(file, result)
        write_motion(sampled, new)
        rows.append([what, who, result.n_frames, file.name])
        print(f"transfer  {what} on {who}: {file}")
        print(f"sample    new behavior {i} from {_words(stance)}: {sampled}")

    video, report = folder / "demo.mp4", folder / "demo.html"
    write_video(video, side_by_side(panels, fps=25), fps=25)
    sections = [
        Text(
            "Left: a real behavior. Middle: the same behavior, performed from the start posture of somebody "
            "else. Right: a behavior that nobody performed, sampled from the flow. Drag to turn, scroll to zoom."
        ),
        Viewer(panels),
        Table(rows, columns=["behavior", "posture", "frames", "file"], caption="Transfers"),
    ]
    write_report(report, "bdsynth demo", sections, command=args.command)
    print(f"\ndone in {time.perf_counter() - started:.1f} s\nvideo:  {video}\nreport: {report}")


def clips_folder() -> Path:
    """The clips that come with the package; their licences are in LICENSES.md beside them."""
    return Path(__file__).parent.parent / "assets" / "clips"


def _words(clip: str) -> str:
    source, _, what = clip.partition("_")
    names = {"cmu": "CMU", "reactidle": "ReActIdle"}
    return f"{what.replace('_', ' ')} ({names[source]})"
