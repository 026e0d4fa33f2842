"""``bdsynth VERB …`` and the flags without a verb that train and evaluate: ``--config FILE --gpu 0 …``."""

from __future__ import annotations

__all__ = ["VERBS", "main"]

import argparse
import importlib
import os
import shlex
import sys
from collections.abc import Sequence
from typing import NoReturn

from bdsynth import __version__
from bdsynth.errors import InputError

# verb -> (module, one line for --help). A module has add_arguments(parser) and run(args) -> None.
VERBS = {
    "demo": ("demo", "transfer and sample behaviors between the clips that come along; a video and a report"),
    "train": ("train", "train the experiment that a config names (also without the verb: --config FILE)"),
    "infer": ("train", "evaluate a trained run; the same as --mode infer"),
    "transfer": ("transfer", "put the behavior of one motion on the start posture of another"),
    "animate": ("animate", "let the person in a picture do what somebody does in a video"),
    "detect": ("detect", "find the 2D keypoints of the people in a video"),
    "triangulate": ("triangulate", "make a 3D motion of the 2D keypoints from several calibrated cameras"),
    "lift": ("lift", "make 3D motions of the 2D keypoints of a video"),
    "render": ("render", "draw a person who performs a motion: a video"),
    "sample": ("sample", "new behaviors from a start posture"),
    "interpolate": ("interpolate", "behaviors between those of two motions"),
    "neighbors": ("neighbors", "the motions of a data set that are most like one"),
    "compare": ("compare", "how alike two motions are, part by part; both in step as a video"),
    "search": ("search", "the frame of a video that is most like the pose in a picture"),
    "evaluate": ("evaluate", "measure a behavior net on a prepared data set, or an embedding on rated pairs"),
    "convert": ("convert", "read a motion file, write another: format, skeleton, frame rate"),
}


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, as of any other bad input."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; {self.prog} --help lists the options")


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds the defaults to the help, but not that there is none."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or action.default == []:
            return action.help
        return super()._get_help_string(action)


def build_parser(verb: str) -> argparse.ArgumentParser:
    """The parser of one verb; ``train`` is also the parser of the flags without a verb."""
    name, summary = VERBS[verb]
    parser = _Parser(
        prog=f"bdsynth {verb}",
        description=summary[0].upper() + summary[1:] + ".",
        formatter_class=_Formatter,
    )
    importlib.import_module(f"bdsynth.cli.{name}").add_arguments(parser)
    return parser


def _overview() -> str:
    verbs = "\n".join(f"  {verb:<12} {summary}" for verb, (_, summary) in VERBS.items())
    return (
        f"bdsynth {__version__}: human motion taken apart and put together again\n\n"
        "usage: bdsynth VERB [options]        (bdsynth VERB --help lists them)\n"
        "       bdsynth --config FILE [--gpu 0] [--flow] [--restart] [--mode train|infer] …\n\n"
        f"verbs:\n{verbs}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Exit codes: 0 done, 2 bad input, 130/143 interrupted (after saving)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        print(f"bdsynth {__version__}")
        return 0
    verb = "train"
    if not arguments[0].startswith("-"):
        verb = arguments.pop(0)
    if verb not in VERBS:
        from bdsynth.errors import nearest

        return _refuse(f"no verb '{verb}'{nearest(verb, VERBS)}; bdsynth --help lists them")
    parser = build_parser(verb)
    if verb == "infer":
        parser.set_defaults(mode="infer")
    try:
        args = parser.parse_args(arguments)
        args.command = shlex.join(["bdsynth", verb, *arguments])
        importlib.import_module(f"bdsynth.cli.{VERBS[verb][0]}").run(args)
    except InputError as error:
        return _refuse(str(error))
    except BrokenPipeError:  # the reader of a pipe went away: not an error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _refuse(message: str) -> int:
    lines = "; ".join(message.splitlines())  # names in files, and names of files, may be anything
    print("bdsynth: " + "".join(c if c.isprintable() else "?" for c in lines), file=sys.stderr)
    return 2
