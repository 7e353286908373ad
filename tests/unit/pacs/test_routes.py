"""The node on the page and its numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.corpus.dicom_parts import CANARY, radiograph
from tests.unit.pacs.conftest import Begin

from medprior.pacs.routes import PacsDoor  # isort: skip
from medprior.pacs.tell import told_of_failures, told_of_file  # isort: skip
from medprior.web.office import Office  # isort: skip
from medprior.web.site import guarded, site  # isort: skip
from tests.corpus.dicom_parts import save  # isort: skip
from tests.unit.web.conftest import TOKEN, Browser  # isort: skip


def browser(world: Any, folder: Path) -> Browser:
    app = site(Office(folder / "runs", {}, 10**6), [PacsDoor(world.node)])
    return Browser(guarded(app, hosts=frozenset({"127.0.0.1:8765"}), token=TOKEN, largest=10**6))


def test_the_page_shows_what_came_and_what_failed_and_no_word_of_it(begin: Begin, tmp_path: Path) -> None:
    world = begin(None, lambda job: ("failed", 1))
    ask = browser(world, tmp_path)
    assert ask("GET", "/api/about").json["pages"] == ["pacs"]
    image = radiograph(PatientName=CANARY, StudyDescription=CANARY)
    world.send([image])
    world.until(world.node.spool.failures)
    answer = ask("GET", "/api/pacs")
    page = answer.json
    assert page["scans"][0] | {"changed": 0, "job": ""} == {
        "rule": "films",
        "modality": "CR",
        "objects": 1,
        "changed": 0,
        "state": "failed",
        "job": "",
        "said": "its job was failed: see its log on the page",
        "sent": [],
    }
    assert page["counters"]["received"] == 1 and page["faults"][0][1] == "rule films"
    metrics = ask("GET", "/metrics", authorization=None)
    assert metrics.status == 200 and b'medprior_pacs_scans{state="failed"} 1\n' in metrics.body
    assert b"medprior_pacs_received_total 1\n" in metrics.body
    for body in (answer.body, metrics.body):
        assert CANARY.encode() not in body and str(image.StudyInstanceUID).encode() not in body
    assert ask("GET", "/api/pacs", authorization=None).status == 401
    assert ask("POST", "/api/pacs/again", b"").json == {"again": 1}
    record, lines, code = told_of_failures(tmp_path / "runs", again=False)
    assert (record["failures"] == []) == (code == 0) and lines


def test_a_server_without_a_node_has_no_such_page(tmp_path: Path) -> None:
    app = site(Office(tmp_path / "runs", {}, 10**6))
    ask = Browser(guarded(app, hosts=frozenset({"127.0.0.1:8765"}), token=TOKEN, largest=10**6))
    assert ask("GET", "/api/about").json["pages"] == [] and ask("GET", "/metrics").status == 404


def test_the_command_line_says_which_rule_fires_and_why_not_the_others(tmp_path: Path) -> None:
    settings = tmp_path / "pacs.toml"
    settings.write_text(
        """peers = [{ ae = "PACS", send_back = true }]
        [[rules]]
        when = { Modality = "MR" }
        prior = "brain-t1"
        [[rules]]
        when = { Modality = "CR" }
        prior = "chest-xray"
        """
    )
    record, lines = told_of_file(save(tmp_path / "a.dcm", radiograph()), settings, "")
    assert record["fires"] == "rule 2" and record["why_not"] == {"rule 1": ["Modality is 'CR', wanted MR"]}
    assert lines == [
        "no     rule 1: Modality is 'CR', wanted MR",
        "fires  rule 2",
        "each image: medprior detect --prior chest-xray; seg, pm, sr to PACS",
    ]
    record, lines = told_of_file(save(tmp_path / "b.dcm", radiograph(SyntheticData="YES")), settings, "")
    assert record["fires"] is None and lines[0] == "stored, and never worked on: it is marked as synthetic"
    record, lines = told_of_file(save(tmp_path / "c.dcm", radiograph(Modality="US")), settings, "")
    assert lines[-1] == "no rule fires: the file is stored and gets no job"


def test_a_folder_without_a_node_is_named(tmp_path: Path) -> None:
    from medprior.errors import FileProblem

    with pytest.raises(FileProblem, match="no DICOM node has worked here"):
        told_of_failures(tmp_path, again=False)
