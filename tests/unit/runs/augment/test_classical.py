"""medprior augment-classical: no prior, the input's format, masks beside images, records that replay,
refusals in one line.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import medprior as mp
from medprior.augmentation import Record, replay
from medprior.cli import main
from medprior.data.volume import Volume
from medprior.errors import BadOption, Corrupt, TooLarge
from medprior.io.disk.files import read_json, sha256, write_json
from medprior.io.disk.settings import LARGEST, read_settings
from medprior.io.write import side_file
from medprior.runs.ask.requests import Augment, AugmentClassical
from medprior.runs.execute import execute
from medprior.runs.rebuild import reported


@pytest.fixture
def brain(tmp_path: Path) -> tuple[Path, Path]:
    """A small volume and its label map, NIfTI."""
    rng = np.random.default_rng(0)
    data = rng.random((1, 20, 18, 16), dtype=np.float32) * 100
    data[0, 5:15, 5:13, 4:12] += 400
    volume = Volume(data, np.diag([1.5, 1.5, 2.0, 1.0]), modality="MR")
    scan, mask = tmp_path / "Mustermann_Max.nii.gz", tmp_path / "Mustermann_Max_mask.nii.gz"
    mp.write(volume, scan, kind="converted")
    mp.write(replace(volume, data=(data > 300).astype(np.float32) * 3, unit="label"), mask, kind="mask")
    return scan, mask


def test_a_volume_with_its_mask(brain: tuple[Path, Path], tmp_path: Path) -> None:
    request = AugmentClassical(
        input=brain[0], mask=brain[1], n=3, seed=5, modality="MR", out=tmp_path / "run"
    )
    done = execute(request)
    names = [f"augmented_{n}{tail}.nii.gz" for n in (1, 2, 3) for tail in ("", "_mask")]
    assert sorted(path.name for path in done.outputs) == sorted(["augmentation.json", *names])
    assert all(side_file(path).is_file() for path in done.outputs if path.suffix == ".gz")
    source, mask = mp.read(brain[0], modality="MR"), mp.read(brain[1], unit="label")
    records = json.loads((done.path / "outputs" / "augmentation.json").read_text())
    for n, stated in enumerate(records, start=1):
        image, label = (
            mp.read(done.path / "outputs" / f"augmented_{n}.nii.gz"),
            mp.read(done.path / "outputs" / f"augmented_{n}_mask.nii.gz"),
        )
        again = replay(Record.from_dict(stated), source, [mask])
        assert np.array_equal(image.data, again.image.data) and np.array_equal(
            label.data, again.masks[0].data
        )
        assert (
            image.affine is not None
            and source.affine is not None
            and np.allclose(image.affine, source.affine)
        )
        assert (
            image.provenance.synthetic
            and label.provenance.synthetic
            and set(np.unique(label.data)) <= {0.0, 3.0}
        )
        assert (
            json.loads(side_file(done.path / "outputs" / f"augmented_{n}.nii.gz").read_text())["prior_sha256"]
            == ""
        )
    header = nib.load(done.path / "outputs" / "augmented_1.nii.gz").header
    assert b"synthetic" in header["descrip"].tobytes()  # type: ignore[index]
    everything = b"".join(
        p.read_bytes() for p in done.path.rglob("*") if p.suffix in (".json", ".html", ".jsonl")
    )
    assert b"Mustermann" not in everything
    page = done.report.read_text(encoding="utf-8")
    assert all(
        words in page
        for words in ("No prior was asked", "rician_noise", "left and right differ", "not for diagnosis")
    )
    assert execute(request).reused
    assert reported([done.path], None, fresh=False).report.read_text(encoding="utf-8") == page


def test_a_picture_by_a_policy_file(picture: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "modality: DX\nwithout: [elastic]\ntransforms:\n  rotate: {low: 3, high: 4, probability: 1}\n"
    )
    done = execute(AugmentClassical(input=picture, policy=policy, n=2, modality="DX", out=tmp_path / "run"))
    assert [p.name for p in done.outputs if p.suffix == ".png"] == ["augmented_1.png", "augmented_2.png"]
    steps = [
        step
        for record in json.loads((done.path / "outputs" / "augmentation.json").read_text())
        for step in record["steps"]
    ]
    turned = [step["degrees"][0] for step in steps if step["name"] == "rotate"]
    assert (
        len(turned) == 2
        and all(3 <= d <= 4 for d in turned)
        and not any(step["name"] == "elastic" for step in steps)
    )
    assert done.record["request"]["policy"]["allowed"]["rotate"] == {"low": 3, "high": 4, "probability": 1}


def test_other_policies_are_other_runs(picture: Path, tmp_path: Path) -> None:
    one = execute(AugmentClassical(input=picture, n=1, modality="DX", out=tmp_path / "a"))
    two = execute(
        AugmentClassical(input=picture, n=1, modality="DX", label="cardiomegaly", out=tmp_path / "b")
    )
    assert one.record["id"] != two.record["id"] and "scale" in two.record["request"]["policy"]["refused"]


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["--prior", "chest-xray"], "Unknown option: --prior"),
        (["--strength", "0.5"], "Unknown option: --strength"),
        (["--policy", "absent.yaml"], "absent.yaml: no such file"),
        (
            ["--policy", "{tmp}/gamma.yaml"],
            "gamma: refused for CT in HU: Hounsfield values are a physical scale",
        ),
        (["--policy", "{tmp}/list.yaml"], "wanted names with values"),
        (
            ["--policy", "{tmp}/ct.yaml", "--modality", "DX"],
            "policy: it is for CT in HU, and the image is DX",
        ),
        (["--mask", "{tmp}/other.nii.gz"], "mask lies on the grid of its image"),
    ],
)
def test_what_is_refused_is_one_line(
    tokens: list[str], words: str, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gamma.yaml").write_text(
        "modality: CT\nunit: HU\ntransforms: {gamma: {low: 0.9, high: 1.1}}\n"
    )
    (tmp_path / "ct.yaml").write_text("modality: CT\nunit: HU\n")
    (tmp_path / "list.yaml").write_text("- gamma\n")
    mp.write(Volume(np.zeros((1, 8, 8), np.float32), unit="label"), tmp_path / "other.nii.gz", kind="mask")
    out = tmp_path / "run"
    assert (
        main(
            [
                "augment-classical",
                str(picture),
                "--out",
                str(out),
                *(token.format(tmp=tmp_path) for token in tokens),
            ]
        )
        == 2
    )
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("medprior: ")]
    assert len(lines) == 1 and words in lines[0] and not out.exists()


def test_settings_are_plain_data(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    for text in ("!!python/object/apply:os.system ['true']", "a: [", "3", "1: 2"):
        file.write_text(text)
        with pytest.raises(Corrupt):
            read_settings(file)
    file.write_text("#" * (LARGEST + 1))
    with pytest.raises(TooLarge):
        read_settings(file)
    file.write_text('{"modality": "CT"}')
    assert read_settings(file) == {"modality": "CT"}


def test_by_a_prior_needs_one_and_has_no_option_of_transforms(picture: Path) -> None:
    with pytest.raises(ValueError, match="prior"):
        Augment.model_validate({"input": picture})
    with pytest.raises(ValueError, match="mask"):
        Augment.model_validate({"input": picture, "prior": "p", "mask": picture})
    with pytest.raises(BadOption, match="refused"):
        mp.Policy.of("CT").check("gamma")


def test_the_report_of_a_run_of_the_former_request_is_made_again(picture: Path, tmp_path: Path) -> None:
    """Former versions called every kind of augmentation "augment", with the options of all of them."""
    done = execute(AugmentClassical(input=picture, n=1, modality="DX", out=tmp_path / "run"))
    page, record = done.report.read_bytes(), read_json(done.path / "run.json")
    request = {**record["request"], "job": "augment", "classical": True, "strength": 0.3, "fill": None}
    write_json(done.path / "run.json", {**record, "job": "augment", "request": request})
    listed = read_json(done.path / "manifest.json")
    write_json(done.path / "manifest.json", {**listed, "run.json": sha256(done.path / "run.json")})
    done.report.unlink()
    again = reported([done.path])
    assert again.report.read_bytes() == page and again.record["job"] == "augment"
    beside = execute(AugmentClassical(input=picture, n=1, modality="DX", out=tmp_path / "new"))
    text = reported([done.path, beside.path], tmp_path / "both").report.read_text(encoding="utf-8")
    assert "augment-classical" in text
