"""Tables of many rows, written row by row: CSV, and Parquet where pyarrow is installed."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from ...errors import Corrupt, MissingExtra, optional

__all__ = ["each_line", "write_csv", "write_lines", "write_parquet"]

_AT_ONCE = 10_000
"""Rows that memory holds at a time."""


def write_csv(path: Path, rows: Iterable[Sequence[str]]) -> None:
    """Rows of text in UTF-8, each line ended by a line feed. The caller makes the folder appear whole."""
    with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def write_parquet(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bool:
    """The same table with its types: text, numbers, truth values, and null. False where pyarrow is not
    installed, or where there are no rows.
    """
    try:
        pyarrow = optional("pyarrow", "parquet", "a table in Parquet")
        parquet = optional("pyarrow.parquet", "parquet", "a table in Parquet")
    except MissingExtra:
        return False
    rows, writer = iter(rows), None
    schema = None
    try:
        while some := list(islice(rows, _AT_ONCE)):
            values = dict(zip(columns, map(list, zip(*some, strict=True)), strict=True))
            if schema is None:
                schema = pyarrow.schema([(name, _kind(pyarrow, values[name])) for name in columns])
            table = pyarrow.table(values, schema=schema)
            writer = writer or parquet.ParquetWriter(path, schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
    return writer is not None


def _kind(pyarrow: Any, values: Sequence[Any]) -> Any:
    known = [value for value in values if value is not None]
    if known and all(isinstance(value, bool) for value in known):
        return pyarrow.bool_()
    if known and all(isinstance(value, int | float) for value in known):
        return pyarrow.float64()
    return pyarrow.string()


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Records as ``append_line`` writes them. The caller makes the folder appear whole."""
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def each_line(path: Path) -> Iterator[Any]:
    """What ``append_line`` wrote, one record after the other, none where there is no such file. A last line
    that a kill has torn is cut off. Raises Corrupt where it holds something else.
    """
    whole = 0
    try:
        with open(path, "rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                yield json.loads(line)
    except FileNotFoundError:
        return
    except (ValueError, RecursionError) as error:
        raise Corrupt(
            path, f"is not what medprior wrote ({error})", "remove the folder, or start over with --fresh"
        ) from error
    if whole < path.stat().st_size:
        os.truncate(path, whole)
