"""The prior's own network as a segmenter: it begins as the head on frozen features, learns on, leaves the
prior as it was, and comes back from its tensors.
"""

from __future__ import annotations

import pytest
import torch

from medprior.errors import BadOption
from medprior.jobs.tuning.decoder import DecoderSettings, TunedDecoder, same_size, tune_decoder
from medprior.learning.features import FeatureSettings
from medprior.learning.voxels import fit_voxel_head
from tests.unit.jobs.exact import tiny
from tests.unit.learning.test_voxels import HOW, QUICK, blocks

FEW = DecoderSettings(steps=6, batch=4, sigma=0.3, checks=2)


@pytest.mark.parametrize("ndim", [2, 3])
def test_it_begins_as_the_head_and_learns_on(ndim: int) -> None:
    prior, (scans, masks) = tiny(ndim), blocks(ndim, 4)
    start = fit_voxel_head(prior, scans, masks, 2, HOW, QUICK)
    before = {name: value.clone() for name, value in prior.net.state_dict().items()}
    seen: list[int] = []
    still = tune_decoder(
        prior, scans, masks, start, DecoderSettings(steps=2, rate=1e-12, sigma=0.3, checks=1)
    )
    assert torch.allclose(still(scans[0]), start(prior, scans[0]), atol=1e-4)
    made = tune_decoder(prior, scans, masks, start, FEW, look=lambda step, _: seen.append(step))
    assert seen == [3, 6]

    def error(p: torch.Tensor) -> float:
        return float(-p.gather(0, masks[0][None]).log().mean())

    assert error(made(scans[0])) < error(start(prior, scans[0]))
    assert all(torch.equal(value, before[name]) for name, value in prior.net.state_dict().items())
    again = TunedDecoder.of(prior, made.tensors(), HOW)
    assert torch.equal(again(scans[0]), made(scans[0]))
    wrong = {
        name: value[..., :1] if name.startswith("net.") else value for name, value in made.tensors().items()
    }
    with pytest.raises(BadOption, match="do not fit"):
        TunedDecoder.of(prior, wrong, FeatureSettings((0.3,)))


def test_it_stops_where_held_out_scans_were_best() -> None:
    prior, (scans, masks) = tiny(), blocks(2, 4)
    start = fit_voxel_head(prior, scans, masks, 2, HOW, QUICK)
    shown: list[TunedDecoder] = []
    tune_decoder(prior, scans, masks, start, FEW, look=lambda _, made: shown.append(made))
    early = tune_decoder(prior, scans, masks, start, FEW, until=3)
    assert torch.equal(early(scans[0]), shown[0](scans[0]))


def test_images_of_other_sizes_are_filled_up() -> None:
    made = same_size([torch.ones(2, 1, 3, 5), torch.ones(1, 1, 4, 4)], -1.0)
    assert made.shape == (3, 1, 4, 5) and made[0, 0, 3].eq(-1).all() and made[2, 0, :, 4].eq(-1).all()
    assert int(made.eq(1).sum()) == 2 * 15 + 16
