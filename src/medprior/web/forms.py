"""A form for each job, made from its request type, and the command line that a filled form stands for."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from ..errors import BadOption, did_you_mean
from ..runs.ask.many import HasMany
from ..runs.ask.request import ADVANCED, Request, explained
from ..runs.ask.requests import Scan
from ..runs.ask.words import shape_of
from ..runs.verbs import VERBS

__all__ = ["FILES", "Field", "command_line", "file_kind", "form_request", "forms"]

_OURS = ("out", "fresh", "write_index", "index", "series", "shard", "workers", "cluster", "jobs")
"""Options that the page sets itself or has no need of."""
FILES = {
    "input": "scan",
    "paint": "scan",
    "mask": "scan",
    "given": "scan",
    "folder": "set",
    "generated": "set",
    "data": "set",
    "policy": "table",
    "answers": "table",
    "labels": "table",
    "replay": "replay",
    "prior": "prior",
    "into": "new",
    "head": "run",
    "model": "model",
    "judge": "model",
    "real": "set",
}
"""What the page offers for an option that names a file or a folder."""


@dataclass(frozen=True, slots=True)
class Field:
    """One line of a form. kind: "flag", "choice", "whole", "number", "text", or one of ``FILES``; "scans" is
    a scan or a data set. many: takes
    several. count: how many numbers at once. low, high: limits of a number.
    """

    name: str
    label: str
    help: str
    kind: str
    required: bool
    advanced: bool
    default: object = None
    choices: tuple[str, ...] = ()
    many: bool = False
    count: int = 1
    low: float | None = None
    high: float | None = None


def forms() -> list[dict[str, object]]:
    """Every job with its help and its fields, as JSON."""
    return [
        {
            "verb": words,
            "help": " ".join((request.__doc__ or "").split()),
            "fields": [asdict(f) for f in _fields(request)],
        }
        for words, (request, _) in VERBS.items()
    ]


def _fields(request: type[Request | Scan]) -> list[Field]:
    return [_field(request, name, info) for name, info in request.model_fields.items() if name not in _OURS]


def _field(request: type[Request | Scan], name: str, info: FieldInfo) -> Field:
    inner, many, count = shape_of(info.annotation)
    default = None if info.is_required() else info.default
    return Field(
        name,
        (info.alias or name).replace("_", " "),
        info.description or "",
        _kind(request, name, inner),
        info.is_required(),
        ADVANCED in info.metadata,
        list(default) if isinstance(default, tuple) else default,
        tuple(map(str, get_args(inner))) if get_origin(inner) is Literal else (),
        many,
        count,
        _limit(info, "ge", "gt"),
        _limit(info, "le", "lt"),
    )


def _limit(info: FieldInfo, *names: str) -> float | None:
    found = [getattr(one, name, None) for one in info.metadata for name in names]
    return next((value for value in found if value is not None), None)


def _kind(request: type[Request | Scan], name: str, inner: Any) -> str:
    if name == "input" and issubclass(request, HasMany):
        return "scans"
    if inner is Path or name == "prior":
        return FILES.get(name, "any")
    if name in FILES and get_origin(inner) is not Literal:
        return FILES[name]
    if get_origin(inner) is Literal:
        return "choice"
    return {bool: "flag", int: "whole", float: "number"}.get(inner, "text")


def file_kind(verb: str, name: str) -> str:
    """What an option that names a file is chosen from, "" for any other option."""
    known = VERBS[verb][0].model_fields if verb in VERBS else {}
    if name not in known:
        return FILES.get(name, "")
    kind = _kind(VERBS[verb][0], name, shape_of(known[name].annotation)[0])
    return kind if kind in {*FILES.values(), "any", "scans"} else ""


def form_request(verb: str, values: Mapping[str, object]) -> Request | Scan:
    """The request of a form. values: by name; what equals the default may be left out.

    Raises BadOption naming every wrong field, as the command line does.
    """
    if verb not in VERBS:
        raise BadOption(f"verb: {verb!r} is not known", did_you_mean(verb, list(VERBS)))
    request, _ = VERBS[verb]
    try:
        return request.model_validate(dict(values))
    except ValidationError as error:
        raise explained(error, list(request.model_fields)) from None


def command_line(words: Sequence[str], base: Path | None = None) -> str:
    """What a person types. base: folder that paths are shown from."""
    short = [word.removeprefix(f"{base}/") if base else word for word in words]
    return shlex.join(["medprior", *short])
