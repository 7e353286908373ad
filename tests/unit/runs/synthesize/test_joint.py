"""Joint synthesis as a run: files on the grid of what was given, a table over them, a record that names no
path.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from medprior.cli import main
from medprior.data.volume import Volume
from medprior.errors import BadOption, WrongKind
from medprior.evidence.synthetic.copies import STATISTIC
from medprior.io.dataset.scan import scan
from medprior.io.read import read
from medprior.io.write import write
from medprior.jobs.synthetic.synthesize import DRAWING
from medprior.prior.promises import Promises
from medprior.runs.ask.requests import Synthesize, request_from
from medprior.runs.core.run import RunFolder
from medprior.runs.execute import execute
from medprior.training.folder import save_promises
from tests.unit.runs.conftest import save_tiny

JOINT = {
    "channels": ("image", "mask:1", "mask:2"),
    "labels": ("ill", "well"),
    "numbers": ("age",),
    "ranges": ((20.0, 80.0),),
    "data": {"shape": [16, 20]},
}
AFFINE = np.array([[0, 2.0, 0, -10], [-2.0, 0, 0, 5], [0, 0, 3.0, 7], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A joint prior of pictures and their masks."""
    return save_tiny(tmp_path_factory.mktemp("joint") / "pictures", **JOINT)


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A joint prior of slices of volumes."""
    named = {
        "channels": ("T1", "mask:1"),
        "labels": (),
        "numbers": ("height",),
        "modality": "MR",
        "axes": "PL",
        "spacing_mm": (2.0, 2.0),
    }
    return save_tiny(
        tmp_path_factory.mktemp("joint") / "slices", **named, data={"shape": [16, 20], "through_mm": 3.0}
    )


def run(prior: Path, out: Path, **options) -> RunFolder:
    return execute(
        request_from("synthesize", {"prior": str(prior), "out": out, "n": 2, "unproven": True, **options})
    )


def rows(done: RunFolder) -> list[dict[str, str]]:
    with open(done.path / "outputs" / "scans.csv", newline="") as file:
        return list(csv.DictReader(file))


def save_map(path: Path, n_slices: int = 4) -> Path:
    data = np.zeros((1, 18, 22, n_slices), np.float32)
    data[:, 5:12, 6:15] = 1
    return write(Volume(data, AFFINE, "label"), path, kind="mask")


def test_pairs_from_nothing_are_a_data_set(pictures: Path, tmp_path: Path) -> None:
    done = run(pictures, tmp_path / "run", n=4, mix="ill=1,well=3", number=["age=30..40:0.5,60..80:0.5"])
    table = rows(done)
    assert Counter(row["label"] for row in table) == {"ill": 1, "well": 3} and sorted(
        float(row["number:age"]) for row in table
    ) == [32.5, 37.5, 65, 75]
    assert done.record["metrics"]["mix"] == {
        "label": {"ill": 1, "well": 3},
        "age": {"30..40": 2, "60..80": 2},
    }
    index = scan(done.path / "outputs", out=tmp_path / "index")
    assert (
        len(index.items) == 4
        and all(item.synthetic and item.mask for item in index.items)
        and index.unusable == ()
    )
    mask = read(done.path / "outputs" / table[0]["mask"], unit="label")
    assert (
        mask.shape == (16, 20) and set(np.unique(mask.data)) <= {0.0, 1.0, 2.0} and mask.provenance.synthetic
    )


def test_a_given_map_gives_images_on_its_grid(slices: Path, tmp_path: Path) -> None:
    given = save_map(tmp_path / "john-doe.nii.gz")
    done = run(slices, tmp_path / "run", given=[given], **{"as": ["mask"]})
    assert [path.name for path in done.outputs if path.name.endswith(".nii.gz")] == [
        "given_mask.nii.gz",
        "made_1_T1.nii.gz",
        "made_2_T1.nii.gz",
    ]
    one, back = (
        read(done.outputs[-1].parent / "made_1_T1.nii.gz"),
        read(done.path / "outputs" / "given_mask.nii.gz"),
    )
    original = read(given)
    assert one.affine is not None and original.affine is not None and one.provenance.synthetic
    assert one.shape == original.shape and np.allclose(one.affine, original.affine)
    assert np.array_equal(back.data, original.data) and back.unit == "label" and not back.provenance.synthetic
    assert rows(done) == [{"path:T1": f"made_{n}_T1.nii.gz", "mask": "given_mask.nii.gz"} for n in (1, 2)]
    record = json.loads((done.path / "run.json").read_text())
    assert (
        record["given"]["mask"]["shape"] == [1, 22, 18, 4]
        and len(record["given"]["mask"]["sha256"]) == 64
        and record["metrics"]["given"] == ["mask"]
    )
    page = (done.path / "report.html").read_text()
    assert "Given: mask (22 x 18 x 4)" in page and "mask (given)" in page
    written = "".join(
        path.read_text(errors="replace")
        for path in done.path.rglob("*")
        if path.suffix in (".json", ".jsonl", ".html", ".csv")
    )
    assert "john" not in written.lower()


def test_another_map_is_another_run(slices: Path, tmp_path: Path) -> None:
    execute(one_of(slices, save_map(tmp_path / "a.nii.gz"), tmp_path / "r"))
    assert execute(one_of(slices, tmp_path / "a.nii.gz", tmp_path / "r")).reused
    with pytest.raises(BadOption, match="holds another run"):
        execute(one_of(slices, save_map(tmp_path / "b.nii.gz", 5), tmp_path / "r"))


def one_of(prior: Path, given: Path, out: Path) -> Synthesize:
    return Synthesize.model_validate(
        {"prior": str(prior), "n": 1, "given": [given], "as": ["mask"], "out": out, "unproven": True}
    )


def test_a_picture_gives_its_map(pictures: Path, tmp_path: Path) -> None:
    given = tmp_path / "scan.png"
    write(
        Volume(np.random.default_rng(0).integers(0, 255, (1, 24, 30)).astype(np.float32)),
        given,
        kind="converted",
    )
    done = run(pictures, tmp_path / "run", given=[given], label="ill", **{"as": ["image"]})
    mask = read(done.path / "outputs" / "ill_1_mask.png", unit="label")
    assert mask.shape == (24, 30) and set(np.unique(mask.data)) <= {0.0, 1.0, 2.0}


def test_a_volume_of_tied_slices(slices: Path, tmp_path: Path) -> None:
    done = run(slices, tmp_path / "run", n=1, slices=3)
    one = read(done.path / "outputs" / "made_1_T1.nii.gz")
    assert sorted(one.shape) == [3, 16, 20] and one.spacing_mm == pytest.approx((2.0, 2.0, 3.0)[: one.ndim])
    assert set(rows(done)[0]) == {"path:T1", "mask"}


def test_labels_alone_are_mixed_too(tiny: Path, tmp_path: Path) -> None:
    done = run(tiny, tmp_path / "run", n=5, size=(16, 16), mix="balanced")
    names = Counter(path.name.rpartition("_")[0] for path in done.outputs if path.suffix == ".png")
    assert names == {"no_finding": 3, "pneumonia": 2} and done.record["metrics"]["mix"] == {
        "label": {"no_finding": 3, "pneumonia": 2}
    }
    assert done.record["metrics"]["written"] == {"no_finding": 3, "pneumonia": 2}
    assert [row["label"] for row in rows(done)] == ["no_finding"] * 3 + ["pneumonia"] * 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--given", "{map}"], "one name for each file"),
        (["--given", "{map}", "--as", "masc"], "did you mean 'mask'"),
        (["--given", "{map}", "--as", "mask", "--size", "20", "20"], "no option with --given"),
        (["--given", "{map}x", "--as", "mask"], "no such file"),
        (["--given", "{map}", "--as", "mask", "--format", "png"], "holds no volume"),
        (["--given", "{map}", "--as", "mask", "--format", "dcm"], "not as DICOM"),
        (["--number", "age=60"], "choose from height"),
        (["--mix", "ill=1"], "no labels"),
    ],
)
def test_the_command_line_says_what_is_wrong(
    slices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    given = save_map(tmp_path / "map.nii.gz")
    told = [text.format(map=given) for text in options]
    assert (
        main(["synthesize", "--prior", str(slices), "--n", "1", "--out", str(tmp_path / "run"), *told]) == 2
    )
    said = capsys.readouterr().err
    assert words in said and "Traceback" not in said and not (tmp_path / "run").exists()


def test_a_prior_of_one_image_takes_nothing_given(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = save_map(tmp_path / "map.nii.gz")
    assert (
        main(
            [
                "synthesize",
                "--prior",
                str(tiny),
                "--given",
                str(given),
                "--as",
                "mask",
                "--out",
                str(tmp_path / "run"),
            ]
        )
        == 2
    )
    assert "knows one thing, image" in capsys.readouterr().err


def test_nothing_is_written_without_an_audit_of_the_prior(slices: Path, tmp_path: Path) -> None:
    with pytest.raises(
        BadOption, match="it was not measured whether this prior copies its patients; nothing was written"
    ):
        run(slices, tmp_path / "run", unproven=False)
    with pytest.raises(BadOption, match="data: pairs, volumes of slices"):
        run(slices, tmp_path / "run", data=tmp_path)
    assert not (tmp_path / "run").exists()


def test_an_audit_stands_for_no_stronger_guidance_of_a_number(pictures: Path, tmp_path: Path) -> None:
    """Nor for a number that its own images were never asked for; guidance has nothing to exaggerate where
    nothing is asked for.
    """
    about = {"n": 100, "held": 40, "date": "2026-01-01", "said": []}
    told = {
        "passed": True,
        "drawing": DRAWING,
        "statistic": STATISTIC,
        "guidance": 1.5,
        "number_guidance": 1.5,
        "numbers": ["age"],
        **about,
    }
    heard, untold = tmp_path / "heard", tmp_path / "untold"
    save_promises(pictures, Promises.from_json({"synthesize": told}), heard)
    save_promises(pictures, Promises.from_json({"synthesize": {**told, "numbers": []}}), untold)
    stands = (
        (heard, {"guidance": 3.0, "number_guidance": 3.0}),
        (heard, {"number": ["age =60"], "number_guidance": 1.5}),
        (untold, {"number": ["age=60"]}),
    )
    for at, (prior, options) in enumerate(stands):
        assert run(prior, tmp_path / f"stands{at}", unproven=False, **options).record["metrics"]["n"] == 2
    with pytest.raises(BadOption, match=r"of a number guidance of 1\.5, and 3 asks"):
        run(heard, tmp_path / "more", number_guidance=3.0, number=["age=60"], unproven=False)
    with pytest.raises(BadOption, match=r"told no age, and a guidance of 1\.5 asks"):
        run(untold, tmp_path / "more", number_guidance=1.5, number=["age=60"], unproven=False)


def test_the_command_line_ends_well(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mix of labels is no mix of an augmented data set."""
    tokens = ["synthesize", "--prior", str(pictures), "--n", "2", "--unproven"]
    for more in (["--mix", "balanced"], []):
        assert main([*tokens, *more, "--out", str(tmp_path / f"run{len(more)}")]) == 0
        assert "report" in capsys.readouterr().out


def test_a_given_first_channel_keeps_every_example(pictures: Path, tmp_path: Path) -> None:
    """Three contrasts, or three maps, of one given image are three rows that a scan finds again, each marked
    by what was made of it.
    """
    given = tmp_path / "scan.png"
    write(
        Volume(np.random.default_rng(0).integers(0, 255, (1, 24, 30)).astype(np.float32)),
        given,
        kind="converted",
    )
    contrasts = save_tiny(tmp_path / "contrasts", channels=("T1", "T2"), labels=(), data={"shape": [16, 20]})
    for prior, first, other, out in (
        (contrasts, "T1", "channel:T2", tmp_path / "contrast"),
        (pictures, "image", "mask", tmp_path / "map"),
    ):
        done = run(prior, out, n=3, given=[given], **{"as": [first]})
        table = rows(done)
        assert (
            len({row[f"path:{first}" if first != "image" else "path"] for row in table})
            == 3
            == len({row[other] for row in table})
        )
        index = scan(done.path / "outputs", out=tmp_path / f"index {first}")
        assert len(index.items) == 3 and not index.unusable and all(item.synthetic for item in index.items)
        with pytest.raises(WrongKind, match="3 of 3 scans are marked synthetic"):
            index.usable()
        assert len({item.split for item in index.items}) == 1, "all are of one patient"
    assert (
        len(scan(tmp_path / "contrast" / "outputs", out=tmp_path / "again").usable(allow_synthetic=True)) == 3
    )
