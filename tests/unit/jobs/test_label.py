"""One folder of labels for a reader, a spreadsheet and a web page at once."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from medprior.data.volume import Volume
from medprior.errors import BadOption, FileProblem, WrongKind
from medprior.io.dataset.layout import Layout
from medprior.io.dataset.scan import Index, scan
from medprior.io.write import write
from medprior.jobs.label import ENOUGH_EACH, TRAIL, Labelling, alpha_interval
from medprior.prior import Prior
from tests.unit.jobs.exact import tiny


def scans_in(folder: Path, n: int = 24, patients: int | None = None, seed: int = 0) -> Path:
    """Pictures of noise, bright below at every second: bright and dark are told apart at a glance."""
    rng = np.random.default_rng(seed)
    for k in range(n):
        data = rng.uniform(0, 80, (1, 16, 16)).astype(np.float32)
        data[:, 8:] += 90 * (k % 2)
        name = f"p{k % (patients or n):02d}_{k:02d}.png"
        write(Volume(data), folder / name, kind="converted")
    return folder


@pytest.fixture(scope="module")
def prior() -> Prior:
    return tiny()


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return scan(scans_in(tmp_path_factory.mktemp("scans")))


@pytest.fixture
def session(index: Index, prior: Prior, tmp_path: Path) -> Labelling:
    return Labelling(index, prior, tmp_path / "labels")


def truth(scan: str) -> str:
    return "bright" if int(scan[-6:-4]) % 2 else "dark"


def answered(session: Labelling, n: int, reader: str = "Ann") -> None:
    for one in session.propose(n, reader=reader).scans:
        session.record(one.scan, truth(one.scan), reader=reader, seconds=2.0)


def test_propose_record_undo_and_what_is_known(session: Labelling) -> None:
    batch = session.propose(6, reader="Ann")
    assert len({one.scan for one in batch.scans}) == 6 and batch.by == "typical"
    assert session.propose(6, reader="Ann") == batch, "nothing was answered: the same scans"
    first, second = (one.scan for one in batch.scans[:2])
    number = session.record(first, "dark", reader="Ann", seconds=3.0, confidence=0.9)
    session.record(second, "?", reader="Ann")
    state = session.state()
    assert state.labels[first] == "dark" and state.labels[second] == "" and state.open_ == 22
    assert {first, second}.isdisjoint(one.scan for one in session.propose(22).scans)
    assert session.undo(number).label == "dark" and session.state().labels[first] == ""
    with pytest.raises(BadOption, match="line 2 was taken back already"):
        session.undo(number)
    with pytest.raises(BadOption, match="line 99 is no answer"):
        session.undo(99)
    assert len((session.out / TRAIL).read_text().splitlines()) == 5, "two batches, two answers, an undo"


def test_two_readers_get_other_scans_unless_they_shall_meet(session: Labelling) -> None:
    ann, bob = session.propose(8, reader="Ann"), session.propose(8, reader="Bob")
    assert not {one.scan for one in ann.scans} & {one.scan for one in bob.scans}
    for one in ann.scans:
        session.record(one.scan, truth(one.scan), reader="Ann")
    again = session.propose(8, reader="Bob", repeat=3)
    met = {one.scan for one in again.scans} & {one.scan for one in ann.scans}
    assert len(met) == 3 and len(again.scans) == 8
    assert all("measures agreement" in one.why for one in again.scans if one.scan in met)
    assert session.agreement().reason == "No scan has labels of two readers."
    for name in met:
        session.record(name, truth(name), reader="Bob")
    one = session.agreement()
    same = len({truth(name) for name in met}) == 1
    assert one.scans == 3 and (one.alpha is None) == same


def test_agreement_has_an_interval_over_patients(session: Labelling) -> None:
    for k, name in enumerate(session.scans):
        session.record(name, truth(name), reader="Ann")
        session.record(name, "dark" if k in (3, 9) else truth(name), reader="Bob")
    found = session.agreement().alpha
    assert found is not None and found.n == 24 and found.level == 0.95
    assert found.low < found.value < 1 and found.high <= 1 and found.value > 0.7
    assert len(session.state().readings.disputed()) == sum(truth(session.scans[k]) != "dark" for k in (3, 9))


@pytest.mark.parametrize("scans_each", [1, 3])
def test_the_interval_of_agreement_covers(scans_each: int) -> None:
    """Two readers who err in 15 of 100 scans, half of them ill: alpha of the population is 0.49."""
    rng, hits, total = np.random.default_rng(0), 0, 120
    for _ in range(total):
        truth = rng.integers(0, 2, 30 * scans_each)
        said = [np.where(rng.random(len(truth)) < 0.15, 1 - truth, truth) for _ in range(2)]
        ill = np.sum(said, axis=0)
        owners = [str(k // scans_each) for k in range(len(truth))]
        found = alpha_interval(np.stack([ill, 2 - ill], 1), owners)
        hits += found.low <= 1 - 2 * 0.15 * 0.85 / 0.5 <= found.high
    assert hits / total > 0.9


def test_full_agreement_has_no_interval_without_width(session: Labelling) -> None:
    for name in session.scans[:8]:
        for reader in ("Ann", "Bob"):
            session.record(name, truth(name), reader=reader)
    found = session.agreement().alpha
    assert found is not None and (found.value, found.high) == (1.0, 1.0) and 0 < found.low < 0.6


def test_later_doubt_chooses_and_wrong_labels_are_found(session: Labelling) -> None:
    answered(session, 24)
    assert session.state().open_ == 0
    assert session.advice(20).reason == "Stop: every scan is labelled."
    wrong = next(name for name in session.scans if truth(name) == "dark")
    session.record(wrong, "bright", reader="Ann", revise=True)
    assert min(session._pool(session.state()).patients_each().values()) >= ENOUGH_EACH
    assert [scan for scan, _ in session.suspects()] == [wrong]
    with pytest.raises(BadOption, match="labelled already"):
        session.propose(5)


def test_the_labels_are_read_by_every_command(session: Labelling, index: Index) -> None:
    answered(session, 6)
    table = session.save_labels()
    again = scan(index.folder, layout=Layout(table))
    known = {item.path: item.label for item in again.items}
    assert len(known) == 24 and set(known.values()) == {"", "dark", "bright"}
    assert all(label in ("", truth(path)) for path, label in known.items())
    assert sum(map(bool, known.values())) == 6


def test_patients_are_the_units(tmp_path: Path, prior: Prior) -> None:
    found = scan(scans_in(tmp_path / "data", 20, patients=5), layout=Layout(patient_pattern=r"^(p\d+)_"))
    session = Labelling(found, prior, tmp_path / "labels")
    assert len({one.scan[:3] for one in session.propose(5).scans}) == 5


def test_features_are_computed_once(session: Labelling, index: Index, prior: Prior, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    batch = session.propose(4)
    monkeypatch.setattr("medprior.jobs.label.volume_features", None)
    assert Labelling(index, prior, session.out).propose(4) == batch


def test_what_is_wrong_is_said_and_nothing_is_recorded(session: Labelling, tmp_path: Path) -> None:
    first = session.scans[0]
    with pytest.raises(BadOption, match=r"no scan 'p00_0.png' in the folder \(did you mean"):
        session.record("p00_0.png", "dark")
    with pytest.raises(BadOption, match="label is empty"):
        session.record(first, " ")
    with pytest.raises(BadOption, match="confidence: wanted a number from 0 to 1"):
        session.record(first, "dark", confidence=7)
    assert not (session.out / TRAIL).exists()
    session.record(first, "dark")
    with pytest.raises(BadOption, match="give a second reader another name"):
        session.record(first, "bright")
    assert session.record(first, "dark") == 1 and session.state().labels[first] == "dark"
    (tmp_path / "t.csv").write_text(f"scan,label\n{session.scans[1]},bright\n{first},bright\n")
    with pytest.raises(BadOption):
        session.read(tmp_path / "t.csv")
    assert len(session.state().readings.given) == 1, "the row that was right was not recorded alone"


def test_answers_outlive_their_scans(session: Labelling, index: Index, prior: Prior) -> None:
    answered(session, 3)
    fewer = Index(index.folder, tuple(i for i in index.items if not session.state().labels[i.path]))
    state = Labelling(fewer, prior, session.out).state()
    assert len(state.missing) == 3 and len(state.readings.current) == 3 and not any(state.labels.values())


def _record(out: Path, index: Index, prior: Prior, reader: str) -> None:
    session = Labelling(index, prior, out)
    for name in session.scans:
        session.record(name, truth(name), reader=reader)


def test_two_processes_record_at_once(session: Labelling, index: Index, prior: Prior) -> None:
    context = multiprocessing.get_context("fork")
    readers = [context.Process(target=_record, args=(session.out, index, prior, name)) for name in "ab"]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(60)
    assert len(session.state().readings.current) == 48


def test_a_prior_of_another_kind_is_refused(index: Index, tmp_path: Path) -> None:
    with pytest.raises(WrongKind):
        Labelling(index, "chest-ct", tmp_path / "labels").propose(3)


def test_scans_of_a_stated_test_split_are_not_proposed(tmp_path: Path, prior: Prior) -> None:
    for split, n in (("train", 6), ("test", 3)):
        scans_in(tmp_path / "data" / split / f"of {split}", n, seed=n)
    found = scan(tmp_path / "data", layout=Layout(folders="patients"))
    assert {name.split("/")[0] for name in Labelling(found, prior, tmp_path / "labels").scans} == {"train"}
    assert len(Labelling(found, prior, tmp_path / "labels", split="test").scans) == 3


def test_a_folder_of_test_scans_alone_says_so(tmp_path: Path, prior: Prior) -> None:
    scans_in(tmp_path / "data" / "test" / "of test", 3, seed=0)
    found = scan(tmp_path / "data", layout=Layout(folders="patients"))
    with pytest.raises(FileProblem, match=r"no scan outside of its test split.*\(3 lie in it\)"):
        Labelling(found, prior, tmp_path / "labels")
