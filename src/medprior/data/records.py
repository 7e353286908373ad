"""One schema for what is read as JSON: a dataclass states its values and their types."""

from __future__ import annotations

import json
from dataclasses import fields
from functools import cache
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from ..errors import BadOption, did_you_mean

__all__ = ["checked"]

T = TypeVar("T")
_NAMED = 3


def checked(kind: type[T], stored: object, who: str, remedy: str) -> T:
    """A value of JSON as a dataclass, strictly: no text for a number, no number for yes or no, and no key
    that the dataclass does not know.

    Raises BadOption naming the keys that are wrong, unknown or missing.
    """
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for key in stored if isinstance(stored, dict) else ():
        if key not in known:
            raise BadOption(f"{who}: unknown key {key!r}", did_you_mean(key, known))
    try:
        try:
            return _adapter(kind).validate_json(json.dumps(stored, ensure_ascii=False).encode(), strict=True)
        except UnicodeEncodeError:  # a file name that is no text: only Python holds it
            return _adapter(kind).validate_python(stored)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)[:_NAMED]
        said = "; ".join(f"{'.'.join(map(str, f['loc'])) or 'all of it'}: {f['msg']}" for f in faults)
        raise BadOption(f"{who}: a value is missing or of another kind ({said})", remedy) from None


@cache
def _adapter(kind: type[T]) -> TypeAdapter[T]:
    return TypeAdapter(kind)
