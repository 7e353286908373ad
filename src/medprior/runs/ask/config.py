"""Options that a person has written into a YAML file for the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import BadOption
from ...io.disk.settings import read_settings

__all__ = ["options_in"]


def options_in(path: Path) -> dict[str, Any]:
    """The options of a YAML file by name: numbers, text, yes or no, or lists of them.

    Raises FileProblem, TooLarge or Corrupt for a file that cannot be read as such, BadOption for a value that
    no option takes.
    """
    stated = read_settings(path)
    for name, value in stated.items():
        values = value if isinstance(value, list) else [value]
        if wrong := [type(one).__name__ for one in values if not _plain(one)]:
            raise BadOption(
                f"config: {name[:64]}: wanted a number, text, yes or no, or a list of them, got a {wrong[0]}",
                "put text that looks like a date into quotes",
            )
    return stated


def _plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)
