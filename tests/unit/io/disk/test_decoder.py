"""Promise A11: a codec that crashes, hangs, eats memory or lies costs one file within its limit, and the next
file is decoded.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEGLSLossless, RLELossless

from medprior.errors import BadOption, Corrupt, FileProblem, TooLarge
from medprior.io.dicom.read.series import read_dicom
from medprior.io.disk import decoder_child
from medprior.io.disk.decoder import CodecError, Decoder, decoder
from medprior.io.disk.limits import Limits
from tests.corpus.dicom_parts import axial, changed, ct_slice, encoded, phantom, save

IMAGE = phantom()[0]
ELEMENTS = {
    "Rows": IMAGE.shape[0],
    "Columns": IMAGE.shape[1],
    "NumberOfFrames": 1,
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "BitsAllocated": 16,
    "BitsStored": 12,
    "HighBit": 11,
    "PixelRepresentation": 0,
    "PlanarConfiguration": 0,
}
HOSTILE = """
import os, sys, time
from multiprocessing.connection import Connection
connection = Connection(int(sys.argv[1]))
connection.send_bytes(b"ready")
connection.recv_bytes(), connection.recv_bytes()
{deed}
time.sleep(60)
"""


def stream(syntax: str = JPEGLSLossless) -> bytes:
    made = ct_slice(IMAGE)
    encoded(made)
    made.compress(syntax, generate_instance_uid=False)
    return next(generate_frames(made.PixelData, number_of_frames=1))


def hostile(folder: Path, deed: str) -> Decoder:
    script = folder / "child.py"
    script.write_text(HOSTILE.format(deed=deed))
    return Decoder(script)


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("os.abort()", r"crashed \(SIGABRT\)"),
        ("os.kill(os.getpid(), 11)", r"crashed \(SIGSEGV\)"),
        ("sys.exit(3)", r"crashed \(exit code 3\)"),
        ("connection.send_bytes(b'[1]')", "crashed"),
        ('connection.send_bytes(b\'{"shape": [100000, 100000], "dtype": "<f8"}\')', "crashed"),
        ('connection.send_bytes(b\'{"shape": [10, 8], "dtype": "O"}\')', "crashed"),
        ("connection.send_bytes(b'x' * 10**6)", "crashed"),
        ("", "not done after 0.5 s"),
    ],
)
def test_a_crash_a_hang_and_a_lie_cost_one_file(tmp_path: Path, deed: str, reason: str) -> None:
    bad = hostile(tmp_path, deed)
    start = time.monotonic()
    with pytest.raises(Corrupt, match=reason) as caught:
        bad.frame(Path("scan.dcm"), JPEGLSLossless, ELEMENTS, stream(), 0.5)
    assert caught.value.path == Path("scan.dcm")
    assert time.monotonic() - start < 30
    bad.close()


def test_after_a_crash_and_after_a_kill_the_next_frame_gets_a_new_child(tmp_path: Path) -> None:
    made = hostile(tmp_path, "os.abort()")
    with pytest.raises(Corrupt, match="SIGABRT"):
        made.frame(Path("bad.dcm"), RLELossless, ELEMENTS, stream(RLELossless), 60)
    (tmp_path / "child.py").write_text(Path(decoder_child.__file__).read_text())
    for _ in range(2):
        assert np.array_equal(
            made.frame(Path("next.dcm"), RLELossless, ELEMENTS, stream(RLELossless), 60), IMAGE
        )
        assert made._process is not None
        os.kill(made._process.pid, 9)
        made._process.wait()
    made.close()


def test_a_codec_that_wants_too_much_memory_is_refused(tmp_path: Path) -> None:
    """The picture is honest, the allowance is made too small for it: the child says so and lives on."""
    made = Decoder(memory=-24 * 1000 * 1000 + 2**16)
    big = np.random.default_rng(0).integers(0, 4096, (1000, 1000)).astype(np.uint16)
    image = changed(ct_slice(IMAGE), Rows=1000, Columns=1000, PixelData=big.tobytes())
    encoded(image)
    image.compress(JPEGLSLossless, generate_instance_uid=False)
    content = next(generate_frames(image.PixelData, number_of_frames=1))
    with pytest.raises((TooLarge, CodecError), match=r"memory|alloc"):
        made.frame(Path("big.dcm"), JPEGLSLossless, ELEMENTS | {"Rows": 1000, "Columns": 1000}, content, 60)
    made.close()
    assert np.array_equal(
        decoder().frame(
            Path("big.dcm"), JPEGLSLossless, ELEMENTS | {"Rows": 1000, "Columns": 1000}, content, 60
        ),
        big,
    )


def test_no_child_no_picture(tmp_path: Path) -> None:
    with pytest.raises(FileProblem, match="no process could be started"):
        Decoder(tmp_path / "gone.py").frame(Path("a.dcm"), JPEGLSLossless, ELEMENTS, stream(), 5)


def test_an_interrupt_between_question_and_answer_does_not_mix_up_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Decoder()
    made.frame(Path("a"), JPEGLSLossless, ELEMENTS, stream(), 60)
    connection = made._connection

    def interrupted(seconds: float) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(connection, "poll", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made.frame(Path("a"), JPEGLSLossless, ELEMENTS, stream(), 60)
    assert made._connection is None, "the answer that was under way is thrown away with its child"
    made.close()


def test_a_fork_has_its_own_child_and_leaves_this_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = decoder()
    mine.frame(Path("a"), RLELossless, ELEMENTS, stream(RLELossless), 60)
    with monkeypatch.context() as fork:
        fork.setattr(os, "getpid", lambda: 2**22)
        assert decoder() is not mine
        mine.close()
    assert decoder() is mine and mine._process is not None and mine._process.poll() is None


@pytest.mark.parametrize("per_frame", [1, 3])
def test_every_frame_of_a_compressed_film_is_its_own(tmp_path: Path, per_frame: int) -> None:
    """One fragment a frame, or several with an offset table: the frames are told apart, and a series of such
    files is put together.
    """
    streams = []
    for image in axial():
        encoded(image)
        image.compress(RLELossless, generate_instance_uid=False)
        streams.append(next(generate_frames(image.PixelData, number_of_frames=1)))
    film = changed(ct_slice(IMAGE), NumberOfFrames=len(streams), ImagePositionPatient=None)
    film.add_new(0x7FE00010, "OB", encapsulate(streams, fragments_per_frame=per_frame, has_bot=True))
    film["PixelData"].is_undefined_length = True
    path = save(tmp_path / "film.dcm", encoded(film, RLELossless))
    for n, stored in enumerate(phantom()):
        assert np.array_equal(read_dicom(path, frame=n).data[0], stored - 1024.0)


def test_the_time_for_a_frame_is_a_limit_like_the_others() -> None:
    with pytest.raises(BadOption, match=r"Limits\.seconds"):
        Limits(seconds=0)
