"""A form is what the command line takes, and its command means the same as the form."""

from __future__ import annotations

from typing import get_type_hints

import pytest

from medprior.cli import app
from medprior.errors import BadOption
from medprior.runs.ask.words import words_of
from medprior.runs.verbs import VERBS
from medprior.web.forms import command_line, file_kind, form_request, forms

FILLED: dict[str, dict[str, object]] = {
    "detect": {"input": "a scan.dcm", "prior": "chest-xray", "n_twins": 3, "allow_other": True, "unit": "-x"},
    "reconstruct": {"input": "s.png", "prior": "p", "task": "sr2", "noise": 0.05},
    "augment": {"input": "s.png", "prior": "p", "box": (1, 2, 3, 4), "label": "sick"},
    "augment-classical": {"input": "s.png", "mask": "m.png", "n": 2},
    "augment-set": {"folder": "d", "classical": True, "fill": "balanced"},
    "synthesize": {
        "prior": "p",
        "given": ["a.nii", "b.nii"],
        "as": ["mask", "T1"],
        "number": ["age=60", "dose=1"],
    },
    "train": {"folder": "d", "channels": ["image", "mask"], "minutes": 0.5},
    "adapt": {"folder": "d", "prior": "p", "replay": "none"},
    "scan": {"folder": "d", "modality": "CT"},
    "learn": {"folder": "d", "prior": "p", "level": 0.9},
    "predict": {"input": "s.png", "prior": "p", "head": "h"},
    "evaluate learn": {"folder": "d", "prior": "p", "draws": 3},
    "label": {"folder": "d", "prior": "p", "classes": ["sick", "well"], "n": 5},
    "evaluate augment": {"folder": "d", "prior": "p", "split": "test"},
    "evaluate explain": {"maps": False},
    "read": {"folder": "d", "made": ["runs/drawn"], "n": 3},
}


@pytest.mark.parametrize("verb", VERBS)
def test_the_command_line_of_a_form_is_the_same_request(verb: str) -> None:
    request, _ = VERBS[verb]
    needed = {name: "d" for name, info in request.model_fields.items() if info.is_required()}
    values = {**needed, **FILLED.get(verb, {}), "out": "runs/here"}
    _, bound, _ = app.parse_args(
        [*words_of(verb, form_request(verb, values))], exit_on_error=False, print_error=False
    )
    assert bound.arguments["request"] == request.model_validate(values)


def test_every_job_has_a_form_with_the_common_options_first() -> None:
    found = {str(form["verb"]): form for form in forms()}
    assert list(found) == list(VERBS)
    fields = {field["name"]: field for field in found["detect"]["fields"]}  # type: ignore[index]
    assert (
        fields["input"]["required"]
        and fields["input"]["kind"] == "scans"  # one, or a data set
        and not fields["n_twins"]["advanced"]
    )
    assert (fields["n_twins"]["low"], fields["n_twins"]["high"], fields["n_twins"]["default"]) == (1, 64, 1)
    assert fields["device"]["advanced"] and fields["device"]["choices"] == ("auto", "cpu", "cuda")
    assert "out" not in fields and "fresh" not in fields


def test_every_option_that_names_a_file_is_chosen_from_what_the_page_has() -> None:
    """No request carries a path of the server, also where a verb is new."""
    for words, (request, _) in VERBS.items():
        for name, hint in get_type_hints(request).items():
            if "Path" in str(hint) and name in request.model_fields:
                assert file_kind(words, name) or name == "out", (words, name)
    assert (file_kind("detect", "seed"), file_kind("detect", "prior")) == ("", "prior")


def test_a_wrong_form_is_explained_in_one_line() -> None:
    with pytest.raises(BadOption, match="n_twins"):
        form_request("detect", {"input": "s", "prior": "p", "n_twins": 0})
    with pytest.raises(BadOption, match="did you mean"):
        form_request("detekt", {})
    with pytest.raises(BadOption, match="unknown option"):
        form_request("detect", {"input": "s", "prior": "p", "twins": 1})


def test_a_command_is_safe_in_a_shell() -> None:
    assert command_line(["detect", "a b;rm.dcm"]) == "medprior detect 'a b;rm.dcm'"
