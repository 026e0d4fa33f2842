"""The one exception for bad input: what the command line turns into a single line and exit code 2."""

__all__ = ["InputError", "nearest"]

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Input that cannot be used: a file, a field, a flag.

    The message is one line that names the file, the field and what was expected.
    """


def nearest(word: str, known: Iterable[str]) -> str:
    """``" (did you mean 'x'?)"`` for the known word closest to ``word``, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.4)
    return f" (did you mean '{close[0]}'?)" if close else ""
