"""The pages of the jobs name every option that there is, and none that there is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from medprior.runs.ask.many import HasMany
from medprior.runs.ask.request import HasLayout
from medprior.runs.ask.requests import REQUESTS, HasScan, OneScan, Request, Scan

DOCS = Path(__file__).resolve().parents[2] / "docs"
COMMON = {"out", "seed", "device", "fresh", "prior", "config", "json", "debug", "help"}
ONE_SCAN = ("detect", "explain", "reconstruct", "augment", "synthesize")
LAUNCHER = {"nproc_per_node"}
"""What torchrun is told, not medprior."""


def flags(text: str) -> set[str]:
    """Of medprior; those of the scripts in bench/ stand with their figures."""
    text = re.sub(r"<!-- figures: begin.*?figures: end -->", "", text, flags=re.DOTALL)
    return {flag.replace("-", "_") for flag in re.findall(r"--([a-z][a-z-]*)", text)}


def options(model: type[BaseModel]) -> set[str]:
    """As they are written: ``as`` is a word of Python's own and has another name inside."""
    return {field.alias or name for name, field in model.model_fields.items()}


@pytest.mark.parametrize("job", REQUESTS)
def test_a_page_has_every_option_of_its_job(job: str) -> None:
    name = job.split("-")[0]
    page = flags((DOCS / f"{name}.md").read_text(encoding="utf-8"))
    every = flags((DOCS / "cli.md").read_text(encoding="utf-8"))
    known = (
        COMMON
        | LAUNCHER
        | (options(Scan) | options(HasScan) if job == "train" else set())
        | ({"unproven"} if job == "adapt" else set())
    )  # synthesize's, which it shows
    known |= {
        field for other, model in REQUESTS.items() if other.split("-")[0] == name for field in options(model)
    }
    wanted = (
        options(REQUESTS[job])
        - {"input", "folder"}
        - set(Request.model_fields)
        - (set(OneScan.model_fields) if name in ONE_SCAN else set())
        - {"prior"}
        - (set() if job == "train" else set(HasLayout.LAYOUT))  # said once, on the page of training
        - set(HasMany.model_fields)  # said once, on the page of many scans
    )
    assert wanted - page == set()
    assert page - known == set()
    assert set(HasMany.model_fields) - set(HasLayout.LAYOUT) <= flags((DOCS / "many.md").read_text("utf-8"))
    assert (set(OneScan.model_fields) | set(Request.model_fields)) - {"input"} <= every
