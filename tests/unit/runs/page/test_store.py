"""page.json: what was stored is shown again, what is old is read, and a stranger's file is no program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from medprior.data.views import Window
from medprior.errors import Corrupt
from medprior.io.disk.files import read_json, write_json
from medprior.runs.page.blocks import Charts, Compare, Fold, Grid, Picture, Section, Table
from medprior.runs.page.charts import Chart, Series
from medprior.runs.page.store import PAGE, REPORT, page_of, sections_of, write_report

RECORD = {
    "id": "0" * 64,
    "seconds": {"job": 1.0},
    "peak_mib": 1.0,
    "versions": {"medprior": "0"},
    "finished": "2026-01-01T00:00:00+00:00",
}


def blocks() -> list[Any]:
    image, layer = Image.new("L", (3, 2), 9), Image.new("RGBA", (3, 2), (1, 2, 3, 4))
    full = Picture(
        image,
        "map",
        "caption",
        synthetic=True,
        legend=("1", "2", "overlay"),
        layer=layer,
        window=Window(-160.0, 240.0, "soft tissue"),
        edges=("R", "L"),
    )
    series = Series("whiskers", [1.0, 2.0], [0.5, 0.6], "a", 1, [0.4, 0.5], [0.6, 0.7], dashed=True)
    chart = Chart("t", "c", "x", "y", [series], [(1.0, "one")], log_x=True)
    table = Table([["a"], ["b"]], "note", 1, True, True)
    return [Grid([full]), Compare(full, full, full), Charts([chart]), Fold("more", [table]), table]


def stored(folder: Path, shown: list[Any]) -> Path:
    write_report(folder, "title", "lead", [Section("heading", "text", shown, "verdict", ("mind",))], RECORD)
    return folder


def test_what_was_stored_is_read_again(tmp_path: Path) -> None:
    shown = blocks()
    (section,) = sections_of(stored(tmp_path, shown))
    found: list[Any] = list(section.blocks)
    grid, compare, charts, fold, table = found
    picture = grid.pictures[0]
    assert picture.edges == ("R", "L") and picture.window == Window(-160.0, 240.0, "soft tissue")
    assert picture.layer.size == (3, 2) and picture.over == shown[0].pictures[0].over
    assert compare.beside is not None and charts.charts[0] == shown[2].charts[0]
    assert fold.title == "more" and fold.blocks[0] == table == shown[4]


def test_a_page_of_an_older_version_still_renders(tmp_path: Path) -> None:
    """It knows no layer, window, letters, charts or folds."""
    stored(tmp_path, blocks())
    page = read_json(tmp_path / PAGE)
    page["sections"][0]["blocks"] = [b for b in page["sections"][0]["blocks"] if b["kind"] != "charts"]
    (grid, compare, _, table) = page["sections"][0]["blocks"]
    page["sections"][0]["blocks"] = [grid, compare, table]
    del compare["beside"], table["open"]
    for picture in (*grid["pictures"], compare["left"], compare["right"]):
        for name in ("layer", "window", "edges"):
            del picture[name]
    write_json(tmp_path / PAGE, page)
    (section,) = page_of(tmp_path).sections
    found: list[Any] = list(section.blocks)
    assert found[1].beside is None and found[0].pictures[0].edges == ("", "")


@pytest.mark.parametrize(
    ("name", "value"), [("kind", "script"), ("colour", 9), ("x", ["1", "nan"]), ("y", "ab"), ("name", 3)]
)
def test_a_chart_of_a_stranger_is_refused(name: str, value: Any, tmp_path: Path) -> None:
    stored(tmp_path, blocks())
    page = read_json(tmp_path / PAGE)
    page["sections"][0]["blocks"][2]["charts"][0]["series"][0][name] = value
    write_json(tmp_path / PAGE, page)
    with pytest.raises(Corrupt, match="is not the page of a run"):
        page_of(tmp_path)


def test_a_layer_from_elsewhere_is_refused(tmp_path: Path) -> None:
    stored(tmp_path, blocks())
    page = read_json(tmp_path / PAGE)
    page["sections"][0]["blocks"][0]["pictures"][0]["layer"] = "https://example.org/a.png"
    write_json(tmp_path / PAGE, page)
    with pytest.raises(Corrupt, match="is not the page of a run"):
        page_of(tmp_path)


def test_the_same_page_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = (stored(tmp_path / name, blocks()) for name in "ab")
    assert (one / REPORT).read_bytes() == (two / REPORT).read_bytes()
