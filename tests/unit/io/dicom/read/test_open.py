"""Values whose representation is unclear or wrong, but which are plain to read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import ImplicitVRLittleEndian

from medprior.io.read import read
from tests.corpus.dicom_parts import axial, changed, ct_slice, encoded, phantom, save, save_all


@pytest.mark.parametrize(
    ("signed", "elements"),
    [
        (0, {"PixelPaddingValue": 0}),
        (1, {"PixelPaddingValue": -2000}),
        (1, {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1500}),
    ],
)
def test_us_or_ss_in_implicit_vr_is_what_the_pixels_are(
    tmp_path: Path, signed: int, elements: dict[str, int]
) -> None:
    """The file does not say whether they are signed; Pixel Representation does (PS3.5 section 6.2)."""
    image = phantom()[0].astype(np.int16) - (1000 if signed else 0)
    image[:3] = elements["PixelPaddingValue"]
    bits: dict[str, Any] = {"PixelRepresentation": signed, "BitsStored": 16, "HighBit": 15}
    bits["RescaleIntercept"] = 0
    made = ct_slice(image.astype(np.int16 if signed else np.uint16), **bits, **elements)
    explicit = read(save(tmp_path / "x.dcm", encoded(made)))
    implicit = read(save(tmp_path / "i.dcm", encoded(made, ImplicitVRLittleEndian)))
    assert np.array_equal(explicit.data, implicit.data)
    assert explicit.provenance.warnings == implicit.provenance.warnings
    assert "24 padded pixels" in implicit.provenance.warnings[-1]


def test_a_spacing_as_unlimited_text_is_a_spacing(tmp_path: Path) -> None:
    made = axial()
    for one in made:
        one[0x00280030] = RawDataElement(Tag(0x00280030), "UT", 8, b"0.8\\0.9 ", 0, False, True)  # pyright: ignore[reportArgumentType]
    volume = read(save_all(tmp_path, made))
    assert volume.spacing_mm == pytest.approx((0.9, 0.8, 2.5))


@pytest.mark.parametrize(("stored", "said"), [(63536, "62512 HU"), (900, "")])
def test_values_that_no_ct_scan_has_are_named(tmp_path: Path, stored: int, said: str) -> None:
    """-2000 written as an unsigned number, without a word about padding: 62 512 HU outside of the patient."""
    image = phantom()[0].copy()
    image[:2] = stored
    made = changed(ct_slice(image), BitsStored=16, HighBit=15)
    warnings = read(save(tmp_path / "a.dcm", made)).provenance.warnings
    assert any(said in text and "padding that the file does not name" in text for text in warnings) == bool(
        said
    )
