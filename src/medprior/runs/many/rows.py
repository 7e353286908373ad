"""What is known of each scan: a line of rows.jsonl while the run goes on, a row of results.csv at its end."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...errors import Corrupt
from ...evidence.conformal import benjamini_hochberg
from ...io.dataset.listing import csv_cell
from ...io.disk.tables import each_line, write_csv, write_parquet

__all__ = [
    "CSV",
    "DISCOVERY_RATE",
    "PARQUET",
    "ROWS",
    "Discoveries",
    "Row",
    "q_values",
    "rows_in",
    "write_results",
]

ROWS, CSV, PARQUET = "rows.jsonl", "results.csv", "results.parquet"

DISCOVERY_RATE = 0.1
"""False discovery rate at which a scan is called a discovery."""

_P, _Q, _DISCOVERY = "p_value", "q_value", "discovery"


@dataclass(frozen=True, slots=True)
class Row:
    """n, path: place and name of a ``ListedScan``. patient: "p00012", "" where it is not named. cells,
    unusual, flagged: of ``ScanResult``. verdict: the result in one short text. error: why there is none.
    folder: of its files, relative to the run's, "" for none. page: whether a report lies there.
    """

    n: int
    path: str
    patient: str = ""
    cells: Mapping[str, str | float | bool | None] = field(default_factory=dict)
    unusual: tuple[float, ...] = ()
    flagged: bool = False
    verdict: str = ""
    error: str = ""
    folder: str = ""
    page: bool = False

    def as_json(self) -> dict[str, object]:
        return asdict(self)

    @property
    def p_value(self) -> float | None:
        value = self.cells.get(_P)
        return value if isinstance(value, float) else None


def rows_in(path: Path) -> Iterator[Row]:
    """The rows of a rows.jsonl, one after the other. Raises Corrupt where it holds something else."""
    for line in each_line(path):
        try:
            yield Row(**line)
        except TypeError as error:
            raise Corrupt(path, f"is not what medprior wrote ({error})", "start over with --fresh") from error


@dataclass(frozen=True, slots=True)
class Discoveries:
    """q: q-value of each row that has a p-value, in the order of the rows. n: how many are discoveries."""

    q: Sequence[float]

    @property
    def n(self) -> int:
        return sum(q <= DISCOVERY_RATE for q in self.q)


def q_values(rows: Iterable[Row]) -> Discoveries:
    """Benjamini-Hochberg over all scans of a run that have a p-value."""
    known = array("d", (row.p_value for row in rows if row.p_value is not None))
    return Discoveries(array("d", benjamini_hochberg(known)))


def write_results(folder: Path, rows: Path, found: Discoveries | None) -> bool:
    """results.csv, and results.parquet where pyarrow is installed: whether it is. found: None in a shard,
    whose scans are not all that the rate is held over.
    """
    titles = list(dict.fromkeys(name for row in rows_in(rows) for name in row.cells))
    columns = ["path", "patient", *titles, "verdict", "error", "folder"]
    if _P in titles:
        at = columns.index(_P) + 1
        columns[at:at] = [_Q, _DISCOVERY]

    def table() -> Iterator[list[Any]]:
        q = iter(() if found is None else found.q)
        for row in rows_in(rows):
            value = next(q, None) if row.p_value is not None else None
            known = {**row.cells, _Q: value, _DISCOVERY: None if value is None else value <= DISCOVERY_RATE}
            known |= {"path": row.path, "patient": row.patient, "verdict": row.verdict}
            known |= {"error": row.error, "folder": row.folder}
            yield [known.get(name) for name in columns]

    write_csv(folder / CSV, ([_cell(value) for value in row] for row in _headed(columns, table())))
    return write_parquet(folder / PARQUET, columns, table())


def _headed(columns: list[str], rows: Iterable[list[Any]]) -> Iterator[list[Any]]:
    yield columns
    yield from rows


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else csv_cell(str(value))
