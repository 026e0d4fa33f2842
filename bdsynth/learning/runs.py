"""The folders of a training run."""

__all__ = ["RunFolder", "is_main_process"]

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from bdsynth.errors import InputError
from bdsynth.learning.atomic import atomic_write
from bdsynth.learning.config import FolderName

_FOLDER_NAME = TypeAdapter(FolderName)


@dataclass(frozen=True)
class RunFolder:
    """``{base_dir}/{experiment}/{ckpt|config|generated|log}/{project_name}/``.

    Raises:
        InputError: the experiment or the project is not a plain folder name.
    """

    base_dir: str | Path
    experiment: str
    project_name: str

    def __post_init__(self) -> None:
        for field in ("experiment", "project_name"):
            try:
                _FOLDER_NAME.validate_python(getattr(self, field))
            except ValidationError as error:
                value = getattr(self, field)
                expectation = "should be a plain folder name, without separators"
                raise InputError(f"general.{field}: {expectation}, not {value!r}") from error

    @property
    def ckpt(self) -> Path:
        return self._folder("ckpt")

    @property
    def config(self) -> Path:
        return self._folder("config")

    @property
    def generated(self) -> Path:
        return self._folder("generated")

    @property
    def log(self) -> Path:
        return self._folder("log")

    @property
    def config_file(self) -> Path:
        return self.config / "config.yaml"

    def _folder(self, kind: str) -> Path:
        return Path(self.base_dir).expanduser() / self.experiment / kind / self.project_name

    @property
    def exists(self) -> bool:
        """Whether a run has left a config or a checkpoint here."""
        return self.config_file.exists() or (self.ckpt.is_dir() and any(self.ckpt.iterdir()))

    def create(self, overwrite: bool = False) -> None:
        """Make the four folders for a new run.

        Args:
            overwrite: remove what an earlier run of this project left in them.

        Raises:
            InputError: the run exists already, or a folder cannot be made.
        """
        if not is_main_process():
            return  # the first of several processes makes them, the others use them
        if self.exists and not overwrite:
            raise InputError(
                f"{self.config_file}: this run exists already; --restart resumes it, "
                "--set general.project_name=NAME starts another one, --overwrite starts it anew"
            )
        for folder in (self.ckpt, self.config, self.generated, self.log):
            try:
                if overwrite and folder.is_symlink():
                    folder.unlink()  # what a link points to is not ours to remove
                elif overwrite and folder.exists():
                    shutil.rmtree(folder)
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"{folder}: cannot be made: {error.strerror or error}") from error

    def save_config(self, text: str) -> None:
        """Keep the configuration as ``config_file``, whole or not at all."""
        if is_main_process():
            self.config.mkdir(parents=True, exist_ok=True)
            atomic_write(self.config_file, text)

    def require_config(self) -> Path:
        """The saved configuration, for ``--restart`` and ``--flow``.

        Raises:
            InputError: there is none, so there is no run to go on with.
        """
        if not self.config_file.is_file():
            raise InputError(f"{self.config_file}: no such run to resume; train it first")
        return self.config_file


def is_main_process() -> bool:
    """Whether this process, of those that train together, is the one that writes files."""
    rank = os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))
    return int(rank) == 0
