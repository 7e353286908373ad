"""The node as a server: who may do what, and what strangers can do to it."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import subprocess
import time
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from tests.corpus.dicom_parts import axial, radiograph
from tests.unit.pacs.conftest import PEERS, Begin, World, ready, settings_of

from pynetdicom import AE, evt  # isort: skip
from pynetdicom.dsutils import create_file_meta, encode_file_meta  # isort: skip

from medprior.pacs import listen  # isort: skip
from medprior.pacs.listen import COMMITMENT, COMMITMENT_MODEL, VERIFICATION  # isort: skip

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""pynetdicom leaves a socket that was refused to the garbage collector."""


def echo(port: int, title: str = "SCANNER", called: str = "MEDPRIOR", **more: object) -> float | None:
    """Seconds of a C-ECHO, None where it is refused."""
    entity = AE(title)
    entity.connection_timeout = entity.acse_timeout = 5
    entity.add_requested_context(VERIFICATION)
    started = time.monotonic()
    line = entity.associate("127.0.0.1", port, ae_title=called, **more)  # type: ignore[arg-type]
    if not line.is_established:
        return None
    assert line.send_c_echo().Status == 0
    line.release()
    return time.monotonic() - started


def stored(world: World) -> int:
    return len(list(world.node.spool.root.glob("instances/*/*.dcm")))


def test_what_a_known_sender_stores_lies_on_the_disk_as_it_came(begin: Begin) -> None:
    world, image = begin(), radiograph()
    assert world.send([image, image]) == [0, 0] and stored(world) == 1
    spool = world.node.spool
    kept = spool.path(spool.name(str(image.SOPInstanceUID))).read_bytes()
    assert kept[128:132] == b"DICM" and image.PixelData in kept
    assert spool.counters() == {"received": 2, "repeated": 1}
    world.until(lambda: world.asked)
    assert [one[0] for one in world.asked] == ["detect"]


@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34"])
def test_a_file_begins_as_pynetdicom_writes_it(uid: str) -> None:
    kind, name = UID("1.2.840.10008.5.1.4.1.1.2"), UID(uid)
    made = create_file_meta(sop_class_uid=kind, sop_instance_uid=name, transfer_syntax=ExplicitVRLittleEndian)
    wanted = encode_file_meta(made)
    assert listen._file_head(kind, name, ExplicitVRLittleEndian) == bytes(128) + b"DICM" + wanted


def test_strangers_are_refused_and_a_peer_does_only_what_it_may(begin: Begin) -> None:
    world = begin(settings_of(peers=[*PEERS, {"ae": "READER", "port": 1}]))
    port = world.node.listener.port
    assert echo(port) is not None and echo(port, "READER") is not None
    assert echo(port, "STRANGER") is None and echo(port, called="OTHER") is None
    assert world.send([radiograph()], "STRANGER") == []
    assert world.send([radiograph()], "READER") == [0x0124]
    assert stored(world) == 0 and world.asked == []


def test_an_object_that_is_not_what_was_announced_is_refused(begin: Begin) -> None:
    world, image = begin(), radiograph()
    entity = AE("SCANNER")
    entity.add_requested_context(image.SOPClassUID, ExplicitVRLittleEndian)
    line = entity.associate("127.0.0.1", world.node.listener.port, ae_title="MEDPRIOR")
    real = line.dimse.send_msg

    def lie(primitive: object, context: int) -> None:
        primitive.AffectedSOPInstanceUID = "1.2.3"  # type: ignore[attr-defined]
        real(primitive, context)  # type: ignore[arg-type]

    line.dimse.send_msg = lie  # type: ignore[method-assign, assignment]
    assert line.send_c_store(ready(image)).Status == 0xA900
    line.release()
    assert stored(world) == 0


def test_a_full_spool_answers_out_of_resources(begin: Begin) -> None:
    world = begin(settings_of(me={"quota": 1e-6}))
    assert world.send([radiograph()]) == [0xA700] and stored(world) == 0
    assert echo(world.node.listener.port) is not None


def test_an_object_above_the_limit_is_cut_off(begin: Begin) -> None:
    world, image = begin(settings_of(me={"largest": 1})), radiograph()
    image.add_new(0x00091001, "OB", os.urandom(2_000_000))
    assert world.send([image]) == [-1]
    assert world.send([radiograph()]) == [0] and stored(world) == 1


HOSTILE = {
    "a giant PDU": struct.pack(">BBL", 4, 0, 2**32 - 1) + b"x" * 4096,
    "no PDU": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "half an association": struct.pack(">BBL", 1, 0, 200) + b"\0\1",
    "noise": os.urandom(4096),
}


def test_half_open_lines_and_hostile_bytes_stop_nobody(begin: Begin) -> None:
    world = begin()
    port = world.node.listener.port
    lines = []
    try:
        for n in range(100):
            line = socket.create_connection(("127.0.0.1", port), timeout=5)
            lines.append(line)
            if n < 4 * len(HOSTILE):
                line.sendall(list(HOSTILE.values())[n % len(HOSTILE)])
        assert min(echo(port) or 9.0 for _ in range(3)) < 1.0  # the best: the machine may be busy
        assert world.send([radiograph()]) == [0]
    finally:
        for line in lines:
            line.close()
    assert (echo(port) or 9.0) < 1.0


def certificates(folder: Path) -> Path:
    """A hospital's authority with two systems, and somebody else's."""
    for name, issuer in (("hospital", ""), ("me", "hospital"), ("scanner", "hospital"), ("other", "")):
        command = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ]
        command += ["-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "1", "-subj", f"/CN={name}"]
        command += ["-addext", "subjectAltName=IP:127.0.0.1"]
        command += ["-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key"] if issuer else []
        command += ["-addext", "basicConstraints=critical,CA:FALSE"] if issuer else []
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


def test_with_tls_only_who_shows_a_certificate_of_the_hospital_comes_in(begin: Begin, tmp_path: Path) -> None:
    folder = certificates(tmp_path)
    me = {"cert": f"{folder}/me.pem", "key": f"{folder}/me.key", "ca": f"{folder}/hospital.pem"}
    port = begin(settings_of(me=me)).node.listener.port

    def context(name: str) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=f"{folder}/hospital.pem")
        if name:
            made.load_cert_chain(f"{folder}/{name}.pem", f"{folder}/{name}.key")
        return made

    silent = socket.create_connection(("127.0.0.1", port))  # says nothing, and stops nobody
    assert (echo(port, tls_args=(context("scanner"), "127.0.0.1")) or 9.0) < 1.0
    assert echo(port, tls_args=(context("other"), "127.0.0.1")) is None
    assert echo(port, tls_args=(context(""), "127.0.0.1")) is None
    assert echo(port) is None
    assert echo(port, "STRANGER", tls_args=(context("scanner"), "127.0.0.1")) is None
    silent.close()


def test_storage_commitment_says_what_is_held_and_keeps_it(begin: Begin) -> None:
    """The answer comes by a line of its own, on which the node is the one that calls."""
    told: list[Dataset] = []
    scanner = AE("SCANNER")
    scanner.add_supported_context(COMMITMENT_MODEL, scu_role=True, scp_role=True)

    def heard(event: evt.Event) -> tuple[int, None]:
        told.append(event.event_information)
        return 0, None

    server = scanner.start_server(("127.0.0.1", 0), False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, heard)])
    assert server is not None
    try:
        peers = [
            {"ae": "SCANNER", "port": server.server_address[1], "may": ["store", "commit"], "pause": 0.1}
        ]
        world, images = begin(settings_of(peers=peers)), axial()[:2]
        assert world.send(images[:1]) == [0]
        asked = Dataset()
        asked.TransactionUID, asked.ReferencedSOPSequence = "1.2.3", []
        for image in images:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = (
                image.SOPClassUID,
                image.SOPInstanceUID,
            )
            asked.ReferencedSOPSequence.append(item)
        caller = AE("SCANNER")
        caller.add_requested_context(COMMITMENT_MODEL)
        line = caller.associate("127.0.0.1", world.node.listener.port, ae_title="MEDPRIOR")
        assert line.send_n_action(asked, 1, COMMITMENT_MODEL, COMMITMENT)[0].Status == 0
        line.release()
        world.until(lambda: told)
        assert told[0].TransactionUID == "1.2.3"
        assert [i.ReferencedSOPInstanceUID for i in told[0].ReferencedSOPSequence] == [
            images[0].SOPInstanceUID
        ]
        assert [(i.ReferencedSOPInstanceUID, i.FailureReason) for i in told[0].FailedSOPSequence] == [
            (images[1].SOPInstanceUID, 0x0112)
        ]
        assert world.node.spool.clear(time.time() + 10) == 0
    finally:
        server.shutdown()
