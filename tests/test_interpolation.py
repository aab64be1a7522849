"""Kriging against scikit-learn's process with the same kernel; inverse distance by hand."""

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor, kernels

from latentkit.models import interpolation


def places(n, seed=0):
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    return x / x.norm(dim=1, keepdim=True)


def smooth(x, times, kernel, seed=0):
    lower = torch.linalg.cholesky(interpolation.covariance(kernel, x, x) + 1e-8 * torch.eye(len(x)))
    white = torch.randn(len(x), times, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    return lower @ white


KERNEL = interpolation.Kernel(2.0, 0.4, 0.05)


def test_kriging_is_that_of_scikit_learn():
    x, new = places(40), places(15, 1)
    y = smooth(x, 3, KERNEL)
    form = kernels.ConstantKernel(2.0) * kernels.Matern(0.4, nu=1.5) + kernels.WhiteKernel(0.05)
    peer = GaussianProcessRegressor(form, optimizer=None).fit(x.numpy(), y.numpy())
    expected, spread = peer.predict(new.numpy(), return_std=True)
    mean, variance = interpolation.krige(KERNEL, new, x, y)
    np.testing.assert_allclose(mean.numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(variance.numpy()[:, 0], spread[:, 0] ** 2, rtol=1e-5)


def test_the_kernel_is_found_again():
    x = places(300)
    y = smooth(x, 24, KERNEL) + 0.05**0.5 * torch.randn(300, 24, generator=torch.Generator().manual_seed(5))
    found = interpolation.fit_kernel(x, y, np.random.default_rng(0))
    assert found.variance == pytest.approx(2.0, rel=0.25)
    assert found.length == pytest.approx(0.4, rel=0.15)
    assert found.nugget == pytest.approx(0.05, rel=0.3)
    with pytest.raises(ValueError, match="nothing to fit"):
        interpolation.fit_kernel(x, 0 * y, np.random.default_rng(0))


def test_variance_is_right_where_the_kernel_is():
    x = places(400)
    y = smooth(x, 50, KERNEL) + 0.05**0.5 * torch.randn(400, 50, generator=torch.Generator().manual_seed(5))
    mean, variance = interpolation.krige(KERNEL, x[100:], x[:100], y[:100])
    assert ((y[100:] - mean).square() / variance).mean().item() == pytest.approx(1, abs=0.1)


def test_inverse_distance_weights_the_nearest():
    x = torch.nn.functional.normalize(torch.tensor([[1.0, 0, 0], [1, 0.1, 0], [1, -0.2, 0], [0, 0, 1], [1, 0, 0.0001]]))
    y = torch.tensor([[9.0], [1.0], [2.0], [50.0], [7.0]])
    y[0] = float("nan")  # not observed
    found = interpolation.inverse_distance(x, y, torch.tensor([1, 2, 3]), neighbors=2)
    a, b = ((x[0] - x[i]).square().sum() for i in (1, 2))
    assert found[0].item() == pytest.approx(float((1 / a + 2 / b) / (1 / a + 1 / b)))
    exact = interpolation.inverse_distance(x, y, torch.tensor([1, 2, 3, 4]), neighbors=2)[0].item()
    assert exact == pytest.approx(7, abs=1e-3)
