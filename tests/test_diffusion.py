"""The sampler on Gaussians, whose scores, posteriors and dynamics are known in closed form."""

import math

import pytest
import torch

from latentkit.models import diffusion as df

C = torch.tensor([[1.0, 0.6, 0.2], [0.6, 0.8, 0.3], [0.2, 0.3, 0.5]], dtype=torch.double)
A = torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.0, 2.0]], dtype=torch.double)
STD = torch.tensor([0.3, 0.5], dtype=torch.double)
Y = torch.tensor([0.8, -1.1], dtype=torch.double)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian(x, t):  # x (s, n, 3): the noise of N(0, C) is -sigma times its score
    total = df.mu(t) ** 2 * C + df.sigma(t) ** 2 * torch.eye(3, dtype=C.dtype)
    return df.sigma(t) * x @ torch.linalg.inv(total)


def seen(x):
    return x @ A.mT


def start(n, seed=0):
    return torch.randn(1, n, 3, generator=rng(seed), dtype=C.dtype)


def posterior():
    gain = C @ A.mT @ torch.linalg.inv(A @ C @ A.mT + torch.diag(STD**2))
    return gain @ Y, C - gain @ A @ C


def test_schedule():
    assert df.mu(0.0) == pytest.approx(1)
    assert df.sigma(0.0) == pytest.approx(df.ETA, rel=1e-3)
    assert df.mu(1.0) == pytest.approx(df.ETA)
    t = torch.linspace(0, 1, 7, dtype=torch.double)
    assert torch.allclose(df.mu(t), torch.tensor([df.mu(float(v)) for v in t], dtype=torch.double))
    assert torch.allclose(df.sigma(t) ** 2 + df.mu(t) ** 2, torch.full_like(t, 1 + df.ETA**2))


def test_tweedie():
    """Equation 8 is the mean of x given x(t): the signs of score and noise."""
    t, x = 0.4, start(1)
    gain = df.mu(t) * C @ torch.linalg.inv(df.mu(t) ** 2 * C + df.sigma(t) ** 2 * torch.eye(3, dtype=C.dtype))
    assert torch.allclose(df.denoised(x, gaussian(x, t), t), x @ gain.mT)


@pytest.mark.parametrize(("order", "steps"), [(1, 256), (2, 32)])
def test_samples_have_the_covariance_of_the_prior(order, steps):
    x = df.sample(gaussian, start(40000), steps=steps, corrections=0, order=order, rng=rng(1))[0]
    assert torch.allclose(x.mT.cov(), C, atol=0.04)


@pytest.mark.parametrize("tau", [0.1, 0.5])
def test_corrections_widen_what_they_correct(tau):
    """As the head of the module says: a variance of 1 becomes 1 + tau / 2."""
    x = torch.randn(1, 50, 2000, generator=rng(), dtype=torch.double)
    x = df.sample(lambda x, t: df.sigma(t) * x, x, steps=200, corrections=1, tau=tau, rng=rng(1))
    assert float(x.var()) == pytest.approx(1 + tau / 2, abs=0.02)


def test_second_order_needs_fewer_steps():
    """Without corrections x(0) is a linear map of x(1), known in the eigenvectors of C."""
    values, vectors = torch.linalg.eigh(C)
    x = start(50)
    variance = lambda t: df.mu(t) ** 2 * values + df.sigma(t) ** 2  # noqa: E731
    exact = (x @ vectors * (variance(0.0) / variance(1.0)).sqrt()) @ vectors.mT
    gap = lambda steps, order: (  # noqa: E731
        df.sample(gaussian, x, steps=steps, corrections=0, order=order, rng=rng()) - exact
    ).abs().max()
    assert gap(32, 2) < 0.3 * gap(32, 1)
    assert gap(32, 1) / gap(64, 1) == pytest.approx(2, rel=0.25)


def test_moments_give_the_posterior():
    """Equation 13 is exact on a Gaussian: mean and covariance of the Kalman filter."""
    noise = df.moments(gaussian, seen, Y.expand(1, 40000, 2), STD)
    x = df.sample(noise, start(40000), steps=128, corrections=0, rng=rng(1))[0]
    mean, covariance = posterior()
    assert torch.allclose(x.mean(0), mean, atol=0.02)
    assert torch.allclose(x.mT.cov(), covariance, atol=0.02)


def test_moments_equal_the_score_of_the_observations():
    t, x = 0.6, start(5)
    total = df.mu(t) ** 2 * C + df.sigma(t) ** 2 * torch.eye(3, dtype=C.dtype)
    gain = df.mu(t) * C @ torch.linalg.inv(total)
    open_ = C - gain @ total @ gain.mT
    inner = torch.linalg.inv(A @ open_ @ A.mT + torch.diag(STD**2))
    score = (Y - x @ gain.mT @ A.mT) @ inner @ A @ gain
    told = df.moments(gaussian, seen, Y.expand(1, 5, 2), STD, rounds=2)(x, t)
    assert torch.allclose(told, gaussian(x, t) - df.sigma(t) * score)


def test_guidance_is_the_gradient_of_equation_9():
    t, x, gamma = 0.6, start(5), 0.02
    told = df.guided(gaussian, seen, Y.expand(1, 5, 2), STD, gamma=gamma)(x, t)

    def likelihood(x):
        gap = Y - seen(df.denoised(x, gaussian(x, t), t))
        return -0.5 * (gap**2 / (STD**2 + gamma * (df.sigma(t) / df.mu(t)) ** 2)).sum()

    step, i = 1e-6, torch.zeros_like(x)
    i[0, 2, 1] = step
    slope = (likelihood(x + i) - likelihood(x - i)) / (2 * step)
    assert float((gaussian(x, t) - told)[0, 2, 1] / df.sigma(t)) == pytest.approx(float(slope), rel=1e-5)


@pytest.mark.parametrize("add", [lambda *a: df.guided(*a, gamma=0.01), df.moments])
def test_what_is_missing_says_nothing(add):
    nothing = torch.full((1, 5, 2), torch.nan, dtype=C.dtype)
    x = start(5)
    assert torch.equal(add(gaussian, seen, nothing, STD)(x, 0.5), gaussian(x, 0.5))
    part = torch.tensor([0.8, math.nan], dtype=C.dtype).expand(1, 5, 2)
    alone = add(gaussian, lambda x: seen(x)[..., :1], part[..., :1], STD[:1])(x, 0.5)
    assert torch.allclose(add(gaussian, seen, part, STD)(x, 0.5), alone)


def test_samples_do_not_depend_on_each_other():
    noise = df.moments(gaussian, seen, Y.expand(1, 4, 2), STD)
    alone = df.moments(gaussian, seen, Y.expand(1, 1, 2), STD)
    x = start(4)
    assert torch.allclose(noise(x, 0.5)[:, 1:2], alone(x[:, 1:2], 0.5))


def test_blankets():
    """A window tells its middle day, the ends the rest; a series as long as a window is one window."""
    marked = lambda x, t: x + torch.arange(3, dtype=x.dtype).repeat_interleave(2)[:, None, None]  # noqa: E731
    x = torch.zeros(2, 3, 6, 2, 4, 4)
    told = df.blankets(marked, 3)(x, 0.5)
    assert told[1, 2, :, 0, 0, 0].tolist() == [0, 1, 1, 1, 1, 2]
    x = torch.randn(2, 3, 3, 2, 4, 4, generator=rng())
    once = lambda x, t: x.cumsum(2)  # noqa: E731
    assert torch.equal(df.blankets(once, 3)(x, 0.5), once(x.flatten(2, 3), 0.5).unflatten(2, (3, 2)))


def test_blankets_are_exact_for_a_chain():
    """Windows of a Markov chain give nearly the score of the whole chain."""
    days = torch.arange(12)
    whole = 0.6 ** (days[:, None] - days).abs().double()

    def told(covariance):
        def noise(x, t):  # (s, n, days, 1, 1)
            total = df.mu(t) ** 2 * covariance + df.sigma(t) ** 2 * torch.eye(len(covariance), dtype=x.dtype)
            return df.sigma(t) * torch.einsum("ij,snjyx->sniyx", torch.linalg.inv(total), x)

        return noise

    x = torch.randn(1, 4, 12, 1, 1, 1, generator=rng(), dtype=torch.double)
    exact = told(whole)(x.squeeze(3), 0.3).unsqueeze(3)
    gaps = [(df.blankets(told(whole[:k, :k]), k)(x, 0.3) - exact).abs().max() for k in (3, 5, 7)]
    assert gaps[1] < 0.3 * gaps[0]
    assert gaps[2] < 0.02


def test_a_sampling_that_was_killed_goes_on(tmp_path):
    whole = df.sample(gaussian, start(5), steps=20, order=2, corrections=0, rng=rng(1))
    path, calls = tmp_path / "sampling.pt", []

    def killed(x, t):
        calls.append(t)
        if len(calls) > 15:
            raise KeyboardInterrupt
        return gaussian(x, t)

    with pytest.raises(KeyboardInterrupt):
        df.sample(killed, start(5), steps=20, order=2, corrections=0, rng=rng(1), checkpoint=path, every=0)
    with pytest.raises(ValueError, match="another sampling"):
        df.sample(gaussian, start(5), steps=21, order=2, corrections=0, rng=rng(1), checkpoint=path)
    for prior, begin in ((gaussian, start(5) + 1), (lambda x, t: 2 * gaussian(x, t), start(5))):
        with pytest.raises(ValueError, match="another sampling"):
            df.sample(prior, begin, steps=20, order=2, corrections=0, rng=rng(1), checkpoint=path)
    again = df.sample(gaussian, start(5), steps=20, order=2, corrections=0, rng=rng(2), checkpoint=path)
    assert torch.equal(again, whole)
    assert not path.exists()


def test_bad_input():
    with pytest.raises(ValueError, match="expected order 1 or 2"):
        df.sample(gaussian, start(1), steps=4, order=3, rng=rng())
    with pytest.raises(ValueError, match="tau from 0 on"):
        df.sample(gaussian, start(1), steps=4, tau=-0.1, rng=rng())
    with pytest.raises(ValueError, match="gamma is -1"):
        df.guided(gaussian, lambda x: x, start(1), torch.ones(1), gamma=-1)
    with pytest.raises(ValueError, match="give corrections=0"):
        df.sample(gaussian, start(1), steps=4, order=2, rng=rng())
    with pytest.raises(FloatingPointError, match="step 1 of 4: raise gamma"):
        df.sample(lambda x, t: x / 0, start(1), steps=4, rng=rng())
    with pytest.raises(ValueError, match="odd number"):
        df.blankets(gaussian, 4)
    with pytest.raises(ValueError, match="expected 5 or more"):
        df.blankets(gaussian, 5)(torch.zeros(1, 1, 3, 1, 4, 4), 0.5)
