"""What may be passed on of a picture that shows no patient any more: numbers and terms, no words."""

from __future__ import annotations

import pytest

from medprior.io.dicom.terms import is_defined

GOOD = [
    ("BodyPartExamined", "CHEST"),
    ("ViewPosition", "PA"),
    ("PatientOrientation", ["L", "FH"]),
    ("PatientPosition", "HFS"),
    ("ConvolutionKernel", "B30f"),
    ("ConvolutionKernel", ["Br40d", "3"]),
    ("ConvolutionKernel", "STANDARD"),
    ("RescaleType", "HU"),
    ("KVP", "120"),
    ("EchoTime", 3.5),
    ("SeriesType", ["WHOLE BODY", "IMAGE"]),
    ("ScanOptions", ["FS", ""]),
    ("KVP", None),
]


@pytest.mark.parametrize(("keyword", "value"), GOOD)
def test_terms_and_numbers_stay(keyword: str, value: object) -> None:
    assert is_defined(keyword, value)


@pytest.mark.parametrize("keyword", sorted({keyword for keyword, _ in GOOD}))
def test_words_do_not(keyword: str) -> None:
    for word in ("DOE JANE", "Müller", "LEFT KNEE OF MR SMITH", "J. Doe"):
        assert not is_defined(keyword, word)
        assert not is_defined(keyword, ["1", word])
