"""A Gaussian prior alike along circles of latitude: against covariances that are written out."""

import math

import pytest
import torch
from circles import LAT, LON, D, K, L, X, Y, dense, prior, rng, series

from latentkit.localization import RADII, great_circle, taper
from latentkit.models import diffusion
from latentkit.models.conjugate import conjugate
from latentkit.models.zonal import EARTH, Zonal


@pytest.mark.parametrize("radius", [math.inf, 2500.0])
def test_covariance_is_the_mean_over_shifts_and_tapered(radius):
    days = series()
    left = (days - days.mean(1, keepdim=True))[0]
    windows = left.unfold(0, L, 1).movedim(-1, 1).flatten(1, 2)  # (n, L K, Y, X)
    C = sum(w.mT @ w / len(w) for w in (windows.roll(i, -1).flatten(1) for i in range(X))) / X
    if not math.isinf(radius):
        points = torch.cartesian_prod(LAT, LON)
        C = C * taper(great_circle(points, points, EARTH), RADII * radius).repeat(L * K, L * K)
        values, vectors = torch.linalg.eigh(C)  # what the taper makes negative is dropped
        C = vectors @ torch.diag(values.clamp_min(0)) @ vectors.mT
    assert torch.allclose(dense(prior(radius)), C, atol=1e-10)


def test_filter_is_that_of_wiener():
    """Equation 2 against matrices."""
    p, t = prior(), 0.6
    C, m = dense(p), p.mean[0].repeat(L, 1, 1).flatten()
    r = (diffusion.sigma(t) / diffusion.mu(t)) ** 2
    W = C @ torch.linalg.inv(C + r * torch.eye(D, dtype=C.dtype))
    x = torch.randn(1, 4, L * K, Y, X, generator=rng(1), dtype=torch.double)
    flat = x[0].flatten(1)
    assert torch.allclose(p.denoised(x, t)[0].flatten(1), m + (flat / diffusion.mu(t) - m) @ W.mT)
    assert torch.allclose(diffusion.denoised(x, p(x, t), t), p.denoised(x, t))
    several = torch.full((1, 4), t, dtype=torch.double)
    assert torch.allclose(p.denoised(x, several), p.denoised(x, t))


def test_draws_have_mean_and_covariance():
    p = prior()
    x = p.sample(20000, [rng(2)])[0].flatten(1)
    C = dense(p)
    assert torch.allclose(x.mT.cov(), C, atol=0.05 * float(C.diagonal().max()))
    assert torch.allclose(x.mean(0), p.mean[0].repeat(L, 1, 1).flatten(), atol=0.1)


def test_models_of_a_stack_are_apart():
    both = prior(models=2)
    one = Zonal(series(models=2)[1:], L, LAT, LON, radius=math.inf)
    x = torch.randn(2, 3, L * K, Y, X, generator=rng(6), dtype=torch.double)
    assert torch.allclose(both.denoised(x, 0.4)[1:], one.denoised(x[1:], 0.4))


def test_conjugate_gradients():
    A = torch.diag(torch.tensor([1.0, 4.0, 9.0], dtype=torch.double))
    b = torch.ones(1, 2, 3, dtype=torch.double)
    assert torch.allclose(conjugate(lambda v: v @ A, b, 3), b @ torch.linalg.inv(A))
    calls = []
    conjugate(lambda v: calls.append(1) or v @ A, b, 3, near=0.9)
    assert len(calls) < 3
    told = conjugate(lambda v: v @ A, b, 1, like=lambda r: r @ torch.linalg.inv(A))
    assert torch.allclose(told, b @ torch.linalg.inv(A))


def test_colors_and_their_transpose():
    """B B^T = C, and <B w, v> = <w, B^T v> of the numbers that w holds."""
    p = prior(models=2)
    v, u = torch.randn(2, 2, 4, L * K, Y, X, generator=rng(7), dtype=torch.double)
    assert torch.allclose(p.colored(p.whitened(v)), p.turned(v, lambda values: values))
    w = p.whitened(u)
    inner = (torch.view_as_real(w) * torch.view_as_real(p.whitened(v))).sum()
    assert torch.allclose((p.colored(w) * v).sum(), inner)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"length": 99}, "99; expected as many days"),
        ({"radius": 0.0}, "is 0.0; expected a number above 0"),
        ({"lon": LON / 2}, "that go around, evenly apart"),
    ],
)
def test_errors(options, words):
    given = {"length": L, "lat": LAT, "lon": LON, "radius": 1000.0} | options
    with pytest.raises(ValueError, match=words):
        Zonal(series(), **given)
