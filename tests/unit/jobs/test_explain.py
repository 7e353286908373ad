"""Explain: what it changes turns the model's answer and nothing else, and every map stands its check."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from medprior.data.volume import Volume
from medprior.errors import BadOption, ShapeMismatch, Uncalibrated
from medprior.explanation.latent import Search
from medprior.explanation.model import Model, ModelInput
from medprior.jobs.explain import Explaining, explain, network_images, working_size
from medprior.jobs.inpaint import box_mask
from tests.unit.jobs.exact import CT, Exact, volume_of

SIZE = (20, 16)
BOX = (6, 4, 6, 6)
QUICK = Search(particles=12, repeats=4, n_steps=8)


def scan(prior: Exact, seed: int = 1) -> Volume:
    return volume_of(prior, prior.draw(1, SIZE, seed)[0])


def box_mean(images: Tensor) -> Tensor:
    row, column, rows, columns = BOX
    return images[:, 0, row : row + rows, column : column + columns].mean((1, 2))


class Brightness:
    """Logits of a model that looks at BOX, in the scan's own unit; it calls ``source`` bright by a margin."""

    def __init__(self, source: Volume, margin: float = 80.0) -> None:
        self.edge = float(box_mean(torch.from_numpy(source.data)[None])) - margin

    def __call__(self, images: Tensor) -> Tensor:
        bright = (box_mean(images) - self.edge) / 30.0
        return torch.stack([torch.zeros_like(bright), bright], 1)


def model_of(source: Volume) -> Model:
    return Model(Brightness(source), ("dark", "bright"), outputs="logits")


def test_the_counterfactual_turns_the_answer_by_a_small_change() -> None:
    prior = Exact()
    source = scan(prior)
    model = model_of(source)
    found = explain(prior, source, model, Explaining(search=QUICK, maps=False))
    assert found.found and (found.given, found.target) == ("bright", "dark")
    for one in found.counterfactuals:
        if one.turned:
            again = model.scores(torch.from_numpy(one.image.data)[None]).softmax(1)[0]
            assert model.classes[int(again.argmax())] == found.target
        assert one.image.provenance.synthetic and one.image.unit == source.unit
        assert np.allclose(one.difference.data, one.image.data - source.data, atol=1e-3)
    changes = [one.change for one in found.counterfactuals if one.turned]
    assert found.counterfactuals[0].change in changes and max(changes) < 0.5


def test_only_the_region_changes_where_one_is_drawn() -> None:
    prior = Exact()
    source = scan(prior)
    region = box_mask(source, BOX)
    found = explain(prior, source, model_of(source), Explaining(region=region, search=QUICK, maps=False))
    outside = region.data == 0
    for one in found.counterfactuals:
        assert one.image.data[outside].tobytes() == source.data[outside].tobytes()
        assert one.outside == 0
    assert found.found


def test_a_large_scan_is_worked_on_at_half_its_size_and_keeps_its_detail() -> None:
    prior, size = Exact(replace(CT, frame=(16, 256))), (176, 192)
    source = volume_of(prior, prior.draw(1, size, 1)[0])
    region = box_mask(source, (0, 0, 88, 192))
    edge = float(source.data[0, :88].mean()) - 25
    admitted = tuple(prior.admit(source).whole.shape[1:])

    def scores(images: Tensor) -> Tensor:
        assert tuple(images.shape[2:]) == admitted
        bright = (images[:, 0, : admitted[0] // 2].mean((1, 2)) - edge) / 10
        return torch.stack([torch.zeros_like(bright), bright], 1)

    what = Explaining(region=region, search=QUICK, maps=False)
    assert working_size(prior, prior.admit(source), what) == tuple(-(-n // 2) for n in admitted)
    assert working_size(prior, prior.admit(source), replace(what, full_size=True)) == admitted
    found = explain(prior, source, Model(scores, ("dark", "bright"), outputs="logits"), what)
    assert found.found and found.target == "dark"
    for one in found.counterfactuals:
        assert one.image.data.shape == source.data.shape
        assert one.image.data[:, 92:].tobytes() == source.data[:, 92:].tobytes()
        change = one.difference.data[0, :80]
        rough, coarse = np.diff(change, axis=1), change[:, 2:] - change[:, :-2]
        assert np.abs(rough).mean() < 0.7 * np.abs(coarse).mean()


def test_a_region_that_the_model_does_not_look_at_explains_nothing() -> None:
    prior = Exact()
    source = scan(prior)
    away = box_mask(source, (16, 12, 4, 4))
    found = explain(prior, source, model_of(source), Explaining(region=away, search=QUICK, maps=False))
    assert not found.found


def test_a_map_that_shows_the_place_passes_and_one_of_noise_does_not() -> None:
    from medprior.explanation.attribution import Infill, map_tests, occluded
    from medprior.prior.admit import admit

    prior = Exact()
    source = scan(prior)
    source = source.with_data(source.data + 500 * (box_mask(source, BOX).data != 0))
    admitted = admit(prior.card, source)
    answers = Model(Brightness(source, margin=250.0), ("dark", "bright"), outputs="logits").on(admitted)
    given = int(answers(admitted.images)[0].argmax())

    def likelihood(images: Tensor) -> Tensor:
        return answers(images)[:, given]

    infill = Infill(prior, admitted.images, 0)
    shown = torch.zeros(SIZE)
    shown[BOX[0] : BOX[0] + BOX[2], BOX[1] : BOX[1] + BOX[3]] = 1
    windows = occluded(admitted.images, infill).importance(likelihood)
    inside = shown > 0
    assert float(windows[inside].abs().mean()) > 3 * float(windows[~inside].abs().mean())
    good, bad = map_tests({"good": shown, "bad": -shown}, infill, likelihood).values()
    assert good.passes and good.deletion < min(good.random), good
    assert not bad.passes and "no more than random" in bad.why_not
    (alike,) = map_tests({"good": shown}, infill, likelihood, shuffled={"good": shown}).values()
    assert not alike.passes and "shuffled" in alike.why_not


def test_real_scans_say_what_is_in_distribution() -> None:
    prior = Exact()
    real = [scan(prior, 100 + n) for n in range(24)]
    model = model_of(scan(prior))
    found = explain(prior, scan(prior), model, Explaining(search=QUICK, maps=False), real=real)
    assert found.p_value is not None and found.p_value > 0.04
    spoiled = scan(prior)
    checker = 150.0 * (-1.0) ** np.add.outer(np.arange(SIZE[0]), np.arange(SIZE[1]))
    pattern = explain(
        prior,
        spoiled.with_data(spoiled.data + checker),
        model,
        Explaining(search=QUICK, maps=False),
        real=real,
    )
    assert pattern.p_value is not None and pattern.p_value <= 0.05
    with pytest.raises(Uncalibrated, match="19"):
        explain(prior, scan(prior), model, Explaining(search=QUICK, maps=False), real=real[:5])


def test_the_same_seed_gives_the_same_bytes() -> None:
    prior = Exact()
    model = model_of(scan(prior))
    a, b = (
        explain(prior, scan(prior), model, Explaining(search=QUICK, maps=False, seed=4)).counterfactuals[0]
        for _ in range(2)
    )
    assert a.image.data.tobytes() == b.image.data.tobytes()


def test_wrong_models_are_refused_in_words() -> None:
    prior = Exact()
    source, what = scan(prior), Explaining(search=QUICK, maps=False)
    brightness, good = Brightness(source), model_of(source)
    with pytest.raises(BadOption, match="wrap your function"):
        explain(prior, source, brightness, what)  # type: ignore[arg-type]
    with pytest.raises(BadOption, match="logits"):
        explain(prior, source, Model(brightness, ("dark", "bright")), what)
    with pytest.raises(ShapeMismatch, match="scores"):
        explain(prior, source, Model(brightness, ("a", "b", "c"), outputs="logits"), what)
    with pytest.raises(BadOption, match="not finite"):
        explain(prior, source, Model(lambda x: brightness(x) * torch.nan, ("a", "b"), outputs="logits"), what)
    with pytest.raises(BadOption, match="brigth"):
        explain(prior, source, good, Explaining(label="brigth", search=QUICK, maps=False))
    given = explain(prior, source, good, what).given
    with pytest.raises(BadOption, match="already answers"):
        explain(prior, source, good, Explaining(label=given, search=QUICK, maps=False))
    with pytest.raises(BadOption, match="region"):
        Explaining(region="left")
    nothing = source.with_data(np.zeros_like(source.data))
    with pytest.raises(BadOption, match="nothing of the scan"):
        explain(prior, source, good, Explaining(region=nothing, search=QUICK, maps=False))


def test_a_model_gets_the_size_channels_and_range_that_it_wants() -> None:
    seen: list[Tensor] = []

    def model(images: Tensor) -> Tensor:
        seen.append(images)
        return images.mean((1, 2, 3)).sigmoid()

    prior = Exact()
    wanted = ModelInput(size=(8, 10), channels=3, range=(0.0, 1.0))
    explain(prior, scan(prior), Model(model, ("a", "b"), wanted), Explaining(search=QUICK, maps=False))
    assert seen[0].shape[1:] == (3, 8, 10) and -1 < float(seen[0].mean()) < 2
    for wrong in ({"size": (0, 3)}, {"channels": 0}, {"range": (1.0, 0.0)}, {"std": 0.0}):
        with pytest.raises(BadOption, match=next(iter(wrong))):
            ModelInput(**wrong)  # type: ignore[arg-type]


def test_it_costs_at_most_what_is_said_and_not_much_less() -> None:
    class Counted(Exact):
        images = 0

        def __call__(self, x: Tensor, *rest: Any) -> Tensor:
            self.images += len(x)
            return super().__call__(x, *rest)

        def moments(self, x: Tensor, sigma: Tensor, condition: Any = None) -> tuple[Tensor, Tensor]:
            before = self.images
            found = super().moments(x, sigma, condition)
            self.images = before + len(x)
            return found

    prior = Counted()
    source = scan(prior)
    what = Explaining(search=QUICK)
    explain(prior, source, model_of(source), what, shuffled=model_of(source))
    assert 0.4 * network_images(what, SIZE) < prior.images <= network_images(what, SIZE)
