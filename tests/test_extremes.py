"""Generalized extreme values: scipy's, to rounding also near shape 0; derivatives; the divergence is an integral."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from latentkit.models import extremes
from latentkit.models.train import generator

SHAPES = [-0.5, -0.2, -0.11, -0.0999, -1e-3, -1e-7, 0.0, 1e-7, 1e-3, 0.05, 0.0999, 0.11, 0.3, 0.45]


def tensors(*values):
    return [torch.tensor(v, dtype=torch.double) for v in values]


@pytest.mark.parametrize("shape", SHAPES)
def test_all_is_scipy_s(shape):
    mu, s, x = tensors(0.7, 1.3, shape)
    theirs = stats.genextreme(-shape, 0.7, 1.3)
    u = torch.linspace(0.01, 0.999, 40, dtype=torch.double)
    z = extremes.quantile(u, mu, s, x)
    np.testing.assert_allclose(z, theirs.ppf(u), rtol=1e-7)
    np.testing.assert_allclose(extremes.log_density(z, mu, s, x), theirs.logpdf(z), rtol=1e-6)
    np.testing.assert_allclose(extremes.entropy(s, x), theirs.entropy(), rtol=1e-9)
    first = integrate.quad(theirs.ppf, 0, 1, limit=500)[0]
    np.testing.assert_allclose(extremes.mean(mu, s, x), first, rtol=1e-6)
    if shape < 0.3:  # beyond, the integral of the square does not converge well
        second = integrate.quad(lambda u: (theirs.ppf(u) - first) ** 2, 0, 1, limit=500)[0]
        np.testing.assert_allclose(extremes.variance(s, x), second, rtol=1e-5)
    else:
        g = [math.gamma(1 - k * shape) for k in (1, 2)]
        np.testing.assert_allclose(extremes.variance(s, x), 1.3**2 * (g[1] - g[0] ** 2) / shape**2)


@pytest.mark.parametrize("shape", [-0.4, -1e-5, 0.0, 0.05, 0.2])
def test_the_divergence_is_the_integral_of_its_definition(shape):
    mu, s = tensors(-0.2, 0.7)
    theirs = stats.genextreme(-shape, -0.2, 0.7)
    low, high = theirs.ppf([1e-13, 1 - 1e-13])
    integrand = lambda z: theirs.pdf(z) * (theirs.logpdf(z) - stats.norm.logpdf(z))  # noqa: E731
    expected = integrate.quad(integrand, low, min(high, 400), limit=2000)[0]
    np.testing.assert_allclose(extremes.divergence(mu, s, shape), expected, rtol=2e-3)


@pytest.mark.parametrize(("shape", "least"), [(-0.5, 0.054), (0.0, 0.091), (0.2, 0.330)])
def test_the_divergence_is_never_zero(shape, least):
    mu, log_s = (torch.zeros((), dtype=torch.double, requires_grad=True) for _ in range(2))
    optimizer = torch.optim.LBFGS([mu, log_s], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = extremes.divergence(mu, log_s.exp(), shape)
        loss.backward()
        return loss

    assert optimizer.step(closure).item() > least
    assert abs(closure().item() - least) < 6e-4


@pytest.mark.parametrize("shape", [-0.5, -0.1, 0.0, 1e-6, 0.1, 0.3])
def test_derivatives_are_those_of_differences(shape):
    values = [v.requires_grad_() for v in tensors([0.1, -1.0], [0.5, 2.0], [shape, shape])]
    draw = lambda mu, s, x: extremes.sample(mu, s, x, generator(0, "draw"))  # noqa: E731
    for function in (draw, extremes.mean, extremes.divergence, extremes.moment_divergence):
        assert torch.autograd.gradcheck(function, values, atol=1e-6)
    assert torch.autograd.gradcheck(extremes.variance, values[1:], atol=1e-6)


def test_single_precision_keeps_its_digits_near_zero():
    x = torch.tensor([-1e-6, -1e-9, 0.0, 1e-9, 1e-6])
    one = torch.ones(5)
    torch.testing.assert_close(extremes.mean(0 * one, one, x), extremes.EULER * one, rtol=1e-5, atol=0)
    torch.testing.assert_close(extremes.variance(one, x), math.pi**2 / 6 * one, rtol=1e-5, atol=0)
    torch.testing.assert_close(extremes.quantile(0.9 * one, 0.0, 1.0, x), 2.2503674 * one, rtol=1e-5, atol=0)


@pytest.mark.parametrize("shape", [-0.5, 0.0, 0.2])
def test_samples_are_distributed_so(shape):
    mu = torch.full((200_000,), 0.3)
    z = extremes.sample(mu, torch.tensor(0.5), shape, generator(0, "many")).double().numpy()
    assert stats.kstest(z, stats.genextreme(-shape, 0.3, 0.5).cdf).statistic < 4e-3


def test_the_moment_version_is_a_gaussian_scaled_by_the_variance():
    mu, s = torch.full((200_000,), 0.3), torch.tensor(0.8)
    z = extremes.moment_sample(mu, s, -0.5, generator(0, "many")).double()
    deviation = float(extremes.variance(s, -0.5))
    assert abs(float(z.std()) - deviation) < 5e-3
    assert abs(stats.skew(z.numpy())) < 0.02  # that of the distribution itself is -0.63
    theirs = torch.distributions.kl_divergence(
        torch.distributions.Normal(extremes.mean(mu[0], s, -0.5), deviation), torch.distributions.Normal(0.0, 1.0)
    )
    torch.testing.assert_close(extremes.moment_divergence(mu[0], s, -0.5), theirs)


def test_no_value_is_likely_beyond_an_end():
    z = torch.tensor([1.9, 2.1])  # the end of shape -0.5 is at 2
    assert extremes.log_density(z, 0.0, 1.0, -0.5).isfinite().tolist() == [True, False]


def test_shapes_and_bounds_that_leave_no_variance_are_refused():
    one = torch.ones(2)
    with pytest.raises(ValueError, match="shapes reach 0.5; expected less than 0.5"):
        extremes.divergence(one, one, 0.5)
    with pytest.raises(ValueError, match="shapes reach 1.2; expected less than 1"):
        extremes.mean(one, one, 1.2)
    for bounds in ((0.1, 0.1), (0.0, 0.6)):
        with pytest.raises(ValueError, match="bounds of shapes"):
            extremes.bounded(one, *bounds)
    assert extremes.bounded(torch.tensor([-50.0, 0.0, 50.0])).tolist() == pytest.approx([-0.5, -0.05, 0.4])
    with pytest.raises(ValueError, match="expected above 0 and below 1"):
        extremes.quantile(torch.tensor([0.0, 0.5]), 0.0, 1.0, 0.1)
