"""Promises that concern many rooms at once use the same small prior and scans as the tests of runs."""

from tests.unit.runs.conftest import picture, tiny

__all__ = ["picture", "tiny"]
