"""A form for each job, made from its request type, and the command line that a filled form stands for."""

from __future__ import annotations

import shlex
import types
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from ..errors import BadOption, did_you_mean
from ..runs.ask.request import ADVANCED, Request, explained
from ..runs.ask.requests import Scan
from ..runs.verbs import VERBS

__all__ = ["FILES", "Field", "command_line", "file_kind", "form_request", "forms", "words_of"]

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
}
"""What the page offers for an option that names a file or a folder."""


@dataclass(frozen=True, slots=True)
class Field:
    """One line of a form. kind: "flag", "choice", "whole", "number", "text", or one of ``FILES``. many: takes
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
    return [_field(name, info) for name, info in request.model_fields.items() if name not in _OURS]


def _field(name: str, info: FieldInfo) -> Field:
    inner, many, count = _shape(info.annotation)
    default = None if info.is_required() else info.default
    return Field(
        name,
        (info.alias or name).replace("_", " "),
        info.description or "",
        _kind(name, inner),
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


def _shape(annotation: Any) -> tuple[Any, bool, int]:
    """(type of one value, whether there may be several, how many at once)."""
    parts = get_args(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        real = [part for part in parts if part is not type(None)]
        return _shape(real[0]) if len(real) == 1 else _joined(real)
    if get_origin(annotation) is tuple:
        return (parts[0], True, 1) if parts[-1] is Ellipsis else (parts[0], False, len(parts))
    return annotation, False, 1


def _joined(real: Sequence[Any]) -> tuple[Any, bool, int]:
    """Alternatives: words if all are, else text."""
    if all(get_origin(part) is Literal for part in real):
        return Literal[tuple(word for part in real for word in get_args(part))], False, 1
    return str, False, 1


def _kind(name: str, inner: Any) -> str:
    if inner is Path or name == "prior":
        return FILES.get(name, "any")
    if name in FILES:
        return FILES[name]
    if get_origin(inner) is Literal:
        return "choice"
    return {bool: "flag", int: "whole", float: "number"}.get(inner, "text")


def file_kind(verb: str, name: str) -> str:
    """What an option that names a file is chosen from, "" for any other option."""
    known = VERBS[verb][0].model_fields if verb in VERBS else {}
    if name not in known:
        return FILES.get(name, "")
    kind = _kind(name, _shape(known[name].annotation)[0])
    return kind if kind in {*FILES.values(), "any"} else ""


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


def words_of(verb: str, made: Request | Scan) -> tuple[str, ...]:
    """The command line of a request, after ``medprior``."""
    words: list[str] = []
    for name, info in type(made).model_fields.items():
        value = getattr(made, name)
        if name in made.model_fields_set and (info.is_required() or value != info.default):
            words += _option(name, info, value)
    return (*verb.split(), *words)


def _option(name: str, info: FieldInfo, value: Any) -> list[str]:
    if info.kw_only is not True:
        return [str(value)]  # the scan or the folder, given by its place
    flag = "--" + (info.alias or name).replace("_", "-")
    if isinstance(value, bool):
        return [flag if value else f"{flag}=false"]
    if isinstance(value, tuple):
        _, many, _ = _shape(info.annotation)
        texts = [_text(one) for one in value]
        return [word for one in texts for word in (flag, one)] if many else [flag, *texts]
    text = _text(value)
    return [f"{flag}={text}"] if text.startswith("-") else [flag, text]


def _text(value: object) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def command_line(words: Sequence[str], base: Path | None = None) -> str:
    """What a person types. base: folder that paths are shown from."""
    short = [word.removeprefix(f"{base}/") if base else word for word in words]
    return shlex.join(["medprior", *short])
