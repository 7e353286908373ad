"""A blind reading from the command line: a queue goes out, answers come in, the truth comes last."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from medprior.data.volume import Volume
from medprior.errors import BadOption
from medprior.io.served.readings import ReadingStore
from medprior.io.write import write
from medprior.runs.ask.reading import Read
from medprior.runs.core.progress import silent
from medprior.runs.core.run import RunFolder
from medprior.runs.reading.run import run_read

from ..conftest import scene


@pytest.fixture
def asked(tmp_path: Path) -> Read:
    for k in range(4):
        write(Volume(scene(k)), tmp_path / f"real/p{k}/1.png", kind="converted")
        write(Volume(scene(20 + k)), tmp_path / f"drawn/outputs/any_{k}.png", kind="synthesized")
    (tmp_path / "drawn/run.json").write_text("{}")
    out = tmp_path / "out"
    return Read(
        folder=tmp_path / "real", made=(tmp_path / "drawn",), n=3, out=out, folders="patients", seed=1
    )


def answered(run: RunFolder, wrong: int, reader: str) -> None:
    """Fill the queue in as a person does, the first ``wrong`` answers wrongly."""
    (reading,) = ReadingStore(run.path / "reading").all()
    with open(run.path / "queue.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for n, row in enumerate(rows):
        truth = reading.items[n].synthetic
        row |= {"answer": str(3 - truth if n < wrong else truth), "reader": reader, "seconds": "2"}
    with open(run.path / "queue.csv", "w", newline="") as file:
        table = csv.DictWriter(file, rows[0].keys())
        table.writeheader()
        table.writerows(rows)


def test_a_queue_goes_out_that_tells_nothing_and_answers_come_in(asked: Read) -> None:
    run = run_read(asked, silent)
    queue = (run.path / "queue.csv").read_text("utf-8-sig")
    assert queue.count("\n") == 4 and "any_" not in queue and "p0" not in queue
    assert "3 questions wait" in run.summary.headline[0] and not (run.path / "answers.csv").exists()
    answered(run, 1, "Ann")
    run = run_read(asked, silent)
    assert run.summary.headline[0] == "Ann was right in 2 of 3: 67% (9% to 99%)."  # Clopper and Pearson
    assert "any_" in (run.path / "answers.csv").read_text("utf-8-sig")
    answered(run, 0, "Bob")
    assert [one["right"] for one in run_read(asked, silent).record["metrics"]["readers"]] == [2, 3]


def test_an_answer_is_final_and_a_bad_one_is_named_by_its_line(asked: Read) -> None:
    run = run_read(asked, silent)
    answered(run, 0, "Ann")
    run_read(asked, silent)
    answered(run, 1, "Ann")
    with pytest.raises(BadOption, match=r"line 2: .*answered already"):
        run_read(asked, silent)
    (run.path / "queue.csv").write_text("question,answer,reader\n1,7,Bob\n")
    with pytest.raises(BadOption, match=r"queue.csv, line 2: .*wanted 1 to 2, got 7"):
        run_read(asked, silent)
    (run.path / "queue.csv").write_text("question,answer,reader\none,1,Bob\n")
    with pytest.raises(BadOption, match="line 2: wanted a question"):
        run_read(asked, silent)


def test_another_reading_and_another_folder_are_kept(asked: Read, tmp_path: Path) -> None:
    run_read(asked, silent)
    with pytest.raises(BadOption, match="another n"):
        run_read(asked.model_copy(update={"n": 2}), silent)
    with pytest.raises(BadOption, match="holds no reading"):
        run_read(asked.model_copy(update={"out": tmp_path / "real"}), silent)
    with pytest.raises(ValueError, match="never thrown away"):
        Read(folder=tmp_path, made=(tmp_path,), fresh=True)
