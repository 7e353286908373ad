"""Orthanc sends each series that has been quiet for a while to medprior, and so does a button.

Orthanc runs this file itself (its Python plugin); it is no script of medprior's. README.md beside it says
how. Our own results come back as series, too: medprior stores them and never works on them, so they are
left out here only to spare the way.
"""

import json
import os
from importlib import import_module
from typing import Any

orthanc: Any = import_module("orthanc")
"""A module that Orthanc itself brings."""

NODE = os.environ.get("MEDPRIOR_MODALITY", "medprior")
"""The name under which orthanc.json lists medprior among its DicomModalities."""
NOT_SENT = ("SEG", "SR", "KO", "PR")


def send(series: str) -> None:
    """Queue a series for C-STORE; Orthanc tries again where it fails."""
    job = {"Resources": [series], "Asynchronous": True}
    orthanc.RestApiPost(f"/modalities/{NODE}/store", json.dumps(job).encode())


def on_change(kind: int, _level: int, resource: str) -> None:
    if kind != orthanc.ChangeType.STABLE_SERIES:
        return
    tags = json.loads(orthanc.RestApiGet(f"/series/{resource}"))["MainDicomTags"]
    if tags.get("Modality") not in NOT_SENT and not tags.get("SeriesDescription", "").startswith("AI "):
        send(resource)


def on_button(output: object, _uri: str, **request: object) -> None:
    """POST /medprior/SERIES: what the button calls."""
    if request["method"] != "POST":
        output.SendMethodNotAllowed("POST")  # type: ignore[attr-defined]
        return
    send(str(request["groups"][0]))  # type: ignore[index]
    output.AnswerBuffer('{"sent": true}', "application/json")  # type: ignore[attr-defined]


orthanc.RegisterOnChangeCallback(on_change)
orthanc.RegisterRestCallback("/medprior/([-0-9a-f]+)", on_button)
