"""Lorenz's systems: their invariants, the order of the integrator, and each member for itself."""

import pytest
import torch

from latentkit.testbeds.lorenz import Lorenz63, Lorenz96, rk4

G = torch.Generator().manual_seed(0)


def test_the_ring_neither_makes_nor_loses_energy_by_advection():
    x = torch.randn(3, 40, generator=G, dtype=torch.double)
    system = Lorenz96()
    change = (x * system.tendency(x)).sum(-1)
    torch.testing.assert_close(change, (-x.square() + 8 * x).sum(-1))
    torch.testing.assert_close(system.tendency(x.roll(5, -1)), system.tendency(x).roll(5, -1))


def test_equation_1_term_by_term():
    x = torch.randn(6, generator=G, dtype=torch.double)
    found = Lorenz96(6, forcing=3.0).tendency(x)
    for i in range(6):
        assert found[i] == pytest.approx(((x[(i + 1) % 6] - x[i - 2]) * x[i - 1] - x[i] + 3).item())


def test_rest_is_a_solution_and_the_published_start_leaves_it():
    system = Lorenz96()
    rest = torch.full((40,), 8.0, dtype=torch.double)
    torch.testing.assert_close(system.advance(rest, 10), rest)
    late = system.advance(system.start(rest), 400)
    assert late.abs().max() < 20 and late.std() > 2


def test_the_integrator_is_of_fourth_order():
    system = Lorenz63()
    x = system.start(torch.zeros((), dtype=torch.double))
    exact = rk4(system.tendency, x, 0.2 / 512, 512)
    errors = [(rk4(system.tendency, x, 0.2 / n, n) - exact).abs().max().item() for n in (16, 32)]
    assert 12 < errors[0] / errors[1] < 20


def test_members_go_side_by_side_each_with_its_forcing():
    system, x = Lorenz96(8), torch.randn(4, 8, generator=G, dtype=torch.double)
    forcing = torch.tensor([2.0, 4.0, 8.0, 10.0], dtype=torch.double)
    together = system.trajectory(x, 20, 5, forcing)
    assert together.shape == (5, 4, 8)
    for i in range(4):
        torch.testing.assert_close(together[-1, i], system.advance(x[i], 20, float(forcing[i])))
    with pytest.raises(ValueError, match="the system has 8 variables"):
        system.advance(torch.zeros(3, 9))
    with pytest.raises(ValueError, match="not a multiple"):
        system.trajectory(x, 7, 2)
    with pytest.raises(ValueError, match="4 or more"):
        Lorenz96(3)


def test_butterflies_go_side_by_side_each_with_its_parameters():
    system = Lorenz63()
    x = torch.randn(2, 3, 3, generator=G, dtype=torch.double) + system.start(torch.zeros((), dtype=torch.double))
    rayleigh = torch.tensor([20.0, 24.0, 28.0], dtype=torch.double)
    together = system.trajectory(x, 20, 10, prandtl=9.0, rayleigh=rayleigh)
    for i in range(3):
        one = Lorenz63(prandtl=9.0, rayleigh=float(rayleigh[i]))
        torch.testing.assert_close(together[:, :, i], one.trajectory(x[:, i], 20, 10))
    torch.testing.assert_close(system.advance(x, 5), system.advance(x, 5, 10.0, 28.0, 8 / 3))


def test_the_gradient_is_that_of_finite_differences():
    system = Lorenz96(5)
    x = torch.randn(5, generator=G, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda y: system.advance(y, 3), (x,))
