"""medprior augment-set: labels, splits and patients kept, resumed to the byte, one bad scan stops
nothing, exactly what was asked for.
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
from medprior.io.disk.files import read_json
from medprior.io.read import read
from medprior.io.write import write
from medprior.jobs.synthetic.synthesize import DRAWING
from medprior.prior.promises import Audit, Promises
from medprior.runs.ask.requests import Augment, AugmentSet
from medprior.runs.augment.batches import Work
from medprior.runs.augment.gates import UNLIKE, Gates, Seen
from medprior.runs.augment.makers import ByPrior, FromNoise, Made
from medprior.runs.core.partial import beside
from medprior.runs.core.progress import Event
from medprior.runs.execute import execute
from medprior.runs.rebuild import reported
from medprior.training.folder import save_promises
from tests.unit.runs.conftest import save_tiny, scene

COUNTS = {"no_finding": 5, "pneumonia": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five healthy scans and two others to learn from, three to hold against them; names that nothing may
    repeat.
    """
    here = tmp_path_factory.mktemp("set")
    for split, start in (("train", 0), ("val", 50)):
        for label, n in COUNTS.items():
            for k in range(n if split == "train" else 2):
                seed = start + k + 20 * (label == "pneumonia")
                write(Volume(scene(seed)), here / split / label / f"Mustermann_{seed}.png", kind="converted")
    return here


def asked(folder: Path, out: Path, prior: Path, **changes) -> AugmentSet:
    values = {
        "folder": folder,
        "prior": str(prior),
        "out": out,
        **({} if "fill" in changes else {"n": 2}),
        "judge": "off",
        "keep_copies": True,
        "modality": "DX",
    }
    return AugmentSet.model_validate({**values, **changes})


def table(out: Path) -> list[dict[str, str]]:
    with open(out / "outputs" / "scans.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def everything(out: Path) -> dict[str, bytes]:
    """What must be the same again: all but the times."""
    return {
        p.relative_to(out).as_posix(): p.read_bytes() for p in (out / "outputs").rglob("*") if p.is_file()
    } | {"csv": (out / "variations.csv").read_bytes()}


def test_each_scan_of_the_train_split_by_a_prior(folder: Path, tiny: Path, tmp_path: Path) -> None:
    done = execute(asked(folder, tmp_path / "run", tiny))
    rows = table(done.path)
    assert Counter(row["label"] for row in rows) == {"no_finding": 10, "pneumonia": 4}
    assert {row["split"] for row in rows} == {"train"} and all(
        row["path"].startswith(f"{row['label']}/") for row in rows
    )
    assert Counter(Counter(row["patient"] for row in rows).values()) == {2: 7}, (
        "variations of one scan are of one patient"
    )
    sources = [read(p).data for p in sorted((folder / "train").rglob("*.png"))]
    made = [read(done.path / "outputs" / row["path"]) for row in rows]
    assert all(v.provenance.synthetic for v in made) and not any(
        np.array_equal(v.data, s) for v in made for s in sources
    )
    text = b"".join(p.read_bytes() for p in done.path.rglob("*") if p.is_file())
    assert b"Mustermann" not in text
    metrics = done.record["metrics"]
    assert metrics["mix"]["pneumonia"] == {
        "real": 2,
        "asked": 4,
        "written": 4,
        "refused_for_label": 0,
        "refused_as_copy": 0,
        "refused_as_unlike": 0,
    }
    assert (
        not metrics["short"]
        and "near copies of real scans were kept: not for release" in done.record["overrides"]
    )
    page = done.report.read_text(encoding="utf-8")
    assert all(
        words in page
        for words in (
            "it is not for release",
            "14 of 14 images were written",
            "Source 1: no_finding",
            "not checked: switched off",
        )
    )
    assert execute(asked(folder, tmp_path / "run", tiny)).reused and not beside(tmp_path / "run").exists()
    assert reported([done.path], None, fresh=False).report.read_text(encoding="utf-8") == page


def test_what_is_written_is_a_data_set_to_train_on(folder: Path, tiny: Path, tmp_path: Path) -> None:
    done = execute(asked(folder, tmp_path / "run", tiny, n=1))
    index = scan(done.path / "outputs", out=tmp_path / "index", modality="DX")
    with pytest.raises(WrongKind, match="marked synthetic"):
        index.usable("train")
    items = index.usable("train", allow_synthetic=True)
    assert (
        Counter(item.label for item in items) == COUNTS
        and not index.unusable
        and len({item.patient for item in items}) == 7
    )


def test_a_killed_run_goes_on_where_it_was(
    folder: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every moment, to the byte; and nothing that was done is done again."""
    monkeypatch.setattr("medprior.runs.augment.tickets.BATCH", 3)
    whole = execute(asked(folder, tmp_path / "whole", tiny))
    out, made, real = tmp_path / "torn", [], ByPrior.make

    class Killed(BaseException):
        pass

    for n in range(4):  # one batch goes through, then the next dies
        left = [1]

        def make(self, tickets, volumes, attempt, left=left):
            if not left:
                raise Killed
            left.pop()
            made.extend((t.source, t.nth) for t in tickets)
            return real(self, tickets, volumes, attempt)

        monkeypatch.setattr(ByPrior, "make", make)
        with pytest.raises(Killed):
            execute(asked(folder, out, tiny))
        assert not out.exists() and len(made) == 3 * (n + 1)
        with open(beside(out) / "done.jsonl", "a") as file:
            file.write('{"batch": "torn')
    assert len(set(made)) == len(made), "nothing twice"
    monkeypatch.setattr(ByPrior, "make", real)
    assert everything(execute(asked(folder, out, tiny)).path) == everything(whole.path)


def test_one_bad_scan_stops_nothing(
    folder: Path,
    tiny: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A torn file, a scan that breaks the network, one that cannot be written: all others are made, these are
    named, the exit code says it.
    """
    here = tmp_path / "set"
    for n in range(6):
        write(Volume(scene(n)), here / "a" / f"{n}.png", kind="converted")
    (here / "a" / "torn.png").write_bytes((here / "a" / "0.png").read_bytes()[:300])
    poison, real = read(here / "a" / "3.png").data, ByPrior._label

    def label(self, ticket):
        if np.array_equal(self.request.folder and read(here / self.items[ticket.source].path).data, poison):
            raise ZeroDivisionError("nobody foresaw this")
        return real(self, ticket)

    monkeypatch.setattr(ByPrior, "_label", label)
    writing = Work.write

    def write_it(self, ticket, made, seen, attempt):
        if ticket.source == 1:
            raise ValueError("a header that nobody can write")
        return writing(self, ticket, made, seen, attempt)

    monkeypatch.setattr(Work, "write", write_it)
    tokens = [
        "--prior",
        str(tiny),
        "--out",
        str(tmp_path / "run"),
        "--split",
        "all",
        "--n",
        "2",
        "--judge",
        "off",
        "--keep-copies",
        "--modality",
        "DX",
    ]
    assert main(["augment-set", str(here), *tokens]) == 4
    rows = table(tmp_path / "run")
    assert len(rows) == 8 and len({row["patient"] for row in rows}) == 4
    bad = (tmp_path / "run" / "failed.csv").read_text()
    assert (
        "a/3.png" in bad
        and "nobody foresaw this" in bad
        and "a/torn.png" in bad
        and "a/1.png" in bad
        and "nobody can write" in bad
    )
    assert "3 scans gave nothing" in capsys.readouterr().out
    assert main(["augment-set", str(here), *tokens]) == 4, "a finished run says it again"


def test_where_no_scan_can_be_varied_the_request_is_refused(
    folder: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prior = save_tiny(tmp_path / "mr", modality="MR")
    assert (
        main(
            [
                "augment-set",
                str(folder),
                "--prior",
                str(prior),
                "--modality",
                "DX",
                "--judge",
                "off",
                "--out",
                str(tmp_path / "run"),
            ]
        )
        == 2
    )
    assert (
        "none of its first 7 scans could be varied: prior 'tiny' is for MR, this is DX"
        in capsys.readouterr().err
    )
    (tmp_path / "policy.yaml").write_text("modality: DX\ntransforms: {motion: {low: 1, high: 2}}\n")
    tokens = [
        "--classical",
        "--policy",
        str(tmp_path / "policy.yaml"),
        "--modality",
        "DX",
        "--out",
        str(tmp_path / "classical"),
    ]
    assert main(["augment-set", str(folder), *tokens]) == 2
    assert (
        "motion: refused for DX" in capsys.readouterr().err
        and not (tmp_path / "run").exists()
        and not (tmp_path / "classical").exists()
    )


@pytest.mark.parametrize(
    ("fill", "wanted"),
    [("balanced", {"no_finding": 0, "pneumonia": 3}), (9, {"no_finding": 4, "pneumonia": 7})],
)
def test_fill_is_exact(
    fill: object, wanted: dict[str, int], folder: Path, tiny: Path, tmp_path: Path
) -> None:
    done = execute(asked(folder, tmp_path / "run", tiny, fill=fill))
    rows = table(done.path)
    assert Counter(row["label"] for row in rows) == {label: n for label, n in wanted.items() if n}
    each = Counter(row["patient"] for row in rows if row["label"] == "pneumonia")
    assert max(each.values()) - min(each.values()) <= 1 and len(each) == 2, (
        "evenly over the label's own scans"
    )
    assert all(
        done.record["metrics"]["mix"][label]
        == {**at, "real": COUNTS[label], "asked": wanted[label], "written": wanted[label]}
        for label, at in done.record["metrics"]["mix"].items()
    )


def test_fill_from_noise_by_the_prior_s_label(folder: Path, tiny: Path, tmp_path: Path) -> None:
    done = execute(asked(folder, tmp_path / "run", tiny, fill="balanced", fill_by="synthesis", unproven=True))
    assert [(row["path"], row["label"], row["patient"]) for row in table(done.path)] == [
        (f"pneumonia/new_{n:06d}.png", "pneumonia", "") for n in (1, 2, 3)
    ]
    unlabelled = save_tiny(tmp_path / "plain", labels=())
    with pytest.raises(BadOption, match="this prior has no labels"):
        execute(asked(folder, tmp_path / "no", unlabelled, fill="balanced", fill_by="synthesis"))


def gated(folder: Path) -> None:
    """Scans enough for a copy gate."""
    for split, start, count in (("train", 0, 9), ("val", 50, 20)):
        for n in range(count):
            write(Volume(scene(start + n)), folder / split / "a" / f"{n}.png", kind="converted")


def test_what_is_refused_is_drawn_again_and_then_left_out(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Next to no noise: every variation is its source, so a gate that works lets none pass, and the run says
    so.
    """
    gated(tmp_path / "set")
    heard: list[Event] = []
    done = execute(
        asked(tmp_path / "set", tmp_path / "run", tiny, strength=0.001, keep_copies=False, n=6, tries=3),
        heard.append,
    )
    mix, metrics = done.record["metrics"]["mix"], done.record["metrics"]
    assert table(done.path) == [] and metrics["short"] and metrics["written"] == 0
    assert mix["a"]["refused_as_copy"] == metrics["drawn"] and 54 < metrics["drawn"] < 3 * 54, (
        "drawn again at first; when all were copies, no more"
    )
    assert any(e.kind == "warning" and "near copy of its source" in e.text for e in heard)
    page = done.report.read_text(encoding="utf-8")
    assert all(
        words in page
        for words in ("0 of 54 images were written", "Refused: near copy", "its own source, correlation")
    )
    kept = execute(asked(tmp_path / "set", tmp_path / "kept", tiny, strength=0.001, n=1)).record
    assert (
        kept["metrics"]["mix"]["a"]["written"] == 9 == kept["metrics"]["drawn"]
        and "near copies of real scans" in kept["overrides"][0]
    )
    with open(tmp_path / "kept" / "variations.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(row["copy"] == "True" and row["nearest"] == row["source"] for row in rows)


def test_classical_with_masks_named_by_a_table(tmp_path: Path) -> None:
    here = tmp_path / "set"
    here.mkdir()
    rows = ["path,label,patient,split,mask"]
    for n in range(4):
        image = scene(n)
        write(Volume(image), here / f"Mustermann_{n}.png", kind="converted")
        write(Volume((image > 150).astype(np.float32), unit="label"), here / f"m{n}.png", kind="mask")
        label, split = "opacity" if n % 2 else "no_finding", "train" if n < 3 else "test"
        rows.append(f"Mustermann_{n}.png,{label},Erika_{(0, 0, 1, 2)[n]},{split},m{n}.png")
    (here / "scans.csv").write_text("\n".join(rows) + "\n")
    done = execute(AugmentSet(folder=here, classical=True, n=2, modality="DX", out=tmp_path / "run"))
    found = table(done.path)
    assert len(found) == 6 and Counter(row["patient"] for row in found) == {"p00001": 4, "p00002": 2}
    for row in found:
        image, mask = (
            read(done.path / "outputs" / row["path"]),
            read(done.path / "outputs" / row["mask"], unit="label"),
        )
        assert (
            image.shape == mask.shape
            and set(np.unique(mask.data)) <= {0.0, 1.0}
            and mask.provenance.synthetic
        )
    records = [
        json.loads(line) for line in (done.path / "outputs" / "augmentation.jsonl").read_text().splitlines()
    ]
    assert [r["path"] for r in records] == [row["path"] for row in found]
    opaque = [r for r in records if r["path"].startswith("opacity")]
    assert not any(step["name"] == "gamma" for r in opaque for step in r["steps"]), (
        "the policy of each scan's own label"
    )
    text = b"".join(p.read_bytes() for p in done.path.rglob("*") if p.is_file())
    assert b"Mustermann" not in text and b"Erika" not in text
    assert "classical transforms keep the patient" in json.dumps(
        read_json(done.path / "run.json")["metrics"]["gates"]["open"]
    )


def test_volumes(tmp_path: Path) -> None:
    """Scans of NIfTI with an affine, by the slice: two of each, on their own grid."""
    prior = save_tiny(
        tmp_path / "prior",
        modality="MR",
        scaling="foreground",
        quantiles=(0.0, 0.99),
        axes="PL",
        spacing_mm=(2.0, 2.0),
        labels=(),
    )
    rng = np.random.default_rng(0)
    for n in range(2):
        volume = Volume(
            rng.random((1, 18, 20, 4), dtype=np.float32) * 100, np.diag([2.0, 2.0, 3.0, 1.0]), modality="MR"
        )
        write(volume, tmp_path / "set" / f"{n}.nii.gz", kind="converted")
    done = execute(
        AugmentSet(
            folder=tmp_path / "set",
            prior=str(prior),
            n=2,
            split="all",
            modality="MR",
            out=tmp_path / "run",
            keep_copies=True,
        )
    )
    rows = table(done.path)
    assert [row["path"] for row in rows] == [f"no_label/{a}_{b}.nii.gz" for a in (1, 2) for b in (1, 2)] and {
        row["label"] for row in rows
    } == {""}
    assert all(read(done.path / "outputs" / row["path"]).shape == (18, 20, 4) for row in rows)


@pytest.mark.parametrize("tokens", [["augment", "--prior", "{tiny}"], ["augment-classical"]])
def test_a_folder_of_dicom_is_one_scan_and_one_of_pictures_a_data_set(
    tokens: list[str], folder: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For the verbs of one scan, which name the verb of data sets and write nothing."""
    write(Volume(scene(1), modality="DX"), tmp_path / "dicom" / "one.dcm", kind="converted")
    said = [token.format(tiny=tiny) for token in tokens] + ["--n", "1", "--out", str(tmp_path / "run")]
    assert main([*said, str(folder)]) == 2
    assert "this is a data set: medprior augment-set FOLDER" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main([*said, str(tmp_path / "dicom")]) == 0
    (tmp_path / "dicom" / "scans.csv").write_text("path,label\none.dcm,a\n")
    assert main([*said, str(tmp_path / "dicom")]) == 2
    assert "medprior augment-set FOLDER" in capsys.readouterr().err


def test_a_folder_of_dicom_is_a_data_set_where_it_is_said(tmp_path: Path) -> None:
    for n in range(2):
        write(Volume(scene(n), modality="DX"), tmp_path / "dicom" / "a" / f"{n}.dcm", kind="converted")
    done = execute(
        AugmentSet(folder=tmp_path / "dicom", classical=True, n=1, split="all", out=tmp_path / "run")
    )
    assert done.record["job"] == "augment-set" and done.record["metrics"]["written"] == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fill": "balanced", "n": 7}, "n: no option with --fill"),
        ({"fill_by": "synthesis"}, "fill_by: no option without --fill"),
        ({"unproven": True}, "unproven: no option without --fill-by synthesis"),
        ({"fill": 0}, "fill"),
        ({"prior": ""}, "prior: wanted a prior, or --classical"),
        ({"classical": True}, "prior: no option with --classical"),
        ({"classical": True, "prior": "", "strength": 0.5}, "strength: no option with --classical"),
        ({"policy": "p.yaml"}, "policy: no option without --classical"),
        ({"label": "x"}, "label"),
        ({"tries": 0}, "tries"),
        ({"alpha": 1}, "alpha"),
    ],
)
def test_options_that_do_not_go_together(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        AugmentSet.model_validate({"folder": "x", "prior": "p", **options})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"box": (1, 1, 2, 2), "paint": "m.png"}, "wanted one of them"),
        ({"box": (1, 1, 2, 2), "strength": 0.5}, "strength: no option where a region"),
        ({"split": "all"}, "split"),
    ],
)
def test_options_of_one_scan_that_do_not_go_together(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Augment.model_validate({"input": "x", "prior": "p", **options})


def test_a_region_of_one_scan(
    picture: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = read(picture)
    mask = np.zeros_like(source.data)
    mask[0, 8:20, 6:15] = 7
    write(Volume(mask, unit="label"), tmp_path / "m.png", kind="mask")
    tokens = ["augment", str(picture), "--prior", str(tiny), "--n", "2", "--label", "pneumonia"]
    assert main([*tokens, "--paint", str(tmp_path / "m.png"), "--out", str(tmp_path / "run")]) == 0
    for n in (1, 2):
        made, where = (
            read(tmp_path / "run" / "outputs" / f"painted_{n}.png"),
            read(tmp_path / "run" / "outputs" / f"painted_{n}_mask.png", unit="label"),
        )
        assert np.array_equal(where.data, mask != 0) and np.array_equal(
            made.data[mask == 0], source.data[mask == 0]
        )
        assert made.provenance.synthetic and (made.data != source.data).any()
    assert main([*tokens, "--box", "8", "6", "12", "9", "--out", str(tmp_path / "box")]) == 0
    assert (tmp_path / "box" / "outputs" / "painted_1.png").read_bytes()[-3000:] == (
        tmp_path / "run" / "outputs" / "painted_1.png"
    ).read_bytes()[-3000:]
    one, two = read_json(tmp_path / "run" / "run.json"), read_json(tmp_path / "box" / "run.json")
    assert one["request"]["paint_sha256"] and one["id"] != two["id"] and one["metrics"] == two["metrics"]
    write(Volume(np.ones((1, 9, 9), np.float32), unit="label"), tmp_path / "other.png", kind="mask")
    capsys.readouterr()
    assert main([*tokens, "--paint", str(tmp_path / "other.png"), "--out", str(tmp_path / "no")]) == 2
    assert "one channel on the scan's grid" in capsys.readouterr().err and not (tmp_path / "no").exists()


def test_the_same_scan_in_other_company_is_the_same_image(
    folder: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a variation is hangs on its scan, its number and the seed; batches differ in the last bits of
    float32 alone.
    """
    one = execute(asked(folder, tmp_path / "one", tiny))
    monkeypatch.setattr("medprior.runs.augment.tickets.BATCH", 1)
    two = execute(asked(folder, tmp_path / "two", tiny))
    for a, b in zip(table(one.path), table(two.path), strict=True):
        assert a == b and np.allclose(
            read(one.path / "outputs" / a["path"]).data, read(two.path / "outputs" / b["path"]).data, atol=1
        )


def test_a_killed_fill_with_refusals_goes_on_to_the_same_bytes(
    folder: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round is planned from those before it: what a killed run had done of a later round changes neither
    its plan nor its names.
    """

    def look(self, tickets, images):
        return [
            Seen(copy=t.nth % 3 != 2, refused=t.nth % 3 != 2) for t in tickets
        ]  # two thirds are refused, so all three rounds are asked

    monkeypatch.setattr(Gates, "look", look)
    monkeypatch.setattr("medprior.runs.augment.tickets.BATCH", 2)
    options = {"fill": 12, "tries": 1, "keep_copies": False}
    whole, keys = execute(asked(folder, tmp_path / "whole", tiny, **options)), []
    real = ByPrior.make

    class Killed(BaseException):
        pass

    def make(self, tickets, volumes, attempt):
        if len(keys) % 2:
            keys.append("killed")
            raise Killed
        keys.append("made")
        return real(self, tickets, volumes, attempt)

    monkeypatch.setattr(ByPrior, "make", make)
    out = tmp_path / "torn"
    for _ in range(60):
        try:
            torn = execute(asked(folder, out, tiny, **options))
            break
        except Killed:
            continue
    else:
        pytest.fail("it never came to its end")
    assert (
        keys.count("killed") > 10 and whole.record["metrics"]["drawn"] == torn.record["metrics"]["drawn"] > 17
    )
    assert everything(torn.path) == everything(whole.path)
    names = [row["path"] for row in table(torn.path)]
    assert len(set(names)) == len(names) and torn.record["metrics"]["mix"] == whole.record["metrics"]["mix"]


def test_labels_that_look_like_formulas_scan_back_as_they_were(tmp_path: Path) -> None:
    labels = ("+ve", "-ve", "<5 mm", "=1+1", "a, b", "@")
    (tmp_path / "set").mkdir()
    with open(tmp_path / "set" / "scans.csv", "w", newline="", encoding="utf-8") as file:
        sheet = csv.writer(file)
        sheet.writerow(["path", "label", "split"])
        for n, label in enumerate(labels):
            write(Volume(scene(n)), tmp_path / "set" / f"{n}.png", kind="converted")
            sheet.writerow([f"{n}.png", label, "train"])
    done = execute(
        AugmentSet(folder=tmp_path / "set", classical=True, n=2, modality="DX", out=tmp_path / "run")
    )
    index = scan(done.path / "outputs", out=tmp_path / "index", modality="DX")
    assert Counter(item.label for item in index.items) == dict.fromkeys(labels, 2) and not index.unusable
    assert not any(row["path"].startswith(("-", "'")) for row in table(done.path))
    people = (done.path / "variations.csv").read_text(encoding="utf-8")
    assert "'=1+1" in people and "'+ve" in people, "what people open holds no formula"


def test_images_from_noise_for_all_splits_are_for_training(folder: Path, tiny: Path, tmp_path: Path) -> None:
    done = execute(
        asked(folder, tmp_path / "run", tiny, split="all", fill=6, fill_by="synthesis", unproven=True)
    )
    assert {row["split"] for row in table(done.path)} == {"train"}
    index = scan(done.path / "outputs", out=tmp_path / "index", modality="DX")
    assert len(index.items) == done.record["metrics"]["written"] > 0 and not index.unusable


def test_images_from_noise_want_a_prior_whose_audit_passed(
    folder: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in synthesize: nothing is drawn before it was asked whether the prior copies its patients, and what
    was allowed is written down.
    """
    options = {"fill": "balanced", "fill_by": "synthesis"}
    real = FromNoise.make
    monkeypatch.setattr(FromNoise, "make", lambda *given: pytest.fail("drawn before the audit was asked for"))
    with pytest.raises(
        BadOption,
        match="fill_by: it was not measured whether this prior copies its patients; nothing was written",
    ):
        execute(asked(folder, tmp_path / "run", tiny, **options))
    save_promises(tiny, Promises(synthesize=Audit(passed=False)), tmp_path / "failed")
    with pytest.raises(BadOption, match="the audit of this prior found copies"):
        execute(asked(folder, tmp_path / "run", tmp_path / "failed", **options))
    assert list(tmp_path.iterdir()) == [tmp_path / "failed"]
    monkeypatch.setattr(FromNoise, "make", real)
    audit = Audit(passed=True, drawing=DRAWING, statistic=STATISTIC, guidance=1.5)
    save_promises(tiny, Promises(synthesize=audit), tmp_path / "passed")
    passed = execute(asked(folder, tmp_path / "run", tmp_path / "passed", **options)).record
    allowed = execute(asked(folder, tmp_path / "unproven", tiny, **options, unproven=True)).record
    assert not any("written although" in line for line in passed["overrides"])
    assert (
        "written although it was not measured whether this prior copies its patients" in allowed["overrides"]
        and passed["id"] != allowed["id"]
    )


def test_a_run_without_a_val_split_says_that_copies_are_not_looked_for(tiny: Path, tmp_path: Path) -> None:
    for n in range(2):
        write(Volume(scene(n)), tmp_path / "set" / "train" / "a" / f"{n}.png", kind="converted")
    heard: list[Event] = []
    done = execute(asked(tmp_path / "set", tmp_path / "run", tiny, keep_copies=False, n=1), heard.append)
    assert (
        "copies of real scans were not looked for: no scan of a val split to hold against"
        in done.record["overrides"]
    )
    assert any(e.kind == "warning" and "copies are not looked for" in e.text for e in heard)
    classical = execute(
        AugmentSet(folder=tmp_path / "set", classical=True, n=1, modality="DX", out=tmp_path / "classical")
    ).record
    assert not any("copies" in line for line in classical["overrides"])


def test_what_no_gate_can_look_at_is_refused_and_named(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Volumes among images, the first of both splits: neither gate sees them, so they pass neither; copies
    that are kept keep them, too.
    """
    gated(tmp_path / "set")
    for split, start in (("train", 0), ("val", 50)):
        solid = np.random.default_rng(start).random((1, 24, 24, 4), dtype=np.float32) * 200
        write(
            Volume(solid, np.diag([2.0, 2.0, 3.0, 1.0]), modality="DX"),
            tmp_path / "set" / split / "a" / "!solid.nii.gz",
            kind="converted",
        )
    varied = ByPrior.make

    def make(self, tickets, volumes, attempt):
        """A prior of images that takes volumes as well; what it makes is far from every scan."""
        if tickets[0].source and volumes[tickets[0].source].ndim != 3:
            return varied(self, tickets, volumes, attempt)
        return [Made(volumes[t.source], like=volumes[t.source]) for t in tickets]

    monkeypatch.setattr(ByPrior, "make", make)
    done = execute(asked(tmp_path / "set", tmp_path / "run", tiny, strength=0.9, keep_copies=False, n=2))
    metrics = done.record["metrics"]
    assert (
        metrics["mix"]["a"]["refused_as_unlike"] == 2 and metrics["written_unlike"] == 0 and metrics["short"]
    )
    assert metrics["gates"]["copies"]["held_out_scans"] == 20, "the kind that most scans are"
    assert not any(row["path"].endswith(".nii.gz") for row in table(done.path))
    assert f"a/!solid.nii.gz,{UNLIKE.partition(',')[0]}" in (done.path / "failed.csv").read_text().replace(
        '"', ""
    )
    kept = execute(asked(tmp_path / "set", tmp_path / "kept", tiny, strength=0.9, n=2))
    assert kept.record["metrics"]["written_unlike"] == 2 and any(
        "2 images that no gate could look at were kept" in line for line in kept.record["overrides"]
    )


@pytest.mark.parametrize("classical", [False, True])
def test_what_it_will_cost_is_said_before_the_first_image(
    folder: Path, tiny: Path, tmp_path: Path, classical: bool
) -> None:
    events: list[Event] = []
    how = {"classical": True} if classical else {"prior": str(tiny), "judge": "off", "keep_copies": True}
    request = AugmentSet.model_validate({"folder": folder, "out": tmp_path / "run", "modality": "DX", **how})
    execute(request, events.append)
    told = [n for n, event in enumerate(events) if event.kind in ("note", "cost") and "about" in event.text]
    began = next(n for n, event in enumerate(events) if event.text == "varying the scans")
    assert told and told[0] < began
