"""The laws of an operator, on every entry of the catalogue: adjointness, linearity, vjp = adjoint, gram,
algebra, precision, batch.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medprior.errors import MissingExtra
from medprior.operators import CATALOGUE, Operator

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-11}


@pytest.fixture(params=sorted(CATALOGUE))
def operator(request: pytest.FixtureRequest) -> Operator:
    try:
        return CATALOGUE[request.param]()
    except MissingExtra as missing:
        pytest.skip(str(missing))


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


def draw(shape: tuple[int, ...], is_complex: bool, dtype: torch.dtype, seed: int, batch: int = 3) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    n = torch.randn(batch, *shape, 2, generator=rng, dtype=dtype)
    return torch.view_as_complex(n) if is_complex else n[..., 0].clone()


def image(A: Operator, dtype: torch.dtype, seed: int = 1) -> Tensor:
    return draw(A.domain, A.domain_is_complex, dtype, seed)


def measurement(A: Operator, dtype: torch.dtype, seed: int = 2) -> Tensor:
    return draw(A.codomain, A.is_complex, dtype, seed)


def inner(a: Tensor, b: Tensor) -> Tensor:
    return (a.conj() * b).real.flatten(1).sum(1)


def near(a: Tensor, b: Tensor, tolerance: float) -> bool:
    return (
        a.shape == b.shape
        and a.dtype == b.dtype
        and float((a - b).abs().max()) <= tolerance * max(1.0, float(b.abs().max()))
    )


def test_adjointness(operator: Operator, dtype: torch.dtype) -> None:
    """<A x, y> = <x, A^H y>, image by image of the batch."""
    x, y = image(operator, dtype), measurement(operator, dtype)
    left, right = inner(operator(x), y), inner(x, operator.adjoint(y))
    size = (operator(x).abs() ** 2).flatten(1).sum(1).sqrt() * (y.abs() ** 2).flatten(1).sum(1).sqrt()
    assert float(((left - right).abs() / size.clamp_min(1e-6)).max()) < TOLERANCE[dtype]


def test_linearity(operator: Operator, dtype: torch.dtype) -> None:
    """A(a x + b z) = a A x + b A z."""
    x, z = image(operator, dtype, 1), image(operator, dtype, 3)
    assert near(operator(2.5 * x - 0.5 * z), 2.5 * operator(x) - 0.5 * operator(z), 5 * TOLERANCE[dtype])


def test_vector_jacobian_product_is_the_adjoint(operator: Operator, dtype: torch.dtype) -> None:
    """Automatic differentiation of A gives A^H, and of A^H gives A: guidance by gradients sees the exact
    operator.
    """
    x, y = image(operator, dtype).requires_grad_(), measurement(operator, dtype)
    (found,) = torch.autograd.grad(operator(x), x, y)
    assert near(found, operator.adjoint(y), TOLERANCE[dtype])
    y.requires_grad_()
    (back,) = torch.autograd.grad(operator.adjoint(y), y, x.detach())
    assert near(back, operator(x.detach()), TOLERANCE[dtype])


def test_gram(operator: Operator, dtype: torch.dtype) -> None:
    """A.gram = A^H A, and <x, A.gram x> = |A x|^2 >= 0."""
    x = image(operator, dtype)
    assert near(operator.gram(x), operator.adjoint(operator(x)), TOLERANCE[dtype])
    energy = inner(operator(x), operator(x))
    assert near(inner(x, operator.gram(x)), energy, 10 * TOLERANCE[dtype])


def test_adjoint_of_the_adjoint_is_itself(operator: Operator, dtype: torch.dtype) -> None:
    """A.H.H acts as A, and domain and codomain change places."""
    assert (operator.H.domain, operator.H.codomain) == (operator.codomain, operator.domain)
    assert (operator.H.domain_is_complex, operator.H.is_complex) == (
        operator.is_complex,
        operator.domain_is_complex,
    )
    x = image(operator, dtype)
    assert near(operator.H.H(x), operator(x), TOLERANCE[dtype])


def test_adjoint_of_a_product_turns_the_order(operator: Operator, dtype: torch.dtype) -> None:
    """(A @ B).H = B.H @ A.H with B = A.H."""
    x = image(operator, dtype)
    assert near((operator.H @ operator).H(x), (operator.H @ operator.H.H)(x), 10 * TOLERANCE[dtype])


def test_sum_and_multiple(operator: Operator, dtype: torch.dtype) -> None:
    """(A + A)(x) = (2 A)(x), and the same for the adjoints."""
    x, y = image(operator, dtype), measurement(operator, dtype)
    assert near((operator + operator)(x), (2 * operator)(x), TOLERANCE[dtype])
    assert near((operator + operator).H(y), (2 * operator).H(y), TOLERANCE[dtype])


def test_precision_in_is_precision_out(operator: Operator, dtype: torch.dtype) -> None:
    """float32 stays float32 and float64 stays float64, both ways."""
    assert operator(image(operator, dtype)).dtype.to_real() == dtype
    assert operator.adjoint(measurement(operator, dtype)).dtype.to_real() == dtype


def test_each_image_of_a_batch_is_measured_alone(operator: Operator, dtype: torch.dtype) -> None:
    """A([x1, x2, x3]) = [A x1, A x2, A x3]."""
    x = image(operator, dtype)
    alone = torch.cat([operator(x[b : b + 1]) for b in range(3)])
    assert near(operator(x), alone, TOLERANCE[dtype])


def test_unobserved_entries_are_zero(operator: Operator, dtype: torch.dtype) -> None:
    """What an operator calls unobserved is zero for every image, and (almost: real images have a few real
    frequencies) nothing else is.
    """
    y = operator(image(operator, dtype)).abs().amax(0)
    seen = (
        torch.ones_like(y, dtype=torch.bool)
        if operator.observed is None
        else operator.observed.expand(operator.codomain)
    )
    assert float(y[~seen].sum()) == 0
    if operator.observed is not None:
        assert float((y[seen] > 0).double().mean()) > 0.9


@pytest.mark.gpu
def test_an_accelerator_gives_the_same(operator: Operator) -> None:
    """Inputs on another device: the operator's tensors follow them or are moved by ``to``, and both give what
    the CPU gives.
    """
    x, y = image(operator, torch.float32), measurement(operator, torch.float32)
    for there in (operator, operator.to("cuda")):
        assert near(there(x.cuda()).cpu(), operator(x), TOLERANCE[torch.float32])
        assert near(there.adjoint(y.cuda()).cpu(), operator.adjoint(y), TOLERANCE[torch.float32])
