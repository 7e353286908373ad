"""Settings that a person has written: one YAML mapping (JSON is YAML, too) or TOML, read as plain data."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from ...errors import Corrupt, FileProblem, TooLarge
from .limits import regular_file

__all__ = ["LARGEST", "read_settings", "read_toml"]

LARGEST = 1_000_000
"""Bytes: settings are a page, not a data set."""


def read_settings(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises FileProblem when it is missing, TooLarge above ``LARGEST``, Corrupt
    when it is no YAML or no mapping of names.
    """
    import yaml

    try:
        stated = yaml.safe_load(_raw(path))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise Corrupt(path, f"is no YAML ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(stated, dict) or not all(isinstance(key, str) for key in stated):
        raise Corrupt(path, "wanted names with values, such as 'modality: CT'")
    return stated


def read_toml(path: str | Path) -> tuple[dict[str, object], str]:
    """(the table in a TOML file, its text). Raises what ``read_settings`` raises; Corrupt names the line."""
    try:
        text = _raw(path).decode()
        return tomllib.loads(text), text
    except (ValueError, RecursionError) as error:
        raise Corrupt(path, f"is no TOML ({' '.join(str(error).split())[:200]})") from error


def _raw(path: str | Path) -> bytes:
    if (size := regular_file(path)) > LARGEST:
        raise TooLarge(path, f"{size:,} bytes, wanted settings of at most {LARGEST:,}")
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise FileProblem(path, f"cannot be read ({error.strerror})") from error
