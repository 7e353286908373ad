"""pacs.toml: who we are, whom we know, and which scan gets which job. Every error names its line."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydicom.datadict import dictionary_VR, keyword_dict

from ..data.plain import JsonObject
from ..errors import BadOption, did_you_mean
from ..io.disk.settings import read_toml
from ..runs.ask.requests import REQUESTS, OneScan, request_from

__all__ = ["CALLING", "LOCAL", "PacsSettings", "Peer", "Rule", "Station", "read_pacs_settings"]

LOCAL = ("127.0.0.1", "::1", "localhost")
CALLING = "CallingAE"
"""What a rule may name beside elements of a file: the AE title of its sender."""

AeTitle = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[\x21-\x5b\x5d-\x7e]+$")]
Port = Annotated[int, Field(ge=0, le=65535)]
_JOBS = tuple(name for name, request in REQUESTS.items() if issubclass(request, OneScan))


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Station(_Strict):
    """Ourselves. largest: megabytes of one object. quota: gigabytes that the spool may hold. keep: hours
    after which what was answered is removed. associations: at a time. cert, key, ca: PEM files for mutual
    TLS.
    """

    ae: AeTitle = "MEDPRIOR"
    host: str = "127.0.0.1"
    port: Port = 11112
    cert: str = ""
    key: str = ""
    ca: str = ""
    largest: Annotated[int, Field(ge=1, le=100_000)] = 1024
    quota: Annotated[float, Field(gt=0)] = 50.0
    keep: Annotated[float, Field(ge=0)] = 24.0
    associations: Annotated[int, Field(ge=1, le=256)] = 16

    @model_validator(mode="after")
    def _closed(self) -> Self:
        named = [bool(value) for value in (self.cert, self.key, self.ca)]
        if any(named) and not all(named):
            raise ValueError("cert, key and ca: wanted all three of them")
        if self.host not in LOCAL and not all(named):
            raise ValueError(
                f"host: {self.host} can be reached from other machines, which needs cert, key and ca"
            )
        return self

    def server_tls(self) -> ssl.SSLContext | None:
        """For those who call us: they show a certificate of ``ca``. None: without TLS. Raises BadOption."""
        return self._tls(ssl.PROTOCOL_TLS_SERVER) if self.cert else None

    def client_tls(self) -> ssl.SSLContext:
        """For those whom we call. Raises BadOption."""
        return self._tls(ssl.PROTOCOL_TLS_CLIENT)

    def _tls(self, side: int) -> ssl.SSLContext:
        context = ssl.SSLContext(side)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_cert_chain(self.cert, self.key)
            context.load_verify_locations(self.ca)
        except (OSError, ValueError) as error:
            raise BadOption(
                f"cert, key, ca: cannot be used ({error})", "give three PEM files, the key without a password"
            ) from error
        return context


class Peer(_Strict):
    """Another system. may: what it may do to us beside C-ECHO. send_back: it gets results. count: it is asked
    how many objects a series has. confirm: it must commit to results. web: its DICOMweb address, which
    results then go to. tls: it speaks TLS. tries: to send one result. pause: seconds after the first failure,
    doubled after each.
    """

    ae: AeTitle
    host: str = "127.0.0.1"
    port: Port = 104
    may: tuple[Literal["store", "commit"], ...] = ()
    send_back: bool = False
    count: bool = False
    confirm: bool = False
    web: Annotated[str, Field(pattern=r"^(https?://\S+)?$")] = ""
    tls: bool = False
    tries: Annotated[int, Field(ge=1, le=5)] = 5
    pause: Annotated[float, Field(gt=0, le=3600)] = 10.0
    patience: Annotated[float, Field(gt=0, le=600)] = 30.0


class Rule(_Strict):
    """A scan whose elements match ``when`` gets ``job``. Patterns: words between ``|``, in which ``*`` and
    ``?`` stand for any letters; letters may be large or small; all of a value must match. back: what is sent.
    each: what one job works on; auto is one image of a radiograph, a series of all else. quiet: seconds
    without a new object after which a study is complete. to: AE titles instead of all that get results.
    """

    when: dict[str, str]
    job: str = "detect"
    prior: str = ""
    options: JsonObject = Field(default_factory=dict)
    name: str = ""
    back: tuple[Literal["seg", "pm", "sr", "sc", "image"], ...] = ("seg", "pm", "sr")
    each: Literal["auto", "series", "image"] = "auto"
    quiet: Annotated[float, Field(ge=0.1, le=86_400)] = 60.0
    to: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _known(self) -> Self:
        for keyword in self.when:
            if keyword != CALLING and (keyword not in keyword_dict or _is_sequence(keyword)):
                raise ValueError(f"when: {keyword} is no element ({_nearest(keyword)})")
        if self.job not in _JOBS:
            raise ValueError(f"job: {self.job} is none for one scan ({did_you_mean(self.job, list(_JOBS))})")
        try:
            self.request(Path("scan"))
        except BadOption as error:
            raise ValueError(str(error)) from None
        return self

    def request(self, scan: Path) -> Mapping[str, object]:
        """The options of the job on one scan. Raises BadOption where they cannot be."""
        values = {**self.options, "input": scan, "prior": self.prior}
        request_from(self.job, values)
        return values


class PacsSettings(_Strict):
    """The whole file."""

    me: Station = Station()
    peers: tuple[Peer, ...]
    rules: tuple[Rule, ...]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        titles = [peer.ae for peer in self.peers]
        names = [rule.name for rule in self.rules]
        for what, given in (("peers: ae", titles), ("rules: name", [name for name in names if name])):
            if len(set(given)) != len(given):
                raise ValueError(f"{what}: one is given twice")
        for rule in self.rules:
            if unknown := sorted(set(rule.to) - set(titles)):
                raise ValueError(f"to: {unknown[0]} is no peer ({did_you_mean(unknown[0], titles)})")
        if any(peer.tls for peer in self.peers) and not self.me.cert:
            raise ValueError("tls: a peer speaks TLS, for which me needs cert, key and ca")
        return self

    def peer(self, title: str) -> Peer:
        """Raises BadOption for an unknown AE title."""
        for one in self.peers:
            if one.ae == title:
                return one
        raise BadOption(f"peer: {title} is unknown", did_you_mean(title, [p.ae for p in self.peers]))

    def receivers(self, rule: Rule) -> list[Peer]:
        """Who gets the results of a rule."""
        return [p for p in self.peers if (p.ae in rule.to if rule.to else p.send_back)]


def read_pacs_settings(path: Path) -> PacsSettings:
    """Raises FileProblem, Corrupt (no TOML, with the line) and BadOption naming the line, the key and the
    nearest known one. Paths in it count from its folder.
    """
    stored, text = read_toml(path)
    rules = stored.get("rules")
    for n, rule in enumerate(rules if isinstance(rules, list) else []):
        if isinstance(rule, dict) and not rule.get("name"):
            rule["name"] = f"rule {n + 1}"
    try:
        found = PacsSettings.model_validate_json(json.dumps(stored, default=str), strict=True)
    except ValidationError as error:
        raise _explained(error, path, text) from None
    return _beside(found, path.absolute().parent)


def _beside(found: PacsSettings, folder: Path) -> PacsSettings:
    """Paths from the folder of the file."""
    me = {name: str(folder / value) for name in ("cert", "key", "ca") if (value := getattr(found.me, name))}
    rules = [
        rule.model_copy(update={"prior": str(folder / rule.prior)})
        if rule.prior and (folder / rule.prior).is_dir()
        else rule
        for rule in found.rules
    ]
    return found.model_copy(update={"me": found.me.model_copy(update=me), "rules": tuple(rules)})


def _explained(error: ValidationError, path: Path, text: str) -> BadOption:
    """The first fault with its line."""
    fault = error.errors(include_url=False)[0]
    where, kind = [*fault["loc"]], fault["type"]
    name = ".".join(str(part + 1) if isinstance(part, int) else part for part in where)
    said = str(fault["ctx"]["error"]) if "ctx" in fault and kind == "value_error" else fault["msg"]
    if kind == "value_error":
        where.append(said.partition(":")[0].split(",")[0])
    line = _line_of(text, where)
    known = list(_model_at(where[:-1]).model_fields)
    if kind == "extra_forbidden":
        return BadOption(f"{path.name} line {line}: {name} is unknown", did_you_mean(str(where[-1]), known))
    got = f", got {fault['input']!r}" if kind != "value_error" and kind != "missing" else ""
    return BadOption(f"{path.name} line {line}: {name + ': ' if name else ''}{said}{got}", "see docs/pacs.md")


def _model_at(where: Sequence[str | int]) -> type[BaseModel]:
    return {"me": Station, "peers": Peer, "rules": Rule}.get(str(where[0]) if where else "", PacsSettings)


def _line_of(text: str, where: Sequence[str | int]) -> int:
    """The line, counted from 1, of the deepest key of ``where`` that stands in the file."""
    lines, at, table = text.splitlines(), 0, ""
    for part in where:
        if isinstance(part, int):
            heads = [n for n, line in enumerate(lines) if re.match(rf"\s*\[\[\s*{table}\s*\]\]", line)]
            at = heads[part] if part < len(heads) else at
            continue
        table = re.escape(part)
        key = re.compile(rf"(^|[\s{{,\[.]){table}\"?\s*(=|\]|\.)")
        at = next((n for n in range(at, len(lines)) if key.search(lines[n])), at)
    return at + 1


def _is_sequence(keyword: str) -> bool:
    return dictionary_VR(keyword_dict[keyword]) in ("SQ", "OB", "OW", "UN")


def _nearest(keyword: str) -> str:
    return did_you_mean(keyword, [*keyword_dict, CALLING]) if len(keyword) < 80 else "names are shorter"
