from __future__ import annotations

from pathlib import Path

from medprior.io.served.pages import page_files


def test_files_are_named_from_their_folder(tmp_path: Path) -> None:
    (tmp_path / "js").mkdir()
    (tmp_path / "index.html").write_bytes(b"<p>")
    (tmp_path / "js" / "a.js").write_bytes(b"1")
    assert page_files(tmp_path) == {"index.html": b"<p>", "js/a.js": b"1"}
