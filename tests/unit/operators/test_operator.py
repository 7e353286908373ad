"""The algebra says who complains, and each operator does to a picture what its name says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from medprior.errors import BadOption, ShapeMismatch
from medprior.operators import (
    Operator,
    as_complex,
    blur,
    channels,
    coils,
    crop,
    diagonal,
    downsample,
    fourier,
    identity,
    mask,
    mri,
    pair,
    stack,
    thick_slices,
)


def ramp(*shape: int) -> torch.Tensor:
    return torch.arange(float(torch.tensor(shape).prod())).reshape(1, *shape)


def test_a_wrong_image_names_the_member_of_the_chain() -> None:
    """Who, wanted, got: a chain of four says which member could not take the image."""
    A = mri(torch.ones(8, 6, dtype=torch.bool), torch.ones(3, 8, 6, dtype=torch.complex64))
    with pytest.raises(
        ShapeMismatch,
        match=r"AsComplex in Mask @ Fourier @ Coils @ AsComplex, input: wanted \(B, 1, 8, 6\) real, got \(1, "
        r"1, 6, 8\) real",
    ):
        A(torch.zeros(1, 1, 6, 8))
    with pytest.raises(ShapeMismatch, match="complex"):
        A(torch.zeros(1, 1, 8, 6, dtype=torch.complex64))
    with pytest.raises(ShapeMismatch, match=r"\.H.*input"):
        A.H(torch.zeros(1, 3, 8, 6))


def test_a_member_that_breaks_its_promise_is_named() -> None:
    """An operator of a user whose apply returns another shape than its codomain is caught at once."""

    class Forgetful(Operator):
        def apply(self, x: torch.Tensor) -> torch.Tensor:
            return x[..., :-1]

        def adjoint(self, y: torch.Tensor) -> torch.Tensor:
            return y

    broken = Forgetful(domain=(1, 4, 4), codomain=(1, 4, 4))
    with pytest.raises(ShapeMismatch, match="Forgetful, output"):
        (downsample((1, 4, 4), 2) @ broken)(torch.zeros(1, 1, 4, 4))


def test_what_does_not_fit_cannot_be_composed() -> None:
    with pytest.raises(ShapeMismatch, match="Downsample @ Crop"):
        _ = downsample((1, 4, 4), 2) @ crop((1, 8, 8), (0, 0), (6, 6))
    with pytest.raises(ShapeMismatch, match="real"):
        _ = fourier((1, 4, 4), complex_image=True) @ identity((1, 4, 4))
    with pytest.raises(ShapeMismatch, match="twice"):
        _ = identity((1, 4, 4)) + downsample((1, 4, 4), 2)
    with pytest.raises(ShapeMismatch, match="stack"):
        stack(identity((1, 4, 4)), identity((1, 4, 5)))
    with pytest.raises(BadOption, match="at least one"):
        stack()
    with pytest.raises(BadOption, match="diagonal"):
        _ = identity((1, 4, 4)) * torch.ones(4)  # type: ignore[operator]


def test_repr_shows_the_shapes() -> None:
    assert (
        repr(downsample((1, 4, 4), 2) @ blur((1, 4, 4), 2.0))
        == "Downsample @ AlongAxis @ AlongAxis: (1, 4, 4) real -> (1, 2, 2) real"
    )


def test_moving_an_operator_moves_all_of_its_tensors() -> None:
    """``to`` reaches tensors in members of members; the meta device stands for any other."""
    A = 2 * stack(
        mask((1, 4, 4), torch.ones(4, 4)), diagonal((1, 4, 4), torch.ones(4)) @ identity((1, 4, 4))
    ).to("meta")
    moved = [A.of.parts[0].keep, A.of.parts[1].members[0].weights, A.observed]  # type: ignore[attr-defined]
    assert [t.device.type for t in moved] == ["meta"] * 3


def test_pixels_do_what_they_say() -> None:
    x = ramp(2, 4, 4)
    assert torch.equal(mask((2, 4, 4), torch.tensor([1, 0, 1, 0]))(x)[..., 1::2], torch.zeros(1, 2, 4, 2))
    assert torch.equal(crop((2, 4, 4), (1, 2), (2, 1))(x), x[..., 1:3, 2:3])
    assert torch.equal(channels((2, 4, 4), (1,))(x), x[:, 1:])
    assert torch.equal(downsample((2, 4, 4), (2, 4))(x)[0, 0], torch.tensor([[3.5], [11.5]]))


def test_slices_have_their_profile() -> None:
    """Box slices without gap are block means; a Gaussian slice has half its peak weight at half its
    thickness; constants stay.
    """
    x = torch.rand(1, 1, 4, 12, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(thick_slices((1, 4, 12), 2, 3, profile="box")(x), downsample((1, 4, 12), (1, 3))(x))
    A = thick_slices((1, 1, 41), 2, 41, thickness=10.0)
    weight = A.adjoint(torch.ones(1, 1, 1, 1))[0, 0, 0]
    assert float(weight[25] / weight[20]) == pytest.approx(0.5)
    assert torch.allclose(blur((1, 9, 9), 3.0)(torch.ones(1, 1, 9, 9)), torch.ones(1, 1, 9, 9))


def test_blur_has_its_width_in_millimetres() -> None:
    """The response to a point falls to half at fwhm / 2: 2 mm = 4 voxels of 0.5 mm along i, 2 of 1 mm along
    j.
    """
    x = torch.zeros(1, 1, 41, 41)
    x[0, 0, 20, 20] = 1
    y = blur((1, 41, 41), 4.0, spacing=(0.5, 1.0))(x)[0, 0]
    assert float(y[24, 20] / y[20, 20]) == pytest.approx(0.5) == float(y[20, 22] / y[20, 20])


def test_fourier_has_its_zero_frequency_in_the_middle_and_keeps_energy() -> None:
    x = torch.rand(1, 1, 6, 7, generator=torch.Generator().manual_seed(0))
    y = fourier((1, 6, 7))(x)
    assert complex(y[0, 0, 3, 3]) == pytest.approx(complex(float(x.sum()) / 42**0.5), abs=1e-5)
    assert float(y.abs().square().sum()) == pytest.approx(float(x.square().sum()), rel=1e-5)


def test_coils_of_a_complex_image() -> None:
    """Two channels are real and imaginary part; each coil sees its sensitivity times the image."""
    maps = torch.view_as_complex(torch.randn(2, 4, 4, 2, generator=torch.Generator().manual_seed(0)))
    x = torch.rand(1, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    assert torch.allclose((coils(maps) @ pair((2, 4, 4)))(x), maps * torch.complex(x[:, :1], x[:, 1:]))


@pytest.mark.parametrize(
    "make",
    [
        lambda: mask((1, 4, 4), torch.full((4, 4), 0.5)),
        lambda: crop((1, 4, 4), (2, 2), (3, 1)),
        lambda: channels((2, 4, 4), (0, 0)),
        lambda: downsample((1, 5, 4), 2),
        lambda: thick_slices((1, 4, 4), 3, 2),
        lambda: thick_slices((1, 4, 4), 1, 2, profile="sinc"),
        lambda: blur((1, 4, 4), -1.0),
        lambda: diagonal((1, 4, 4), torch.ones(4, dtype=torch.complex64)),
    ],
)
def test_options_that_cannot_be_are_refused(make: Callable[[], Operator]) -> None:
    with pytest.raises(BadOption, match=r"wanted|not known|complex"):
        make()


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeMismatch, match="mask, keep"):
        mask((1, 4, 4), torch.ones(5))
    with pytest.raises(ShapeMismatch, match="sensitivities"):
        mri(torch.ones(4, 4, dtype=torch.bool), torch.ones(2, 4, 5, dtype=torch.complex64))
    with pytest.raises(ShapeMismatch, match="pair"):
        pair((1, 4, 4))
    assert as_complex((1, 4, 4)).is_complex
