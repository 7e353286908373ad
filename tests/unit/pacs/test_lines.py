"""How the node reads from a line and waits on it."""

from __future__ import annotations

import time

import pytest

from tests.corpus.dicom_parts import radiograph
from tests.unit.pacs.conftest import Begin

from pynetdicom import AE  # isort: skip
from pynetdicom.pdu import P_DATA_TF  # isort: skip
from pynetdicom.pdu_primitives import P_DATA  # isort: skip

from medprior.pacs import lines  # isort: skip
from medprior.pacs.listen import VERIFICATION  # isort: skip


def test_values_of_a_pdu_are_read_as_pynetdicom_reads_them() -> None:
    """Several values in one PDU; one whose length lies is refused."""
    values = [(1, b"\x03command"), (3, b"\x00first"), (3, b"\x02" + bytes(300))]
    made = P_DATA()
    made.presentation_data_value_list = [[n, value] for n, value in values]  # type: ignore[misc]
    pdu = bytearray(P_DATA_TF(made).encode())
    found, event = lines._decoded(lambda other: (None, ""), pdu)
    assert event == "Evt10"
    assert [(n, bytes(v)) for n, v in found.to_primitive().presentation_data_value_list] == values
    for length in (0, 1, 2**32 - 1):
        pdu[6:10] = length.to_bytes(4)
        with pytest.raises(ValueError, match="value is longer or shorter"):
            lines._decoded(lambda other: (None, ""), pdu)


def test_a_thread_that_waits_is_woken_by_what_comes_and_by_what_is_to_be_sent(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a wait of a minute: bytes, an answer, an object and the end of the association must each wake."""
    monkeypatch.setattr(lines, "_WAIT", 60.0)
    world = begin()
    entity = AE("SCANNER")
    entity.add_requested_context(VERIFICATION)
    started = time.monotonic()
    line = entity.associate("127.0.0.1", world.node.listener.port, ae_title="MEDPRIOR")
    assert [line.send_c_echo().Status for _ in range(20)] == [0] * 20
    line.release()
    assert line.is_released
    assert world.send([radiograph(), radiograph()]) == [0, 0]
    assert time.monotonic() - started < 30


def test_a_line_that_is_cut_leaves_no_thread_that_waits(begin: Begin) -> None:
    world = begin()
    entity = AE("SCANNER")
    entity.add_requested_context(VERIFICATION)
    line = entity.associate("127.0.0.1", world.node.listener.port, ae_title="MEDPRIOR")
    assert line.send_c_echo().Status == 0
    (theirs,) = world.node.listener._server.active_associations  # type: ignore[union-attr]
    line.dul.socket.socket.close()  # type: ignore[union-attr]
    world.until(lambda: not theirs.is_alive() and not theirs.dul.is_alive())
