"""What may be asked of a PACS; tests/promises/test_pacs_peers.py asks a real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("pynetdicom", reason="the extra 'pacs' is not installed")

from medprior.errors import BadOption
from medprior.pacs import fetch
from medprior.pacs.fetch import pacs_query
from medprior.runs.ask.serve import Fetch
from tests.corpus.dicom_parts import radiograph, save
from tests.unit.pacs.conftest import PEERS, settings_of

WEB = {"ae": "WEB", "port": 1, "web": "http://127.0.0.1:1/dicom-web"}


def asked(*query: str, **more: Any) -> Fetch:
    return Fetch(query=query, out=Path("out"), **more)


def test_the_only_peer_is_asked_in_the_way_that_it_speaks() -> None:
    found = pacs_query(asked("Modality=CR", "StudyDescription=A=B"), settings_of())
    assert found.query == {"Modality": "CR", "StudyDescription": "A=B"}
    assert (found.title, found.how, found.most) == ("SCANNER", "get", 1000)
    both = settings_of(peers=[*PEERS, WEB])
    assert pacs_query(asked("Modality=CR", peer="WEB"), both).how == "web"
    assert pacs_query(asked("Modality=CR", peer="WEB", how="move"), both).how == "move"


@pytest.mark.parametrize(
    ("query", "more", "said"),
    [
        (("Modalty=CR",), {}, r"query: Modalty is no element \(did you mean 'Modality'\?\)"),
        (("Modality",), {}, "query: Modality has no value"),
        ((), {}, "nothing is asked for"),
        (("Modality=CR",), {}, r"peer: which one\? \(choose from SCANNER, WEB\)"),
        (("Modality=CR",), {"peer": "SCANER"}, r"peer: SCANER is unknown \(did you mean 'SCANNER'\?\)"),
        (("Modality=CR",), {"peer": "SCANNER", "how": "web"}, "SCANNER has no `web`"),
    ],
)
def test_what_cannot_be_asked_is_named(query: tuple[str, ...], more: dict[str, Any], said: str) -> None:
    with pytest.raises(BadOption, match=said):
        pacs_query(asked(*query, **more), settings_of(peers=[*PEERS, WEB]))


def test_where_every_file_is_refused_the_same_command_can_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def brought(_: object, __: object, found: list[Any], raw: Path) -> Iterator[tuple[Any, str]]:
        save(raw / "film.dcm", radiograph())
        yield found[0], ""

    monkeypatch.setattr(fetch, "read_pacs_settings", lambda _: settings_of())
    monkeypatch.setattr(fetch, "_found", lambda *_: [SimpleNamespace(modality="CR")])
    monkeypatch.setattr(fetch, "_get", brought)
    request = Fetch(query=("Modality=CR",), out=tmp_path / "films")
    record, lines, code = fetch.fetch_set(request, lambda _: None)
    assert record["written"] == 0 and code == 4 and any("carry text" in line for line in lines)
    assert not (tmp_path / "films").exists() and not any("medprior train" in line for line in lines)
    record, lines, _ = fetch.fetch_set(request.model_copy(update={"allow_burned_in": True}), lambda _: None)
    assert record["written"] == 1 and lines[-1] == f"next      medprior train {tmp_path / 'films'}"
