"""A zonal Gaussian with observations in: against Kalman's equations, written out."""

import warnings
from types import SimpleNamespace

import pytest
import torch
from circles import STD, D, K, L, X, Y, dense, prior, rng

from latentkit.assimilation.views import joined, view
from latentkit.models import conditioned, diffusion
from latentkit.models.readout import Plain, Seen


class Some:
    """See some of the points of windows."""

    def __init__(self, count=9):
        self.A = torch.randn(count, D, generator=rng(5), dtype=torch.double) / 4

    def __call__(self, x):
        return self.push(x) + 0.3

    def push(self, x):
        return x.flatten(2) @ self.A.mT

    def around(self, precision):
        """Return nothing: gradients are then plain ones, as is any other answer as good."""
        return torch.zeros(1, K * Y, K * Y, X, dtype=torch.double)

    def pull(self, v):
        return (v @ self.A).unflatten(2, (L * K, Y, X))


class Alike:
    """See the same around circles: a band of each day, turned."""

    def __init__(self):
        one = torch.randn(4, K * Y, X, generator=rng(6), dtype=torch.double)
        H = torch.stack([one.roll(d, -1).flatten(1) for d in range(X)], 1).flatten(0, 1)  # (4 X, K Y X)
        self.A = torch.block_diag(*[H] * L)
        with warnings.catch_warnings():  # torch calls sparse rows "beta"
            warnings.simplefilter("ignore", UserWarning)
            sparse = [part.to_sparse_csr() for part in (H, H.mT)]
        self.seen = Seen(sparse[:1], sparse[1:], torch.full((1, 4 * X), 0.3).double(), None, (L, K, Y, X))


def posterior(p, seen, y):
    C, m = dense(p), p.mean[0].repeat(L, 1, 1).flatten()
    gain = C @ seen.A.mT @ torch.linalg.inv(seen.A @ C @ seen.A.mT + STD**2 * torch.eye(len(seen.A), dtype=C.dtype))
    return m + gain @ (y - 0.3 - seen.A @ m), C - gain @ seen.A @ C


def test_posterior_is_that_of_kalman():
    """Matheron's rule, its mean, and the sampler with equation 13 of `diffusion` agree with matrices."""
    p, seen = prior(), Some()
    y = torch.linspace(-1, 1, 9, dtype=torch.double)
    mean, cov = posterior(p, seen, y)
    assert torch.allclose(conditioned.mean(p, seen, y[None, None], STD).flatten(), mean, atol=0.01)
    many = 3000
    repeated = y.expand(1, many, -1)
    size = float(cov.diagonal().max())
    drawn = conditioned.posterior(p, seen, repeated, STD, rng=[rng(3)])[0].flatten(1)
    start = torch.randn(1, many, L * K, Y, X, generator=rng(4), dtype=torch.double)
    noise = diffusion.moments(p, seen, repeated, STD, rounds=9)
    sampled = diffusion.sample(noise, start, steps=24, corrections=0, order=2, rng=rng())[0].flatten(1)
    for x in (drawn, sampled):
        assert torch.allclose(x.mean(0), mean, atol=0.2)
        assert torch.allclose(x.mT.cov(), cov, atol=0.15 * size)


@pytest.mark.parametrize("apart", [False, True])
def test_fields_that_views_see(apart):
    p, there, area = prior(), torch.ones(K, Y, X, dtype=torch.bool), torch.ones(Y, X, dtype=torch.double)
    eyes = view(area, there, STD, coarse=2)
    if apart:
        eyes = joined([view(area, there, STD, gap=2, channels=[0]), view(area, there, STD, coarse=3, channels=[1])])
    unit = torch.eye(D, dtype=torch.double).view(D, L, K, Y, X)
    A = eyes(unit)[..., eyes.seen].flatten(1).mT
    y = torch.linspace(-1, 1, len(A), dtype=torch.double)
    mean, cov = posterior(p, SimpleNamespace(A=A), y + 0.3)
    seen = Plain(there).seen(eyes, L)
    off = conditioned.mean(p, seen, y.view(1, 1, L, -1), STD.expand(len(A) // L)).flatten() - mean
    assert off @ torch.linalg.pinv(cov, hermitian=True) @ off < conditioned.NEAR**2 * D  # as the module promises


def test_what_is_alike_around_circles_takes_one_round():
    p, eyes = prior(), Alike()
    y = torch.randn(len(eyes.A), generator=rng(8), dtype=torch.double)
    mean, _ = posterior(p, eyes, y)
    found = conditioned.mean(p, eyes.seen, y.view(1, 1, L, -1), STD.expand(4 * X), rounds=1)
    assert torch.allclose(found.flatten(), mean, atol=1e-9)


@pytest.mark.parametrize("share", [0.9, 0.5])
def test_what_is_missing_from_circles_does_not_count(share):
    p, eyes = prior(), Alike()
    y = torch.randn(len(eyes.A), generator=rng(8), dtype=torch.double)
    y[torch.rand(len(y), generator=rng(9)) > share] = torch.nan
    there = torch.isfinite(y)
    eyes.A, told = eyes.A[there], y[there]
    mean, cov = posterior(p, eyes, told)
    options = {"y": y.view(1, 1, L, -1), "std": STD.expand(4 * X)}
    off = conditioned.mean(p, eyes.seen, **options).flatten() - mean
    assert off @ torch.linalg.pinv(cov, hermitian=True) @ off < conditioned.NEAR**2 * D  # as the module promises
    with pytest.warns(UserWarning, match="1 rounds of conjugate gradients leave a residual"):
        conditioned.mean(p, eyes.seen, **options, rounds=1)


def test_missing_observations_do_not_count():
    p, seen = prior(), Some()
    y = torch.linspace(-1, 1, 9, dtype=torch.double)
    some = torch.where(torch.arange(9) < 4, y, torch.nan)
    fewer = Some()
    fewer.A = seen.A[:4]
    a = conditioned.mean(p, seen, some[None, None], STD)
    assert torch.allclose(a, conditioned.mean(p, fewer, y[None, None, :4], STD), atol=0.02)
