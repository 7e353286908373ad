"""What lies in a folder besides images: links that lead out, and documents of any name."""

from __future__ import annotations

from pathlib import Path

import pytest

from medprior.io.dataset.layout import Layout
from medprior.io.dataset.listing import folder_state
from medprior.io.dataset.scan import scan
from tests.unit.io.dataset.test_places import made


@pytest.mark.parametrize("name", ["away", "away.png"])
def test_a_link_that_leads_out_of_the_data_set_is_named(tmp_path: Path, name: str) -> None:
    data = made(tmp_path / "data", "a.png")
    elsewhere = made(tmp_path / "elsewhere", "x.png", "y.png")
    (data / "inside.png").symlink_to(data / "a.png")
    assert scan(data).notes == ()
    (data / name).symlink_to(elsewhere if name == "away" else elsewhere / "y.png")
    wanted = f"links lead out of the data set and were followed: {name}"
    assert wanted in scan(data).notes
    (data / "scans.csv").write_text(f"path\na.png\n{'away/y.png' if name == 'away' else name}\n")
    assert any("lead out" in note for note in scan(data).notes)


def test_text_without_an_images_suffix_is_a_document(tmp_path: Path) -> None:
    data = made(tmp_path, "a.png")
    for name in ("README", "LICENSE", "CHANGES.old"):
        (data / name).write_text("words\n")
    (data / "damaged.png").write_text("words\n")
    (data / "noise").write_bytes(b"\x00\x01\x02")
    index = scan(data)
    assert set(index.passed_over) == {"README", "LICENSE", "CHANGES.old"}
    assert {u.path for u in index.unusable} == {"damaged.png", "noise"}


def test_the_state_of_a_folder_is_that_of_its_labels_too(tmp_path: Path) -> None:
    data = made(tmp_path, "normal/1_a.png", "sick/1_b.png")
    plain = folder_state(data)
    assert folder_state(data) == plain != folder_state(data, Layout(folders="patients"))
