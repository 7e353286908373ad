"""What decodes one compressed frame: pydicom with the codecs that it finds. Called in a guarded process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import convert_color_space, get_decoder
from pydicom.uid import UID

from ..disk.limits import Limits

__all__ = ["decode"]

_PER_VALUE = 6
"""Bytes for each value of the picture: JPEG 2000 works on 32-bit copies of all of it."""


def decode(syntax: str, elements: Mapping[str, Any], stream: NDArray[np.uint8]) -> NDArray[Any]:
    """One frame: (rows, columns), or (rows, columns, 3) RGB. elements: its Image Pixel module.

    Raises whatever the codec raises.
    """
    source = Dataset()
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = UID(syntax)
    for keyword, value in elements.items():
        setattr(source, keyword, value)
    samples = elements["SamplesPerPixel"]
    shape = (elements["Rows"], elements["Columns"], samples)
    Limits().check_shape("the frame", shape, _PER_VALUE)  # which its file has passed already
    source.add_new(0x7FE00010, "OB", encapsulate([stream.tobytes()], has_bot=False))
    source["PixelData"].is_undefined_length = True
    frame, about = get_decoder(UID(syntax)).as_array(source, index=0, raw=samples == 1)
    space = str(about.get("photometric_interpretation", "RGB"))
    return convert_color_space(frame, space, "RGB") if samples > 1 and space.startswith("YBR") else frame
