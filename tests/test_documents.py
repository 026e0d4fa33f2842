"""What the documents say is typed, the command line takes; what they point to is there."""

import re
import shlex
from pathlib import Path

import pytest

from bdsynth.cli.main import VERBS, build_parser
from data.mocap import _parser as mocap_parser

ROOT = Path(__file__).parent.parent
DOCUMENTS = [path for folder in (".", "docs", "data", "bdsynth/assets") for path in ROOT.glob(f"{folder}/*.md")]
PROGRAMS = r"(bdsynth|python main\.py|python -m data\.mocap)"
COMMAND = re.compile(rf"(?:^    |^\$ |`)(?:[A-Z_]+=\S+ )*{PROGRAMS} ([^`\n]+)", re.M)


def commands() -> list[tuple[str, str, str]]:
    found = []
    for document in DOCUMENTS:
        text = document.read_text().replace("\n--", " --")  # an option on the next line
        for program, rest in COMMAND.findall(text):
            synopsis = "[" in rest.replace("tau=[]", "") or "…" in rest
            if not synopsis and "--help" not in rest:
                found.append((document.name, program, rest.strip()))
    return found


@pytest.mark.parametrize("document, program, rest", commands())
def test_every_command_parses(document: str, program: str, rest: str) -> None:
    arguments = shlex.split(rest)
    if program == "python -m data.mocap":
        assert mocap_parser().parse_args(arguments)
        return
    verb = "train" if arguments[0].startswith("-") else arguments.pop(0)
    assert verb in VERBS
    assert build_parser(verb).parse_args(arguments)
    if verb == "train":
        config = arguments[arguments.index("--config") + 1]
        assert (ROOT / config).is_file()


def test_there_are_commands_to_check() -> None:
    assert len(commands()) > 10
    assert {"README.md", "behavior.md", "MODEL_CARD.md"} <= {document for document, _, _ in commands()}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        assert (document.parent / target).exists(), target
