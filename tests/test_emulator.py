"""The emulator is a Gaussian process in the parameters: it agrees with scikit-learn's, and with leaving runs out."""

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

from latentkit.models import emulator

RNG = torch.Generator().manual_seed(0)
KNOWN = 2 * torch.rand(20, 2, generator=RNG, dtype=torch.double) - 1
WANTED = 2 * torch.rand(6, 2, generator=RNG, dtype=torch.double) - 1


def smooth(u):  # (n, 2) -> (n, 30)
    waves = torch.linspace(0.5, 1.5, 30, dtype=torch.double)
    return torch.sin(u[:, :1] * waves) + torch.cos(2 * u[:, 1:] * waves)


def test_it_is_a_gaussian_process():
    y = smooth(KNOWN)
    share = emulator.shares(KNOWN, WANTED, 0.7, 1e-6)
    torch.testing.assert_close(share.sum(1), torch.ones(6, dtype=torch.double))
    other = GaussianProcessRegressor(RBF(0.7), alpha=1e-6, optimizer=None).fit(KNOWN.numpy(), (y - y.mean(0)).numpy())
    np.testing.assert_allclose(share @ y, other.predict(WANTED.numpy()) + y.mean(0).numpy(), atol=1e-6)
    torch.testing.assert_close(emulator.shares(KNOWN, KNOWN, 0.7, 1e-12) @ y, y, atol=1e-5, rtol=0)


def test_slopes_are_derivatives():
    found, jacobian = emulator.slopes(KNOWN, WANTED, 0.7, 1e-6), torch.autograd.functional.jacobian
    for i, u in enumerate(WANTED):
        exact = jacobian(lambda u: emulator.shares(KNOWN, u[None], 0.7, 1e-6)[0], u)  # (n, q)
        torch.testing.assert_close(found[i], exact.mT, atol=1e-7, rtol=1e-6)


def test_runs_left_out_choose_length_and_nugget():
    y = smooth(KNOWN)
    mean, lengths, nuggets = y.mean(0), (0.2, 0.7, 2.0), (1e-8, 1e-3)
    errors = {}
    for length in lengths:
        for nugget in nuggets:
            gap = []
            for i in range(len(KNOWN)):
                rest = torch.arange(len(KNOWN)) != i
                gp = GaussianProcessRegressor(RBF(length), alpha=nugget, optimizer=None)
                gp.fit(KNOWN[rest].numpy(), (y - mean)[rest].numpy())
                gap.append(gp.predict(KNOWN[i : i + 1].numpy())[0] + mean.numpy() - y[i].numpy())
            errors[length, nugget] = np.square(gap).mean()
    assert emulator.chosen(KNOWN, y, lengths, nuggets) == min(errors, key=errors.get)
    found = emulator.shares(KNOWN, WANTED, *emulator.chosen(KNOWN, y)) @ y
    assert (found - smooth(WANTED)).norm() < 0.02 * smooth(WANTED).norm()


def test_parameters_and_runs_go_together():
    with pytest.raises(ValueError, match="20 parameters and 19 runs; expected as many"):
        emulator.chosen(KNOWN, smooth(KNOWN)[:19])
