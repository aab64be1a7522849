"""Waves: orthonormal, without divergence, and copies of a run are runs of the same law."""

import math

import pytest
import torch

from latentkit.models.train import generator
from latentkit.models.waves import moved, waves
from latentkit.testbeds.kolmogorov import WAVENUMBER, Kolmogorov

SYSTEM = Kolmogorov(24)
START = SYSTEM.start(3, generator(0, "waves"))


def test_waves_are_orthonormal_and_without_divergence():
    modes, k = waves(24, 30)
    assert len(modes.core) == 2 * len(k) == sum(0 < y * y + x * x < 30 for y in range(-5, 6) for x in range(-5, 6))
    each = modes.fields(torch.eye(2 * len(k)))
    torch.testing.assert_close(modes.coefficients(each), torch.eye(2 * len(k)), atol=1e-5, rtol=0)
    torch.testing.assert_close(SYSTEM.velocity(SYSTEM.vorticity(each)), each, atol=2e-5, rtol=0)  # else it loses some
    assert (k.square().sum(1).diff() >= 0).all()


def test_all_waves_that_a_solver_holds_are_its_velocity():
    velocity = SYSTEM.velocity(START)
    modes, _ = waves(24, 24**2 / 9)
    c = modes.coefficients(velocity)
    torch.testing.assert_close(modes.fields(c), velocity, atol=1e-5, rtol=0)
    torch.testing.assert_close(c.square().sum(1), velocity.square().sum(1).mean((1, 2)))


@pytest.mark.parametrize("turned", [False, True])
def test_copies_are_shifted_and_turned_fields(turned):
    velocity = SYSTEM.velocity(START)
    modes, k = waves(24, 64)
    shift = torch.tensor([5, 3])
    expected = -velocity.flip(-1, -2).roll((1, 1), (-2, -1)) if turned else velocity  # x to -x takes point i to -i
    expected = expected.roll((5, 3), (-2, -1))
    c = moved(modes.coefficients(velocity), k, shift * 2 * math.pi / 24, torch.tensor(turned))
    torch.testing.assert_close(modes.fields(c), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("across", "same"), [(1, True), (0.5, False)])
def test_only_copies_that_the_force_allows_are_runs(across, same):
    modes, k = waves(24, 64)
    shift = torch.tensor([across * 2 * math.pi / WAVENUMBER, 1.234])

    def copy(state):
        c = moved(modes.coefficients(SYSTEM.velocity(state)), k, shift, torch.tensor(True))
        return SYSTEM.vorticity(modes.fields(c))

    later, other = copy(SYSTEM.advance(START, 10, 40.0)), SYSTEM.advance(copy(START), 10, 40.0)
    assert bool((later - other).abs().max() < 1e-4 * later.abs().max()) is same


@pytest.mark.parametrize("limit", [0.5, 200])
def test_waves_that_are_none_or_not_resolved_are_refused(limit):
    with pytest.raises(ValueError, match=r"\|k\|\^2 <"):
        waves(24, limit)
