"""Settings that a person has written: one YAML mapping (JSON is YAML, too), read as plain data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import Corrupt, FileProblem, TooLarge
from .limits import regular_file

__all__ = ["LARGEST", "read_settings"]

LARGEST = 1_000_000
"""Bytes: settings are a page, not a data set."""


def read_settings(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises FileProblem when it is missing, TooLarge above ``LARGEST``, Corrupt
    when it is no YAML or no mapping of names.
    """
    import yaml

    if (size := regular_file(path)) > LARGEST:
        raise TooLarge(path, f"{size:,} bytes, wanted settings of at most {LARGEST:,}")
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise FileProblem(path, f"cannot be read ({error.strerror})") from error
    try:
        stated = yaml.safe_load(raw)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise Corrupt(path, f"is no YAML ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(stated, dict) or not all(isinstance(key, str) for key in stated):
        raise Corrupt(path, "wanted names with values, such as 'modality: CT'")
    return stated
