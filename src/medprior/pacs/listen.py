"""The node as a server of DICOM: C-ECHO, C-STORE and storage commitment, for peers that it knows.

A C-STORE is answered once its bytes lie on the disk, whole and under their name.
"""

from __future__ import annotations

import logging
import re
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from socketserver import TCPServer
from struct import pack
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION, _config, evt
from pynetdicom.transport import ThreadedAssociationServer

from ..errors import BadOption, MedpriorError, TooLarge
from ..io.dicom.read.open import dicom_errors, open_dicom
from ..io.disk.limits import Limits
from ..io.served.spool import Received, Spool
from .lines import LARGEST_PDU, PromptLine, bounded_line
from .rules import one_at_a_time, rule_for
from .settings import PacsSettings, Station

__all__ = ["COMMITMENT", "COMMITMENT_MODEL", "VERIFICATION", "PacsListener", "identified", "pacs_entity"]

VERIFICATION, COMMITMENT_MODEL = "1.2.840.10008.1.1", "1.2.840.10008.1.20.1"
COMMITMENT = "1.2.840.10008.1.20.1.1"
"""The one instance of storage commitment (PS3.4 section J.3.5)."""
_UID = re.compile(r"[0-9.]{1,64}")
_OK, _FULL, _NOT_ALLOWED, _NOT_UNDERSTOOD, _OTHER_OBJECT = 0x0000, 0xA700, 0x0124, 0xC000, 0xA900
_STRANGERS = 128
"""Lines that may be open without an association; each is cut after ``_HANDSHAKE``."""
_HANDSHAKE = 10.0
"""Seconds that a stranger has to say who it is."""


def pacs_entity(me: Station) -> AE:
    """Our application entity, with its limits of time; pynetdicom writes no log, whose lines hold names."""
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
    _config.UNRESTRICTED_STORAGE_SERVICE = True
    _config.LOG_RESPONSE_IDENTIFIERS = _config.LOG_REQUEST_IDENTIFIERS = False
    made = AE(me.ae)
    made.maximum_pdu_size = LARGEST_PDU
    made.acse_timeout, made.connection_timeout = _HANDSHAKE, _HANDSHAKE
    made.network_timeout = made.dimse_timeout = 30.0
    return made


def identified(settings: PacsSettings, name: Callable[..., str], path: Path, sender: str) -> Received:
    """What a file is and which rule it meets. name: keyed names. Raises what ``open_dicom`` raises."""
    with dicom_errors(path):
        header = open_dicom(path, Limits())
        rule = rule_for(settings, header, sender)
        uids = [header.text(f"{what}InstanceUID") for what in ("SOP", "Series", "Study")]
    uid, series, study = (one if _UID.fullmatch(one) else "" for one in uids)
    if not uid:
        raise BadOption("object: has no SOP Instance UID")
    if rule is None or not series or not study:
        return Received(uid, header.text("SOPClassUID"), series, study, "", "", "", sender)
    alone = (uid,) if one_at_a_time(rule, header) else ()
    return Received(
        *(uid, header.text("SOPClassUID"), series, study, name("unit", rule.name, series, *alone)),
        *(rule.name, header.text("Modality"), sender),
    )


class _Server(ThreadedAssociationServer):
    """Connections are counted before anything else, and TLS is spoken in a thread of its own: a stranger who
    connects and says nothing stops nobody.
    """

    most: int = 32
    request_queue_size = 128
    daemon_threads = True

    def shutdown(self) -> None:
        """pynetdicom's own looks for the server in a list that it is not in."""
        TCPServer.shutdown(self)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        return self.socket.accept()  # type: ignore[union-attr]

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return len(self.active_associations) < self.most

    def finish_request(self, request: Any, client_address: Any) -> None:
        if isinstance(self.ssl_context, ssl.SSLContext):
            request.settimeout(_HANDSHAKE)
            request = self.ssl_context.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Strangers fail in many ways, and none is worth a traceback."""


class PacsListener:
    """settings: whom we know. spool: where objects are kept. on_commit: gets (peer, transaction, held,
    missing) of a request for storage commitment; on_event: (transaction, UIDs that a peer could not commit
    to).
    """

    def __init__(
        self,
        settings: PacsSettings,
        spool: Spool,
        on_commit: Callable[[str, str, Sequence[Dataset], Sequence[Dataset]], None],
        on_event: Callable[[str, Sequence[str]], None],
    ) -> None:
        self.settings, self.spool = settings, spool
        self.on_commit, self.on_event = on_commit, on_event
        self._server: _Server | None = None

    def start(self) -> None:
        """Listen. Raises BadOption for a port that is taken, or certificates that cannot be used."""
        me = self.settings.me
        entity = pacs_entity(me)
        entity.require_called_aet = True
        entity.require_calling_aet = [peer.ae for peer in self.settings.peers]
        entity.maximum_associations = me.associations + _STRANGERS
        entity.add_supported_context(VERIFICATION)
        entity.add_supported_context(COMMITMENT_MODEL, scu_role=True, scp_role=True)
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_CONN_CLOSE, self._closed),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_ACTION, self._commit),
            (evt.EVT_N_EVENT_REPORT, self._event),
        ]
        try:
            server: Any = entity.make_server(
                *((me.host, me.port), None, None, me.server_tls(), handlers), server_class=_Server
            )
        except OSError as error:
            raise BadOption(
                f"me.port: {me.host}:{me.port} cannot be used ({error.strerror})", "choose another one"
            ) from error
        server.most = me.associations + _STRANGERS
        self._server = server
        threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.server_address[1] if self._server is not None else self.settings.me.port

    def stop(self) -> None:
        """Take nothing more; associations that are open are cut."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            for one in self._server.active_associations:
                one.kill()

    def _may(self, event: Any, what: str) -> bool:
        title = event.assoc.requestor.ae_title.strip()
        return any(peer.ae == title and what in peer.may for peer in self.settings.peers)

    def _opened(self, event: Any) -> None:
        """Until it is known who it is, silence is seldom looked at."""
        event.assoc.dul._run_loop_delay = 0.05
        bounded_line(event.assoc, self.settings.me.largest * 10**6)

    def _accepted(self, event: Any) -> None:
        """It is one of ours."""
        lines = self._server.active_associations if self._server is not None else []
        if sum(line.is_established for line in lines) >= self.settings.me.associations:
            event.assoc.abort()
        event.assoc.dul._run_loop_delay = 0.001
        event.assoc._prompt = PromptLine(event.assoc)

    def _closed(self, event: Any) -> None:
        if prompt := getattr(event.assoc, "_prompt", None):
            prompt.close()

    def _store(self, event: Any) -> int:
        event.assoc._taken = 0
        if not self._may(event, "store"):
            return _NOT_ALLOWED
        sender = event.assoc.requestor.ae_title.strip()
        asked = event.request
        try:

            def look(path: Path) -> Received:
                found = identified(self.settings, self.spool.name, path, sender)
                if found.uid != str(asked.AffectedSOPInstanceUID):
                    raise BadOption("object: its UID is another one than was announced")
                return found

            head = _file_head(
                *(str(asked.AffectedSOPClassUID), str(asked.AffectedSOPInstanceUID)),
                str(event.context.transfer_syntax),
            )
            self.spool.receive([head, asked.DataSet.getbuffer()], look)
        except TooLarge:
            return _FULL
        except BadOption:
            return _OTHER_OBJECT
        except MedpriorError:
            return _NOT_UNDERSTOOD
        except OSError:
            return _FULL
        return _OK

    def _commit(self, event: Any) -> tuple[int, None]:
        """Storage commitment is asked of us: the answer is an event of its own (PS3.4 section J.3)."""
        if not self._may(event, "commit"):
            return _NOT_ALLOWED, None
        asked = event.action_information
        held, missing = [], []
        for item in asked.get("ReferencedSOPSequence", ()):
            kept = self.spool.holds(str(item.ReferencedSOPInstanceUID), commit=True)
            (held if kept else missing).append(item)
        self.on_commit(
            event.assoc.requestor.ae_title.strip(), str(asked.get("TransactionUID", "")), held, missing
        )
        return _OK, None

    def _event(self, event: Any) -> tuple[int, None]:
        """A peer says whether it commits to what we have sent."""
        told = event.event_information
        missing = [str(item.ReferencedSOPInstanceUID) for item in told.get("FailedSOPSequence", ())]
        self.on_event(str(told.get("TransactionUID", "")), missing)
        return _OK, None


def _file_head(sop_class: str, uid: str, syntax: str) -> bytes:
    """Preamble and file meta information (PS3.10 section 7.1)."""
    maker, version = str(PYNETDICOM_IMPLEMENTATION_UID), PYNETDICOM_IMPLEMENTATION_VERSION
    uids = [(2, b"UI", sop_class), (3, b"UI", uid), (16, b"UI", syntax), (18, b"UI", maker)]
    meta = pack("<HH2sHI2s", 2, 1, b"OB", 0, 2, b"\0\1")
    for element, kind, text in (*uids, (19, b"SH", version)):
        value = text.encode() + (b" " if kind == b"SH" else b"\0") * (len(text) % 2)
        meta += pack("<HH2sH", 2, element, kind, len(value)) + value
    return bytes(128) + b"DICM" + pack("<HH2sHI", 2, 0, b"UL", 4, len(meta)) + meta
