"""The node as a client of DICOM and DICOMweb: results go to a peer, and a failure comes back in words."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association

from ..errors import MedpriorError, optional
from ..io.dicom.read.open import Header, dicom_errors, open_dicom, quiet, whole_dataset
from ..io.disk.limits import Limits
from .listen import COMMITMENT, COMMITMENT_MODEL, VERIFICATION, pacs_entity
from .settings import Peer, Station

__all__ = ["Confirmations", "PeerRefused", "associated", "count_of_series", "report_commitment", "send_files"]

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
"""Study Root Query/Retrieve Information Model, FIND."""

_REJECTED = {
    (1, 1): "refuses the association without a reason",
    (1, 2): "does not know the application context",
    (1, 3): "does not know our AE title {me}: enter it there",
    (1, 7): "does not go by the AE title {peer}: is `ae` right?",
    (3, 1): "is too busy for now",
    (3, 2): "has no free association",
}
"""(source, diagnostic) of a rejection (PS3.8 table 9-21)."""
_STATUS = {
    0xA700: "is out of resources (0xA700)",
    0xA701: "is out of resources (0xA701)",
    0x0124: "does not allow us to store",
    0x0122: "does not take objects of this class",
    0x0111: "has another object of this UID",
}


class PeerRefused(MedpriorError):
    """A peer did not do what it was asked. The message is a sentence that begins with the peer."""


@dataclass(slots=True)
class Confirmations:
    """Answers of peers to our requests for storage commitment, which come by a line of their own."""

    waiting: dict[str, tuple[threading.Event, list[str]]] = field(default_factory=dict)

    def expect(self) -> str:
        """A new transaction."""
        name = str(generate_uid())
        self.waiting[name] = (threading.Event(), [])
        return name

    def came(self, transaction: str, missing: Sequence[str]) -> None:
        """The answer to one."""
        if transaction in self.waiting:
            done, failed = self.waiting[transaction]
            failed.extend(missing)
            done.set()

    def wait(self, transaction: str, seconds: float) -> int | None:
        """How many objects the peer does not commit to, None without an answer in time."""
        done, failed = self.waiting[transaction]
        came = done.wait(seconds)
        del self.waiting[transaction]
        return len(failed) if came else None


def associated(
    me: Station, peer: Peer, contexts: Sequence[tuple[Any, Any]], handlers: Sequence[Any] = (), **more: Any
) -> Association:
    """An open association. contexts: (SOP class, transfer syntaxes or None). Raises PeerRefused in words."""
    entity: AE = pacs_entity(me)
    entity.dimse_timeout = entity.network_timeout = peer.patience
    for sop_class, syntaxes in contexts:
        entity.add_requested_context(sop_class, *([syntaxes] if syntaxes else []))
    tls = (me.client_tls(), peer.host) if peer.tls else None
    opened: list[bool] = []
    heard = [*handlers, (evt.EVT_CONN_OPEN, lambda event: opened.append(True))]
    made = entity.associate(
        *(peer.host, peer.port), ae_title=peer.ae, tls_args=tls, evt_handlers=heard, **more
    )
    if made.is_established:
        return made
    answer = made.acceptor.primitive
    if made.is_rejected and answer is not None:
        source = (answer.result_source or 0, answer.diagnostic or 0)
        why = _REJECTED.get(source, "refuses the association")
        raise PeerRefused(f"{peer.ae} {why.format(me=me.ae, peer=peer.ae)}")
    if answer is not None and made.rejected_contexts:
        raise PeerRefused(f"{peer.ae} takes no object of these classes")
    if opened:
        raise PeerRefused(f"{peer.ae} hangs up: does it want TLS, or is it no DICOM system?")
    raise PeerRefused(f"{peer.ae} cannot be reached at {peer.host}:{peer.port}")


def send_files(me: Station, peer: Peer, files: Sequence[Path], waiting: Confirmations) -> None:
    """Store files at a peer; where ``peer.confirm``, it then commits to them. Raises PeerRefused."""
    headers = [_header(path) for path in files]
    if peer.web:
        _stow(peer, files)
        return
    contexts = sorted({(header.text("SOPClassUID"), str(header.syntax)) for header in headers})
    line = associated(me, peer, [(name, [syntax]) for name, syntax in contexts])
    try:
        for path, header in zip(files, headers, strict=True):
            _store(line, peer, path, header)
    finally:
        line.release() if line.is_established else line.abort()
    if peer.confirm:
        _confirm(me, peer, headers, waiting)


def _header(path: Path) -> Header:
    with dicom_errors(path):
        return open_dicom(path, Limits())


def _store(line: Association, peer: Peer, path: Path, header: Header) -> None:
    try:
        with quiet():
            answer = line.send_c_store(path)
    except ValueError as error:
        raise PeerRefused(f"{peer.ae} does not take {header.kind}") from error
    except RuntimeError as error:
        raise PeerRefused(f"{peer.ae} has cut the line") from error
    status = answer.get("Status") if answer else None
    if status is None:
        raise PeerRefused(f"{peer.ae} has not answered in {peer.patience:g} seconds, or has cut the line")
    if status != 0 and status & 0xF000 != 0xB000:  # 0xB...: stored, with a warning
        said = _STATUS.get(status, f"refuses {header.kind} (status 0x{status:04X})")
        raise PeerRefused(f"{peer.ae} {said}")


def _confirm(me: Station, peer: Peer, headers: Sequence[Header], waiting: Confirmations) -> None:
    """Storage commitment for what was sent (PS3.4 section J.3)."""
    asked = Dataset()
    asked.TransactionUID = waiting.expect()
    asked.ReferencedSOPSequence = [_reference(header) for header in headers]
    line = associated(me, peer, [(COMMITMENT_MODEL, None)])
    try:
        answer, _ = line.send_n_action(asked, 1, COMMITMENT_MODEL, COMMITMENT)
    finally:
        line.release() if line.is_established else line.abort()
    if not answer or answer.get("Status") != 0:
        raise PeerRefused(f"{peer.ae} takes no request for storage commitment")
    missing = waiting.wait(asked.TransactionUID, peer.patience)
    if missing is None:
        raise PeerRefused(f"{peer.ae} has not committed in {peer.patience:g} seconds: does it know our port?")
    if missing:
        raise PeerRefused(f"{peer.ae} does not commit to {missing} of {len(headers)} objects")


def _reference(header: Header) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = header.text("SOPClassUID")
    item.ReferencedSOPInstanceUID = header.text("SOPInstanceUID")
    return item


def report_commitment(
    me: Station, peer: Peer, transaction: str, held: Sequence[Dataset], missing: Sequence[Dataset]
) -> None:
    """Our answer to a request for storage commitment. Raises PeerRefused."""
    told = Dataset()
    told.TransactionUID = transaction
    if held:
        told.ReferencedSOPSequence = list(held)
    for item in missing:
        item.FailureReason = 0x0112  # no such object instance
    if missing:
        told.FailedSOPSequence = list(missing)
    role = build_role(COMMITMENT_MODEL, scp_role=True)
    line = associated(me, peer, [(COMMITMENT_MODEL, None)], ext_neg=[role])
    try:
        answer, _ = line.send_n_event_report(told, 2 if missing else 1, COMMITMENT_MODEL, COMMITMENT)
    finally:
        line.release() if line.is_established else line.abort()
    if not answer or answer.get("Status") != 0:
        raise PeerRefused(f"{peer.ae} does not take our answer about storage commitment")


def count_of_series(me: Station, peer: Peer, study: str, series: str) -> int | None:
    """How many objects a series has at a peer, None where it does not say."""
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID, asked.SeriesInstanceUID = "SERIES", study, series
    asked.NumberOfSeriesRelatedInstances = ""
    try:
        line = associated(me, peer, [(FIND, None)])
        found = [
            one.get("NumberOfSeriesRelatedInstances")
            for status, one in line.send_c_find(asked, FIND)
            if status and one is not None
        ]
        line.release()
    except (MedpriorError, RuntimeError, ValueError):
        return None
    return int(found[0]) if found and found[0] else None


def echo(me: Station, peer: Peer) -> None:
    """C-ECHO. Raises PeerRefused."""
    line = associated(me, peer, [(VERIFICATION, None)])
    try:
        answer = line.send_c_echo()
    finally:
        line.release() if line.is_established else line.abort()
    if not answer or answer.get("Status") != 0:
        raise PeerRefused(f"{peer.ae} does not answer C-ECHO")


def _stow(peer: Peer, files: Sequence[Path]) -> None:
    web = optional("dicomweb_client", "pacs", "DICOMweb")
    client = web.DICOMwebClient(peer.web)
    try:
        with quiet():
            answer = client.store_instances([whole_dataset(path) for path in files])
    except Exception as error:  # requests and its kin raise many kinds; their text may hold addresses only
        raise PeerRefused(f"{peer.ae} refuses results by DICOMweb ({type(error).__name__})") from error
    if failed := answer.get("FailedSOPSequence"):
        raise PeerRefused(f"{peer.ae} refuses {len(failed)} of {len(files)} objects by DICOMweb")
