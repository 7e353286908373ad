"""Promise A11: a codec that crashes, hangs, eats memory or lies costs one file within its limit, and the next
file is decoded.
"""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEGLSLossless, RLELossless

from medprior.errors import BadOption, Corrupt, FileProblem, TooLarge
from medprior.io.dicom.codecs import decode
from medprior.io.dicom.read.series import read_dicom
from medprior.io.disk import decoder_child
from medprior.io.disk.decoder import CodecError, Decoder, decoder
from medprior.io.disk.limits import Limits
from medprior.io.disk.messages import fault_from, fault_text
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
import os, resource, socket, sys, time
from medprior.io.disk.messages import next_message, send_message
channel = socket.socket(fileno=int(sys.argv[1]))
send_message(channel, "ready")
next_message(channel)
resource.setrlimit(resource.RLIMIT_CPU, (1, resource.RLIM_INFINITY))
{deed}
time.sleep(60)
"""


def stream(syntax: str = JPEGLSLossless) -> bytes:
    made = ct_slice(IMAGE)
    encoded(made)
    made.compress(syntax, generate_instance_uid=False)
    return next(generate_frames(made.PixelData, number_of_frames=1))


def frame(
    by: Decoder,
    name: str,
    syntax: str = JPEGLSLossless,
    content: bytes = b"",
    seconds: float = 60,
    elements: dict[str, Any] = ELEMENTS,
) -> NDArray[Any]:
    """One compressed frame, by this decoder."""
    packed = np.frombuffer(content or stream(syntax), np.uint8)
    return by.call(Path(name), seconds, decode, syntax, elements, packed)


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
        ("send_message(channel, [1])", "crashed"),
        ('send_message(channel, {"value": {"array": [0, "<f8", [100000, 100000]]}})', "crashed"),
        ('send_message(channel, {"value": {"array": [0, "O", [1]]}})', "crashed"),
        ('send_message(channel, {"value": {"of": ["os", "system"], "with": {}}})', "crashed"),
        ('send_message(channel, {"ours": True, "error": "system", "text": "", "remedy": ""})', "crashed"),
        ("channel.sendall(b'x' * 10**6)", "crashed"),
        ("while True: pass", "not done after 0.5 s"),
        ("", "not done after 0.5 s"),
    ],
)
def test_a_crash_a_hang_and_a_lie_cost_one_file(tmp_path: Path, deed: str, reason: str) -> None:
    bad = hostile(tmp_path, deed)
    start = time.monotonic()
    with pytest.raises(Corrupt, match=reason) as caught:
        frame(bad, "scan.dcm", seconds=0.5)
    assert caught.value.path == Path("scan.dcm")
    assert time.monotonic() - start < 30
    bad.close()


def test_after_a_crash_and_after_a_kill_the_next_frame_gets_a_new_child(tmp_path: Path) -> None:
    made = hostile(tmp_path, "os.abort()")
    with pytest.raises(Corrupt, match="SIGABRT"):
        frame(made, "bad.dcm", RLELossless)
    (tmp_path / "child.py").write_text(Path(decoder_child.__file__).read_text())
    for _ in range(2):
        assert np.array_equal(frame(made, "next.dcm", RLELossless), IMAGE)
        assert made._process is not None
        os.kill(made._process.pid, 9)
        made._process.wait()
    made.close()


def test_a_codec_that_wants_too_much_memory_is_refused(tmp_path: Path) -> None:
    """The picture is honest, the allowance is made too small for it: the child says so and lives on."""
    made = Decoder(memory=-(5 * 24) * 1000 * 1000 + 2**16)
    big = np.random.default_rng(0).integers(0, 4096, (1000, 1000)).astype(np.uint16)
    image = changed(ct_slice(IMAGE), Rows=1000, Columns=1000, PixelData=big.tobytes())
    encoded(image)
    image.compress(JPEGLSLossless, generate_instance_uid=False)
    content = next(generate_frames(image.PixelData, number_of_frames=1))
    with pytest.raises((TooLarge, CodecError), match=r"memory|alloc"):
        frame(made, "big.dcm", content=content, elements=ELEMENTS | {"Rows": 1000, "Columns": 1000})
    made.close()
    whole = frame(decoder(), "big.dcm", content=content, elements=ELEMENTS | {"Rows": 1000, "Columns": 1000})
    assert np.array_equal(whole, big)


def test_no_child_no_picture(tmp_path: Path) -> None:
    with pytest.raises(FileProblem, match="no process could be started"):
        frame(Decoder(tmp_path / "gone.py"), "a.dcm")


def test_an_interrupt_between_question_and_answer_does_not_mix_up_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Decoder()
    frame(made, "a")

    def interrupted(channel: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("medprior.io.disk.decoder.next_message", interrupted)
        with pytest.raises(KeyboardInterrupt):
            frame(made, "a")
    assert made._channel is None, "the answer that was under way is thrown away with its child"
    made.close()


def test_a_fork_has_its_own_child_and_leaves_this_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = decoder()
    frame(mine, "a", RLELossless)
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


def test_what_was_begun_is_answered_in_order_and_what_is_not_wanted_is_dropped() -> None:
    made = Decoder()
    packed = np.frombuffer(stream(), np.uint8)
    for name in ("one", "two", "three"):
        made.begin(Path(name), 60, decode, JPEGLSLossless, {**ELEMENTS, "PatientName": name}, packed)
    for name in ("one", "three", "four"):
        assert np.array_equal(frame(made, name, elements={**ELEMENTS, "PatientName": name}), IMAGE)
    assert not made._begun
    made.close()


def test_large_answers_are_memory_of_this_process_alone() -> None:
    big, made = np.arange(2**19, dtype=np.float64), Decoder()
    found = made.call(Path("a"), 60, np.copy, big)
    assert np.array_equal(found, big) and found.flags.writeable
    found[:] = 0
    assert np.array_equal(made.call(Path("a"), 60, np.copy, big), big)
    made.close()


def test_memory_beyond_what_was_checked_is_not_given() -> None:
    made = Decoder()
    with pytest.raises(TooLarge, match="more memory than its size explains"):
        made.call(Path("a"), 60, np.ones, 2**30)
    made.close()


def test_errors_of_ours_come_back_as_they_were() -> None:
    for error in (Corrupt("a.h5", "is broken", "mend it"), BadOption("x: wanted 1", "give 1")):
        again = fault_from(fault_text(error))
        assert (type(again), str(again), again.remedy) == (type(error), str(error), error.remedy)


def test_what_the_user_may_not_have_is_not_wanted() -> None:
    """Under a limit of the cluster (ulimit) the child works within it, instead of failing to raise it."""
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
        decoder_child._limit(resource.RLIMIT_CPU, 1e6)
        os._exit(resource.getrlimit(resource.RLIMIT_CPU) != (20, 20))
    assert os.waitpid(child, 0)[1] == 0
