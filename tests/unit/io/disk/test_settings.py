"""Settings that a person has written."""

from __future__ import annotations

from pathlib import Path

import pytest

from medprior.errors import Corrupt, FileProblem, TooLarge
from medprior.io.disk.settings import LARGEST, read_settings, read_toml


def test_toml_comes_with_its_text(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("a = { b = [1, 2] }\n")
    assert read_toml(path) == ({"a": {"b": [1, 2]}}, "a = { b = [1, 2] }\n")


@pytest.mark.parametrize("content", [b"a = ", b"\xff", b"[" * 100_000])
def test_what_is_no_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(content)
    with pytest.raises(Corrupt, match="is no TOML"):
        read_toml(path)


@pytest.mark.parametrize("read", [read_toml, read_settings])
def test_what_is_missing_or_no_page_is_refused(tmp_path: Path, read) -> None:
    with pytest.raises(FileProblem):
        read(tmp_path / "none")
    (tmp_path / "large").write_bytes(b"#" * (LARGEST + 1))
    with pytest.raises(TooLarge):
        read(tmp_path / "large")
