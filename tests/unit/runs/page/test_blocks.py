"""The page: one file, no request, text only as text, the notice once on top and on synthetic pictures."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from html.parser import HTMLParser

from PIL import Image

from medprior.data.views import Window
from medprior.runs.page.blocks import Charts, Compare, Fold, Grid, Page, Picture, Section, Table, page_bytes
from medprior.runs.page.charts import Chart, Series

HOSTILE = "<img src=x onerror=\"document.title='PWNED'\">{{ 7 * 7 }}"


def page() -> str:
    picture = Picture(
        Image.new("L", (4, 4)), HOSTILE, HOSTILE, synthetic=True, legend=("0", HOSTILE, "inferno")
    )
    chart = Chart(HOSTILE, HOSTILE, HOSTILE, HOSTILE, [Series("line", [0.0, 1.0], [0.0, 2.0], HOSTILE)])
    blocks = [
        Grid([picture]),
        Compare(picture, picture, picture),
        Table([[HOSTILE], [HOSTILE]], HOSTILE, 1),
        Charts([chart]),
        Fold(HOSTILE, [Table([[HOSTILE]])]),
    ]
    section = Section(HOSTILE, HOSTILE, blocks, HOSTILE, (HOSTILE,))
    return page_bytes(Page(HOSTILE, HOSTILE, [section], [(HOSTILE, HOSTILE)])).decode()


def test_text_of_strangers_is_only_text() -> None:
    found = page()
    assert "<img src=x" not in found and "49" not in re.sub('base64,[^"]*', "", found)
    assert "&lt;img src=x" in found


def test_nothing_is_requested_from_anywhere() -> None:
    found = page()
    sources = re.findall(
        r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", re.sub(r"&[a-z#0-9]+;", "", found)
    )
    inside = ("data:image/png;base64,", "#")
    assert sources and all(source.startswith(inside) or source == "x" for source in sources)
    assert "default-src 'none'" in found and "@import" not in found


def test_a_browser_runs_the_page_s_own_script_and_no_other() -> None:
    """The policy names the script by its digest: no inline handler runs, and no other script."""
    found = page()
    (script,) = re.findall("<script>(.*?)</script>", found, re.DOTALL)
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in found and "script-src 'unsafe-inline'" not in found
    handlers: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: handlers.extend(  # type: ignore[method-assign]
        name for name, _ in attrs if name.startswith("on")
    )
    parser.feed(found)
    assert handlers == []


def test_the_notice_stands_once_on_top_and_on_synthetic_pictures() -> None:
    found = page()
    assert found.count("Research use only, not for diagnosis") == 1
    assert found.index("Research use only") < found.index("<main>")
    assert found.count(">synthetic, research use only<") == 3
    plain = Section("", blocks=[Grid([Picture(Image.new("L", (4, 4)), "scan")])])
    assert page_bytes(Page("", "", [plain])).decode().lower().count("research use only") == 1


def body(*blocks: Grid | Table, sections: int = 1) -> str:
    made = page_bytes(Page("", "", [Section(f"part {n}", blocks=blocks) for n in range(sections)])).decode()
    return made[made.index("<main>") : made.index("<dialog")]


def test_long_tables_fold_and_short_ones_do_not() -> None:
    rows = [["name", "value"], *([str(n), "1"] for n in range(9))]
    assert "<details><summary>Details: 9 rows, name" in body(Table(rows))
    assert "<details" not in body(Table(rows[:-1])) + body(Table(rows, open=True))


def test_a_page_of_many_parts_has_a_table_of_contents() -> None:
    found = body(sections=4)
    assert 'href="#s4">part 3</a>' in found and 'id="s4"' in found
    assert "Contents" not in body(sections=3)


def test_no_picture_stands_alone_in_the_last_row() -> None:
    for n in range(1, 30):
        columns = Grid([Picture(Image.new("L", (4, 4)), "")] * n).columns
        assert columns <= 5 and (n <= 3 or n % columns != 1), n


def test_a_layer_a_window_and_letters_come_with_their_picture() -> None:
    image, layer = Image.new("L", (4, 4)), Image.new("RGBA", (4, 4))
    window = Window(-160.0, 240.0, "soft tissue")
    found = body(Grid([Picture(image, "map", layer=layer, window=window, edges=("R", "L"))]))
    assert 'data-low="-160.0" data-high="240.0"' in found
    assert 'class="layer"' in found and 'class="opacity"' in found
    assert '<span class="edge l">R</span>' in found and '<span class="edge r">L</span>' in found
    plain = body(Grid([Picture(image, "chart")]))
    assert not any(name in plain for name in ("data-low", "layer", 'class="opacity"', "edge"))


def test_the_page_of_one_of_many_scans_is_a_link_and_nothing_else_is() -> None:
    cells = [
        "scans/000012/report.html",
        "scans/../../x/report.html",
        "javascript:alert(1)",
        "http://x/report.html",
    ]
    shown = page_bytes(Page("t", "l", [Section("h", "", [Table([["page"], *([cell] for cell in cells)])])]))
    assert shown.count(b"<a href=") == 1 and b'<a href="scans/000012/report.html">page</a>' in shown
