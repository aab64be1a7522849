"""A Gaussian prior alike along circles of latitude: against covariances and posteriors that are written out."""

import math

import pytest
import torch

from latentkit.localization import RADII, great_circle, taper
from latentkit.models import diffusion, zonal
from latentkit.models.conjugate import conjugate
from latentkit.models.zonal import EARTH, Zonal

L, K, Y, X = 3, 2, 3, 6
D = L * K * Y * X
LAT = torch.tensor([-40.0, 0.0, 40.0], dtype=torch.double)
LON = torch.arange(X, dtype=torch.double) * 60
STD = torch.tensor(0.4, dtype=torch.double)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def series(n=60, seed=0, models=1):
    """Return days that depend on the day before and on neighbors."""
    noise = torch.randn(models, n, K, Y, X, generator=rng(seed), dtype=torch.double)
    noise = noise + 0.7 * noise.roll(1, -1) + 0.4 * noise.roll(1, -3)
    days = [noise[:, 0]]
    for t in range(1, n):
        days.append(0.6 * days[-1].roll(1, -1) + noise[:, t])
    return torch.stack(days, 1) + torch.linspace(-1, 1, X, dtype=torch.double)


def prior(radius=math.inf, **options):
    return Zonal(series(**options), L, LAT, LON, radius=radius)


def dense(p):
    """Return the covariance (D, D) that a prior applies."""
    unit = torch.eye(D, dtype=torch.double).view(1, D, L * K, Y, X)
    return p.turned(unit, lambda values: values).reshape(D, D).mT


class Some:
    """See some of the points of windows."""

    def __init__(self, count=9):
        self.A = torch.randn(count, D, generator=rng(5), dtype=torch.double) / 4

    def __call__(self, x):
        return self.push(x) + 0.3

    def push(self, x):
        return x.flatten(2) @ self.A.mT

    def pull(self, v):
        return (v @ self.A).unflatten(2, (L * K, Y, X))


def posterior(p, seen, y):
    C, m = dense(p), p.mean[0].repeat(L, 1, 1).flatten()
    gain = C @ seen.A.mT @ torch.linalg.inv(seen.A @ C @ seen.A.mT + STD**2 * torch.eye(len(seen.A), dtype=C.dtype))
    return m + gain @ (y - 0.3 - seen.A @ m), C - gain @ seen.A @ C


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
    """Equation 2 and 3 against matrices."""
    p, t = prior(), 0.6
    C, m = dense(p), p.mean[0].repeat(L, 1, 1).flatten()
    r = (diffusion.sigma(t) / diffusion.mu(t)) ** 2
    W = C @ torch.linalg.inv(C + r * torch.eye(D, dtype=C.dtype))
    x = torch.randn(1, 4, L * K, Y, X, generator=rng(1), dtype=torch.double)
    flat = x[0].flatten(1)
    assert torch.allclose(p.denoised(x, t)[0].flatten(1), m + (flat / diffusion.mu(t) - m) @ W.mT)
    assert torch.allclose(p.spread(x, t)[0].flatten(1), r * flat @ W.mT)
    assert torch.allclose(diffusion.denoised(x, p(x, t), t), p.denoised(x, t))
    several = torch.full((1, 4), t, dtype=torch.double)
    assert torch.allclose(p.denoised(x, several), p.denoised(x, t))


def test_draws_have_mean_and_covariance():
    p = prior()
    x = p.sample(20000, [rng(2)])[0].flatten(1)
    C = dense(p)
    assert torch.allclose(x.mT.cov(), C, atol=0.05 * float(C.diagonal().max()))
    assert torch.allclose(x.mean(0), p.mean[0].repeat(L, 1, 1).flatten(), atol=0.1)


def test_posterior_is_that_of_kalman():
    """Matheron's rule, its mean, and the sampler with equation 15 agree with matrices."""
    p, seen = prior(), Some()
    y = torch.linspace(-1, 1, 9, dtype=torch.double)
    mean, cov = posterior(p, seen, y)
    assert torch.allclose(zonal.mean(p, seen, y[None, None], STD, rounds=60).flatten(), mean, atol=0.05)
    many = 3000
    repeated = y.expand(1, many, -1)
    size = float(cov.diagonal().max())
    drawn = zonal.posterior(p, seen, repeated, STD, rng=[rng(3)])[0].flatten(1)
    start = torch.randn(1, many, L * K, Y, X, generator=rng(4), dtype=torch.double)
    noise = diffusion.kalman(p, p.spread, seen, repeated, STD, rounds=9)
    sampled = diffusion.sample(noise, start, steps=24, corrections=0, order=2, rng=rng())[0].flatten(1)
    for x in (drawn, sampled):
        assert torch.allclose(x.mean(0), mean, atol=0.2)
        assert torch.allclose(x.mT.cov(), cov, atol=0.15 * size)


def test_missing_observations_do_not_count():
    p, seen = prior(), Some()
    y = torch.linspace(-1, 1, 9, dtype=torch.double)
    some = torch.where(torch.arange(9) < 4, y, torch.nan)
    fewer = Some()
    fewer.A = seen.A[:4]
    a = zonal.mean(p, seen, some[None, None], STD, rounds=60)
    assert torch.allclose(a, zonal.mean(p, fewer, y[None, None, :4], STD, rounds=60), atol=0.05)


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
