"""The emulator is ordinary kriging in the parameters: it agrees with the system solved whole, and with leaving out."""

import pytest
import torch

from latentkit.models.emulator import Kriging

RNG = torch.Generator().manual_seed(0)
KNOWN = 2 * torch.rand(20, 2, generator=RNG, dtype=torch.double) - 1
WANTED = 2 * torch.rand(6, 2, generator=RNG, dtype=torch.double) - 1


def smooth(u):  # (n, 2) -> (n, 30)
    waves = torch.linspace(0.5, 1.5, 30, dtype=torch.double)
    return torch.sin(u[:, :1] * waves) + torch.cos(2 * u[:, 1:] * waves)


def whole(known, wanted, length, nugget):  # (m, n): with a Lagrange multiplier for the unknown mean
    kernel = lambda a, b: torch.exp(-0.5 * (a[:, None] - b).square().sum(-1) / length**2)  # noqa: E731
    n = len(known)
    left = torch.ones(n + 1, n + 1, dtype=torch.double)
    left[:n, :n] = kernel(known, known) + nugget * torch.eye(n, dtype=torch.double)
    left[n, n] = 0
    right = torch.cat([kernel(known, wanted), torch.ones(1, len(wanted), dtype=torch.double)])
    return torch.linalg.solve(left, right)[:n].mT


def test_it_is_ordinary_kriging():
    share = Kriging(KNOWN, 0.7, 1e-5).shares(WANTED)
    torch.testing.assert_close(share, whole(KNOWN, WANTED, 0.7, 1e-5), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(share.sum(1), torch.ones(6, dtype=torch.double))
    y = smooth(KNOWN)
    torch.testing.assert_close(Kriging(KNOWN, 0.7, 1e-10).shares(KNOWN) @ y, y, atol=1e-5, rtol=0)


def test_slopes_are_derivatives():
    kernel = Kriging(KNOWN, 0.7, 1e-6)
    found, jacobian = kernel.slopes(WANTED), torch.autograd.functional.jacobian
    for i, u in enumerate(WANTED):
        exact = jacobian(lambda u: kernel.shares(u[None])[0], u)  # (n, q)
        torch.testing.assert_close(found[i], exact.mT, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("length", [0.02, 0.7, 2.0])
def test_what_others_leave_of_a_run(length):
    y = smooth(KNOWN)
    found = Kriging(KNOWN, length, 1e-4).left @ y
    for i in range(len(KNOWN)):
        rest = torch.arange(len(KNOWN)) != i
        gap = y[i] - (whole(KNOWN[rest], KNOWN[i : i + 1], length, 1e-4) @ y[rest])[0]
        torch.testing.assert_close(found[i], gap, atol=1e-7, rtol=1e-6)


def test_length_and_nugget_are_those_that_leave_least():
    y, lengths, nuggets = smooth(KNOWN), (0.2, 0.7, 2.0), (1e-8, 1e-3)
    size = {(a, b): float((Kriging(KNOWN, a, b).left @ y).square().mean()) for a in lengths for b in nuggets}
    kernel = Kriging.fit(KNOWN, y, lengths, nuggets)
    assert (kernel.length, kernel.nugget) == min(size, key=size.get)
    found = Kriging.fit(KNOWN, y).shares(WANTED) @ y
    assert (found - smooth(WANTED)).norm() < 0.02 * smooth(WANTED).norm()


def test_bad_runs_are_refused():
    y = smooth(KNOWN)
    with pytest.raises(ValueError, match="20 rows of parameters and 19 of values; expected one of each"):
        Kriging.fit(KNOWN, y[:19])
    with pytest.raises(ValueError, match="two runs or more"):
        Kriging.fit(KNOWN[:1], y[:1])
    y[7, 3] = torch.nan
    with pytest.raises(ValueError, match="run 7 has values that are not finite; leave it out"):
        Kriging.fit(KNOWN, y)
