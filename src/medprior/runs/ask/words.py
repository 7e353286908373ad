"""A request as the command line that stands for it, and the function that does it."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from .request import Request
from .requests import Scan

__all__ = ["function_at", "shape_of", "words_of"]


def function_at(where: str) -> Callable[..., Any]:
    """The function that "module:function" of ``runs`` names; its module is loaded now."""
    module, _, name = where.partition(":")
    return getattr(import_module(f"medprior.runs.{module}"), name)


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
        _, many, _ = shape_of(info.annotation)
        texts = [_text(one) for one in value]
        return [word for one in texts for word in (flag, one)] if many else [flag, *texts]
    text = _text(value)
    return [f"{flag}={text}"] if text.startswith("-") else [flag, text]


def _text(value: object) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def shape_of(annotation: Any) -> tuple[Any, bool, int]:
    """(type of one value, whether there may be several, how many at once)."""
    parts = get_args(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        real = [part for part in parts if part is not type(None)]
        return shape_of(real[0]) if len(real) == 1 else _joined(real)
    if get_origin(annotation) is tuple:
        return (parts[0], True, 1) if parts[-1] is Ellipsis else (parts[0], False, len(parts))
    return annotation, False, 1


def _joined(real: Sequence[Any]) -> tuple[Any, bool, int]:
    """Alternatives: words if all are, else text."""
    if all(get_origin(part) is Literal for part in real):
        return Literal[tuple(word for part in real for word in get_args(part))], False, 1
    return str, False, 1
