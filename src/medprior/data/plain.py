"""Values that JSON keeps: what records, cards and pages are made of when they are written."""

from __future__ import annotations

from typing import Any

__all__ = ["JsonObject"]

JsonObject = dict[str, Any]
"""An object of JSON, at the moment in which it is written or has just been read. Between layers results
travel as dataclasses.
"""
