"""The house has floors (docs/architecture.md): a file imports bdsynth modules only from floors below its own."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

FLOORS = {
    "bdsynth.cli": 7,
    "bdsynth.pipeline": 6,
    "bdsynth.behavior": 5,
    "bdsynth.appearance": 5,
    "bdsynth.lifting": 5,
    "bdsynth.perception": 5,
    "bdsynth.similarity": 5,
    "data": 5,
    "bdsynth.datasets": 4,
    "bdsynth.display": 4,
    "bdsynth.humans": 4,
    "bdsynth.formats": 3,
    "bdsynth.published": 2,
    "bdsynth.motion": 2,
    "bdsynth.camera": 2,
    "bdsynth.learning": 1,
    "bdsynth.geometry": 1,
    "bdsynth.skeletons": 1,
    "bdsynth.errors": 0,
    "bdsynth": 0,  # the package itself: version and lazy exports
    "main": 8,
}


def room_of(module: str) -> str:
    """The entry of FLOORS that a dotted module belongs to."""
    parts = module.split(".")
    for n in (2, 1):
        name = ".".join(parts[:n])
        if name in FLOORS and len(parts) >= n:
            return name
    raise AssertionError(f"{module} has no floor: give it one here and in docs/architecture.md")


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source: str, module: str) -> set[str]:
    """Dotted names of the project's modules that a source imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return {name for name in found if name.split(".")[0] in ("bdsynth", "data", "main")}


def violations(source: str, module: str) -> list[str]:
    own = room_of(module)
    bad = []
    for name in sorted(imports_of(source, module)):
        room = room_of(name)
        if room == "bdsynth" and (name == "bdsynth" or name.startswith("bdsynth.__")):
            continue
        if room != own and FLOORS[room] >= FLOORS[own]:
            bad.append(f"{module} (floor {FLOORS[own]}) imports {name} (floor {FLOORS[room]})")
    return bad


FILES = [ROOT / "main.py", *sorted((ROOT / "bdsynth").rglob("*.py")), *sorted((ROOT / "data").rglob("*.py"))]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_only_from_floors_below(file: Path) -> None:
    assert violations(file.read_text(), module_of(file)) == []


def test_an_import_from_above_is_found() -> None:
    assert violations("from bdsynth.cli.main import main", "bdsynth.motion")
    assert violations("def f():\n    import data.mocap", "bdsynth.behavior.model")
    assert violations("from bdsynth.datasets import windows", "bdsynth.formats.bvh")
    assert not violations("from bdsynth.motion import Motion", "bdsynth.formats.bvh")
