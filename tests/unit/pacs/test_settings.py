"""pacs.toml: what is wrong is named with its line and the nearest name."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pynetdicom", reason="the extra 'pacs' is not installed")

from medprior.errors import BadOption, Corrupt
from medprior.pacs.settings import read_pacs_settings

TEXT = """me = { ae = "MEDPRIOR", port = 11112 }

[[peers]]
ae = "PACS"
host = "127.0.0.1"
send_back = true

[[peers]]
ae = "SCANNER"
may = ["store"]

[[rules]]
when = { Modality = "CR|DX", BodyPartExamined = "CHEST*" }
job = "detect"
prior = "chest-xray"

[[rules]]
name = "brains"
when = { Modality = "MR" }
prior = "brain-t1"
to = ["SCANNER"]
quiet = 20
"""


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pacs.toml"
    path.write_text(TEXT)
    found = read_pacs_settings(path)
    assert [rule.name for rule in found.rules] == ["rule 1", "brains"]
    assert [peer.ae for peer in found.receivers(found.rules[0])] == ["PACS"]
    assert [peer.ae for peer in found.receivers(found.rules[1])] == ["SCANNER"]
    assert found.rules[1].quiet == 20 and found.rules[0].back == ("seg", "pm", "sr")
    assert found.rules[0].request(tmp_path)["prior"] == "chest-xray"


def test_files_are_named_from_the_folder_of_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "pacs.toml"
    (tmp_path / "brain-t1").mkdir()
    path.write_text(TEXT.replace("port = 11112", 'port = 1, cert = "a.pem", key = "b.pem", ca = "c.pem"'))
    found = read_pacs_settings(path)
    assert found.me.cert == str(tmp_path / "a.pem") and found.rules[1].prior == str(tmp_path / "brain-t1")
    with pytest.raises(BadOption, match="cannot be used"):
        found.me.server_tls()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("send_back", "sendback", r"line 6: peers.1.sendback is unknown \(did you mean 'send_back'\?\)"),
        ('Modality = "MR"', 'Modalty = "MR"', r"line 19: rules.2: when: Modalty.*did you mean 'Modality'"),
        ("quiet = 20", "quiet = 'x'", r"line 22: rules.2.quiet: .*valid number, got 'x'"),
        ("quiet = 20", "quite = 20", r"line 22: rules.2.quite is unknown \(did you mean 'quiet'\?\)"),
        ("[\"SCANNER\"]", "[\"SCANER\"]", r"line 21: to: SCANER is no peer \(did you mean 'SCANNER'\?\)"),
        ("\"detect\"", "\"detekt\"", r"line 14: rules.1: job: detekt .*did you mean 'detect'"),
        ("quiet = 20", "options = { twins = 1 }", r"rules.2: twins: unknown option"),
        ("port = 11112", "prot = 11112", r"line 1: me.prot is unknown \(did you mean 'port'\?\)"),
        ("port = 11112", "host = \"0.0.0.0\"", r"line 1: me: host: 0.0.0.0 can be reached from"),
        ("port = 11112", "cert = \"a.pem\"", r"line 1: me: cert, key and ca: wanted all three"),
        ("ae = \"SCANNER\"", "ae = \"PACS\"", r"peers: ae: one is given twice"),
        ("send_back = true", "tls = true", r"tls: a peer speaks TLS"),
        ("may = [\"store\"]", "may = [\"steal\"]", r"line 10: peers.2.may.1: "),
        ("MEDPRIOR", "A NAME THAT IS TOO LONG", r"line 1: me.ae: "),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "pacs.toml"
    path.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(BadOption, match=said):
        read_pacs_settings(path)


def test_what_is_no_toml_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "pacs.toml"
    path.write_text("me = {\n")
    with pytest.raises(Corrupt, match=r"is no TOML \(.*line 1"):
        read_pacs_settings(path)
