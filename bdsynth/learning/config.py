"""Configurations: a YAML file, changed by ``--set``, checked against a typed schema.

A schema is a tree of `Section` classes. Reading never executes anything, and whatever does not
fit becomes one line that names the file, the key and the expectation.
"""

__all__ = [
    "FolderName",
    "GeneralConfig",
    "Section",
    "apply_overrides",
    "dump_config",
    "load_yaml",
    "parse_config",
]

import copy
import json
import re
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from bdsynth.errors import InputError, nearest

# --------------------------------------------------------------------------------------------
# Schema
# --------------------------------------------------------------------------------------------


class Section(BaseModel):
    """A part of a configuration: typed fields, immutable, no key beyond the declared ones.

    Types are meant: text is no number and a number is no switch. As YAML has them, an int is
    also a float, and a list is also a tuple. Numbers are finite.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True
    )


def _folder_name(name: str) -> str:
    if name in ("", ".", "..") or re.search(r"[/\\\x00-\x1f]", name) or name != name.strip():
        raise ValueError("should be a plain folder name, without separators")
    return name


FolderName = Annotated[str, AfterValidator(_folder_name)]


class GeneralConfig(Section):
    """The section ``general``, the same in every experiment: where the run lives, its seed."""

    base_dir: str
    project_name: FolderName
    experiment: FolderName
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 42


Schema = TypeVar("Schema", bound=BaseModel)


def parse_config(data: dict[str, Any], schema: type[Schema], source: str | Path) -> Schema:
    """Check plain data against ``schema``.

    Args:
        data: what `load_yaml` and `apply_overrides` return.
        schema: the class of the result.
        source: what the messages call the data, usually the file.

    Raises:
        InputError: one line per problem, each ``source: section.key: expectation``.
    """
    try:
        # As JSON, because pydantic's strict mode then takes a list for a tuple and text for a
        # path, and nothing else for anything else.
        return schema.model_validate_json(json.dumps(data))
    except ValidationError as error:
        problems: dict[str, list[str]] = {}
        for detail in error.errors():
            key, expectation = _explain(detail, data, schema)
            problems.setdefault(key, []).append(expectation)
        lines = [f"{source}: {key}: {' or '.join(texts)}" for key, texts in problems.items()]
        raise InputError("\n".join(lines)) from error


def _explain(detail: Any, data: Any, schema: type[BaseModel]) -> tuple[str, str]:
    """The dotted key of a pydantic error, and what was expected there."""
    key = ""
    fields: Any = schema
    for part in detail["loc"]:
        known = _field_names(fields)
        if isinstance(part, int):
            key += f"[{part}]"
        elif isinstance(data, dict) and (part in data or detail["type"] == "missing"):
            key += f".{part}" if key else part
        else:
            break  # pydantic names the member of a union here, which is no key of the file
        fields = fields.model_fields[part].annotation if part in known else None
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            data = None

    if detail["type"] == "extra_forbidden":
        return key, "unknown key" + nearest(str(part), known)
    if detail["type"] == "missing":
        return key, "is missing"
    expectation = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return key or "the file", f"{expectation}, not {reprlib.repr(detail['input'])}"


def _field_names(annotation: Any) -> list[str]:
    is_section = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return list(annotation.model_fields) if is_section else []


# --------------------------------------------------------------------------------------------
# YAML
# --------------------------------------------------------------------------------------------

_FLOAT = "tag:yaml.org,2002:float"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_TUPLE = "tag:yaml.org,2002:python/tuple"
_MERGE = "tag:yaml.org,2002:merge"

# YAML 1.1 takes 1e-4 for text because it has no point; everybody who writes it means a number.
_POINTLESS_FLOAT = re.compile(r"^[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$")
_DEEPEST = 1000  # brackets in brackets
_MOST_NODES = 100_000  # aliases of aliases can stand for billions of values in ten lines


class _Loader(yaml.SafeLoader):
    """Plain values and ``!!python/tuple``, the one tag that published configs contain."""

    def fetch_flow_collection_start(self, token: type[yaml.Token]) -> None:
        if self.flow_level >= _DEEPEST:  # PyYAML takes a time that grows with the square of it
            raise yaml.MarkedYAMLError(problem="is nested too deeply", problem_mark=self.get_mark())
        super().fetch_flow_collection_start(token)

    def get_single_data(self) -> Any:
        node = self.get_single_node()
        if node is None:
            return None
        self._count(node, {})
        return self.construct_document(node)

    def _count(self, node: yaml.Node, sizes: dict[int, int | None]) -> int:
        """The number of nodes with all aliases written out."""
        if id(node) not in sizes:
            sizes[id(node)] = None  # being counted
            children = node.value if isinstance(node, yaml.CollectionNode) else []
            if isinstance(node, yaml.MappingNode):
                children = [child for pair in children for child in pair]
            sizes[id(node)] = 1 + sum(self._count(child, sizes) for child in children)
        size = sizes[id(node)]
        if size is None or size > _MOST_NODES:
            problem = "contains itself" if size is None else "stands for too many values"
            raise yaml.MarkedYAMLError(problem=f"an alias {problem}", problem_mark=node.start_mark)
        return size

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                problem = "a key must be plain text"
            elif (key.tag, key.value) in seen and key.tag != _MERGE:
                problem = f"the key '{key.value}' occurs twice"
            else:
                seen.add((key.tag, key.value))
                continue
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
        return super().construct_mapping(node, deep)

    def construct_tuple(self, node: yaml.Node) -> tuple[Any, ...]:
        return tuple(self.construct_sequence(node, deep=True))


_PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in "null bool int float str seq map".split()}
_Loader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag in _PLAIN_TAGS  # None: the one that refuses unknown tags
}
_Loader.add_constructor(_TUPLE, _Loader.construct_tuple)


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads back as the same values."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _kind in (_Loader, _Dumper):
    _kind.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in _kind.yaml_implicit_resolvers.items()
    }  # a project named 2024-01-01 is named by text
    _kind.add_implicit_resolver(_FLOAT, _POINTLESS_FLOAT, list("-+0123456789"))


def _read_yaml(text: str | bytes, source: str) -> Any:
    try:
        return yaml.load(text, _Loader)  # a SafeLoader with one tag more
    except yaml.MarkedYAMLError as error:
        line = f"{source}:{error.problem_mark.line + 1}" if error.problem_mark else source
        raise InputError(f"{line}: {' '.join(str(error.problem).split())}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{source}: is not YAML text: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise InputError(f"{source}: is nested too deeply") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        # PyYAML lets these escape from scalars with a wrong explicit tag, as in `!!int abc`.
        raise InputError(f"{source}: contains a value that is not what its tag says") from error


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read a configuration as plain data; executes nothing, whatever the file contains.

    Raises:
        InputError: the file is missing, is not YAML, has a key twice, a tag other than
            ``!!python/tuple``, or no keys at its top; names the file and the line.
    """
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    data = _read_yaml(text, str(path))
    if not isinstance(data, dict):
        raise InputError(f"{path}: should contain sections such as 'general:' and 'data:'")
    return data


def apply_overrides(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of ``data`` changed by the arguments of ``--set``, each ``section.key=value``.

    Values are read as in the file (``1e-3``, ``[1, 2]``, ``true``). Whether the keys exist is
    for the schema to say, in `parse_config`.

    Raises:
        InputError: an argument is not of the form ``section.key=value``.
    """
    data = copy.deepcopy(data)
    for override in overrides:
        dotted, equals, text = override.partition("=")
        keys = dotted.strip().split(".")
        if not equals or not all(keys):
            raise InputError(f"--set {override}: should be section.key=value")
        section: Any = data
        for key in keys[:-1]:
            section = section.setdefault(key, {})
            if not isinstance(section, dict):
                raise InputError(f"--set {override}: '{key}' is a value, it contains no keys")
        section[keys[-1]] = _read_yaml(text, f"--set {override}")
    return data


def dump_config(config: BaseModel) -> str:
    """The YAML text of a configuration, defaults included; `load_yaml` reads it back."""
    return yaml.dump(config.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False)
