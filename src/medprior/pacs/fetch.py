"""``medprior fetch``: a training set from a PACS, without the identity of patients."""

from __future__ import annotations

import secrets
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydicom.datadict import keyword_dict
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1
from pynetdicom import build_role, evt

from ..data.plain import JsonObject
from ..errors import BadOption, MedpriorError, did_you_mean, optional
from ..io.dicom.deidentify_files import TABLE, deidentify
from ..io.dicom.read.open import dicom_errors, open_dicom, quiet
from ..io.disk.files import write_file
from ..io.disk.limits import Limits
from ..runs.ask.serve import Fetch
from ..runs.core.progress import Event, OnEvent
from .listen import pacs_entity
from .rules import never_worked_on
from .send import FIND, PeerRefused, associated
from .settings import PacsSettings, Peer, Station, read_pacs_settings

__all__ = ["PacsQuery", "fetch_set", "pacs_query"]

MOVE, GET = "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.2.3"
_STUDY = (
    *("PatientID", "PatientName", "PatientSex", "PatientBirthDate", "StudyDate", "StudyTime", "StudyID"),
    *("StudyDescription", "StudyInstanceUID", "AccessionNumber", "ModalitiesInStudy"),
    *("ReferringPhysicianName", "InstitutionName"),
)
"""Keys of a study; all others are asked of its series (PS3.4 tables C.6-1 to C.6-3)."""
_CLASSES = tuple(
    f"1.2.840.10008.5.1.4.1.1.{end}"
    for end in (
        *("1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "2", "2.1", "3.1", "4", "4.1", "6.1", "7"),
        *("12.1", "12.2", "20", "77.1.4", "128", "128.1", "130", "13.1.3"),
    )
)
"""Pictures: CR, DX, MG, IO, CT, MR, US, SC, XA, RF, NM, VL, PET, and the enhanced ones."""
_SYNTAXES = ([ExplicitVRLittleEndian, ImplicitVRLittleEndian], [JPEGLosslessSV1], [JPEG2000Lossless])


@dataclass(frozen=True, slots=True)
class PacsQuery:
    """query: what C-FIND matches, by keyword. most: series. how: C-GET, C-MOVE to ourselves, or DICOMweb."""

    query: Mapping[str, str]
    title: str
    how: Literal["get", "move", "web"] = "get"
    most: int = 1000


@dataclass(frozen=True, slots=True)
class _Series:
    study: str
    series: str
    modality: str


def pacs_query(request: Fetch, known: PacsSettings) -> PacsQuery:
    """What is asked, and of whom. Raises BadOption for a key that is none, or an unknown peer."""
    found: dict[str, str] = {}
    for word in request.query:
        key, is_pair, value = word.partition("=")
        if key not in keyword_dict:
            raise BadOption(f"query: {key} is no element", did_you_mean(key, list(keyword_dict)))
        if not is_pair:
            raise BadOption(f"query: {word} has no value", f"write {key}=VALUE")
        found[key] = value
    if not found:
        raise BadOption("query: nothing is asked for", "e.g. --query Modality=CR")
    titles = [peer.ae for peer in known.peers]
    title = request.peer or (titles[0] if len(titles) == 1 else "")
    if not title:
        raise BadOption("peer: which one?", f"choose from {', '.join(titles)}")
    peer = known.peer(title)
    chosen = request.how if request.how != "auto" else "web" if peer.web else "get"
    if chosen == "web" and not peer.web:
        raise BadOption(f"how: {title} has no `web` in the settings", "add its DICOMweb address")
    return PacsQuery(found, title, chosen, request.most)


def fetch_set(request: Fetch, on_event: OnEvent) -> tuple[JsonObject, list[str], int]:
    """(record, lines for a person, exit code: 4 where a series or a file is missing).

    Series are brought into a private folder beside ``out``, which is removed at the end. ``out`` gets copies
    without identity. Our own results and what is no picture stay away. Raises what ``pacs_query`` and
    ``deidentify`` raise, and PeerRefused.
    """
    known, out = read_pacs_settings(request.pacs), request.out
    asked = pacs_query(request, known)
    peer, raw = known.peer(asked.title), out.absolute().with_name(f".{secrets.token_hex(8)}-fetched")
    on_event(Event("stage", "bringing series"))
    found = _found(known.me, peer, asked)
    if not found:
        raise BadOption(f"query: {peer.ae} has no such series", "loosen it; * and ? stand for any letters")
    failed: list[str] = []
    raw.mkdir(parents=True, mode=0o700)
    try:
        bring = {"get": _get, "move": _move, "web": _web}[asked.how]
        for n, (one, why) in enumerate(bring(known.me, peer, found, raw), 1):
            failed += [f"{one.modality}: {why}"] if why else []
            on_event(Event("step", done=n, total=len(found)))
        left_out = _sift(raw)
        done = deidentify(raw, out, key=request.key, allow_burned_in=request.allow_burned_in)
    finally:
        shutil.rmtree(raw, ignore_errors=True)
    reasons = Counter(reason for _, reason in done.refused)
    lines = [
        f"{len(found)} series found, {done.written} files without identity",
        *(f"refused   {n} files: {reason}" for reason, n in reasons.items()),
        *(f"left out  {n} files: {reason}" for reason, n in left_out.items()),
        *(f"missing   {n} series: {why}" for why, n in Counter(failed).items()),
    ]
    if done.written:
        lines += [f"output    {out}", f"table     {out / TABLE}", f"next      medprior train {out}"]
    else:
        shutil.rmtree(out, ignore_errors=True)  # so that the same command can follow
        lines += [f"output    none: {out} would be empty", "next      the same command, mended as said above"]
    record: JsonObject = {"series": len(found), "written": done.written, "refused": dict(reasons)}
    record |= {"left_out": dict(left_out), "missing": failed}
    return record, lines, 4 if failed or done.refused else 0


def _sift(raw: Path) -> Counter[str]:
    """Take out what is no picture, or our own: a prior must not learn from what priors have made."""
    reasons: Counter[str] = Counter()
    for path in sorted(raw.rglob("*.dcm")):
        try:
            with dicom_errors(path):
                why = never_worked_on(open_dicom(path, Limits()))
        except MedpriorError:
            why = "it is damaged"
        if why:
            reasons[why] += 1
            path.unlink()
    return reasons


# what there is


def _found(me: Station, peer: Peer, asked: PacsQuery) -> list[_Series]:
    find = _find_web if asked.how == "web" else _find
    return sorted(find(me, peer, asked.query), key=lambda one: (one.study, one.series))[: asked.most]


def _find(me: Station, peer: Peer, query: Mapping[str, str]) -> list[_Series]:
    """C-FIND of studies, then of the series of each."""
    of_study = {key: value for key, value in query.items() if key in _STUDY}
    of_series = {key: value for key, value in query.items() if key not in _STUDY}
    line = associated(me, peer, [(FIND, None)])
    try:
        found = []
        for study in _matches(line, "STUDY", {"StudyInstanceUID": "", **of_study}):
            uid = str(study.get("StudyInstanceUID", ""))
            keys = {"StudyInstanceUID": uid, "SeriesInstanceUID": "", "Modality": "", **of_series}
            found += [
                _Series(uid, str(one.get("SeriesInstanceUID", "")), str(one.get("Modality", "")))
                for one in _matches(line, "SERIES", keys)
            ]
        return found
    finally:
        line.release() if line.is_established else line.abort()


def _matches(line: Any, level: str, keys: Mapping[str, str]) -> list[Dataset]:
    asked = Dataset()
    asked.QueryRetrieveLevel = level
    with quiet():
        for key, value in keys.items():
            setattr(asked, key, value)
        answers = list(line.send_c_find(asked, FIND))
    status = answers[-1][0].get("Status") if answers and answers[-1][0] else None
    if status != 0:
        raise PeerRefused("the peer does not answer the query")
    return [one for _, one in answers if one is not None]


def _find_web(_me: Station, peer: Peer, query: Mapping[str, str]) -> list[_Series]:
    """QIDO-RS."""
    found = _client(peer).search_for_series(search_filters=dict(query))
    read = [Dataset.from_json(one) for one in found]
    return [
        _Series(str(one.StudyInstanceUID), str(one.SeriesInstanceUID), str(one.get("Modality", "")))
        for one in read
    ]


def _client(peer: Peer) -> Any:
    return optional("dicomweb_client", "pacs", "DICOMweb").DICOMwebClient(peer.web)


# how it comes


def _web(_me: Station, peer: Peer, found: Sequence[_Series], raw: Path) -> Iterator[tuple[_Series, str]]:
    """WADO-RS."""
    client = _client(peer)
    for one in found:
        try:
            with quiet():
                images = client.retrieve_series(one.study, one.series)
            for image in images:
                _save(raw, image)
            yield one, ""
        except Exception as error:  # requests and its kin raise many kinds, whose text holds addresses
            yield one, f"cannot be had by DICOMweb ({type(error).__name__})"


def _save(raw: Path, image: Dataset) -> None:
    with quiet():
        write_file(_place(raw), lambda path: image.save_as(path, enforce_file_format=True))


def _place(raw: Path) -> Path:
    return raw / f"{secrets.token_hex(16)}.dcm"


def _taken(raw: Path) -> Any:
    """What takes objects in."""

    def store(event: Any) -> int:
        write_file(_place(raw), event.encoded_dataset())
        return 0

    return evt.EVT_C_STORE, store


def _get(me: Station, peer: Peer, found: Sequence[_Series], raw: Path) -> Iterator[tuple[_Series, str]]:
    """C-GET: the objects come by the line that asks for them."""
    contexts = [(name, syntaxes) for name in _CLASSES for syntaxes in _SYNTAXES]
    roles = [build_role(name, scp_role=True) for name in _CLASSES]
    line = associated(me, peer, [(GET, None), *contexts], [_taken(raw)], ext_neg=roles)
    try:
        for one in found:
            yield one, _retrieved(line.send_c_get(_asked(one), GET), peer)
    finally:
        line.release() if line.is_established else line.abort()


def _move(me: Station, peer: Peer, found: Sequence[_Series], raw: Path) -> Iterator[tuple[_Series, str]]:
    """C-MOVE to ourselves: the peer must know our AE title and port."""
    entity = pacs_entity(me)
    entity.require_called_aet, entity.require_calling_aet = True, [peer.ae]
    try:
        server = entity.start_server((me.host, me.port), False, me.server_tls(), [_taken(raw)])
    except OSError as error:
        raise BadOption(
            f"me.port: {me.port} cannot be used ({error.strerror})",
            "end medprior serve --pacs meanwhile, or use --how get",
        ) from error
    line = associated(me, peer, [(MOVE, None)])
    try:
        for one in found:
            yield one, _retrieved(line.send_c_move(_asked(one), me.ae, MOVE), peer)
    finally:
        line.release() if line.is_established else line.abort()
        if server is not None:
            server.shutdown()


def _asked(one: _Series) -> Dataset:
    made = Dataset()
    made.QueryRetrieveLevel, made.StudyInstanceUID, made.SeriesInstanceUID = "SERIES", one.study, one.series
    return made


def _retrieved(answers: Any, peer: Peer) -> str:
    """Why a retrieval failed, "" where it did not."""
    last = None
    for status, _ in answers:
        last = status
    code = last.get("Status") if last else None
    if code == 0:
        return ""
    if code is None:
        return f"{peer.ae} has not answered, or has cut the line"
    if code == 0xA801:
        return f"{peer.ae} does not know our AE title as a destination: enter it there"
    return f"{peer.ae} could not send all of it (status 0x{code:04X})"
