"""What the documents say is typed, the command line takes; what they point to is there."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from bdsynth.cli.main import VERBS, build_parser
from bdsynth.datasets import fields

ROOT = Path(__file__).parent.parent
DOCUMENTS = [path for folder in (".", "docs", "data", "bdsynth/assets") for path in ROOT.glob(f"{folder}/*.md")]
PROGRAMS = r"(bdsynth|python main\.py|python -m data\.\w+)"
COMMAND = re.compile(rf"(?:^    (?:\$ )?|^\$ |`)(?:[A-Z_]+=\S+ )*{PROGRAMS} ([^`\n]+)", re.M)


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
    if program.startswith("python -m "):
        assert importlib.import_module(program.removeprefix("python -m "))._parser().parse_args(arguments)
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
    prepared = {program.rpartition(".")[2] for _, program, _ in commands() if program.startswith("python -m ")}
    modules = {path.stem for path in ROOT.glob("data/*.py") if "def main(" in path.read_text()}
    assert prepared == modules  # every command of data/ is shown somewhere


@pytest.mark.parametrize("name", [name for name in fields.__all__ if name.startswith("FIELDS_")])
def test_tables_of_fields_are_current(name: str) -> None:
    assert fields.table(getattr(fields, name)) in (ROOT / "docs" / "datasets.md").read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        assert (document.parent / target).exists(), target
