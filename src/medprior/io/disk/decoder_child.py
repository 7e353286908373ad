"""The child process that runs the decoders of compressed pixels: C libraries that a hostile file may crash,
hang or feed with memory.

It is started as a script of its own by ``decoder.py``, talks over one inherited socket, and imports nothing
of medprior. A job is two messages, a JSON head and the compressed frame; so is its answer, a JSON head and
the pixels.
"""

from __future__ import annotations

import json
import resource
import sys
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import convert_color_space, get_decoder
from pydicom.uid import UID

_STATM = Path("/proc/self/statm")


def _limit_memory(extra: int) -> None:
    """At most ``extra`` bytes of address space above what the process has now; where the system does not
    tell, it has no limit.
    """
    if _STATM.exists():
        now = int(_STATM.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + extra, resource.getrlimit(resource.RLIMIT_AS)[1]))


def decode(head: dict[str, Any], stream: bytes) -> NDArray[Any]:
    """One frame: (rows, columns), or (rows, columns, 3) RGB, by pydicom and the codecs that it finds."""
    source = Dataset()
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = UID(head["syntax"])
    for keyword, value in head["elements"].items():
        setattr(source, keyword, value)
    source.add_new(0x7FE00010, "OB", encapsulate([stream], has_bot=False))
    source["PixelData"].is_undefined_length = True
    grey = head["elements"]["SamplesPerPixel"] == 1
    frame, about = get_decoder(UID(head["syntax"])).as_array(source, index=0, raw=grey)
    space = str(about.get("photometric_interpretation", "RGB"))
    return convert_color_space(frame, space, "RGB") if not grey and space.startswith("YBR") else frame


def answer(connection: Connection) -> None:
    """One job: the pixels, or the class and the text of what went wrong."""
    head = json.loads(connection.recv_bytes())
    stream = connection.recv_bytes()
    try:
        _limit_memory(head["memory"])
        frame = np.ascontiguousarray(decode(head, stream))
    except Exception as error:  # whatever a codec raises is told, not died of
        connection.send_bytes(
            json.dumps({"error": type(error).__name__, "text": " ".join(str(error).split())[:2000]}).encode()
        )
        return
    connection.send_bytes(json.dumps({"shape": frame.shape, "dtype": frame.dtype.str}).encode())
    connection.send_bytes(frame.data.cast("B"))


def main() -> None:
    """Jobs until the parent closes its end."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump of its memory would hold somebody's scan
    connection = Connection(int(sys.argv[1]))
    connection.send_bytes(b"ready")
    while True:
        try:
            answer(connection)
        except (EOFError, OSError):
            return


if __name__ == "__main__":
    main()
