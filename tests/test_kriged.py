"""Assimilation by an emulator: its least J is the least, its posterior covers truths, at the ends of the range too."""

import pytest
import torch

from latentkit.assimilation import contest, twins
from latentkit.assimilation.kriged import PRIOR, Emulated, kriged
from latentkit.assimilation.observations import Observations, at_random
from latentkit.models.train import generator
from latentkit.testbeds import cases

CASE = cases.tsunami(16, width=1.5e5, outputs=5)
LIBRARY = CASE.draw(24, generator(0, "library"))
DEVIATION = cases.deviations(CASE.trajectories(LIBRARY))


@pytest.fixture(scope="module")
def made():
    return Emulated(CASE, LIBRARY)


def observed(parameters, noise, count=200):
    ends = [0.0, 0.0], [CASE.side, CASE.side]
    network = at_random(*ends, count, CASE.times[1:].float(), range(3), generator(0, "places"))
    truth = CASE.trajectories(parameters)
    twin = twins.Twin(CASE, DEVIATION, parameters, truth, parameters[:, None].expand(-1, 7, -1))
    return twin, twin.observed(network, noise, generator(0, "noise"))


def cost(made, obs, u):  # (R, q) -> (R)
    Y = twins.observed_fields(CASE, made.runs, obs).double()
    variance = obs.std.double().square() + (made.left.double() @ Y).square().mean(0)
    gap = obs.value.double() - made.weights(u).double() @ Y
    return 0.5 * (gap.square() / variance).sum(-1) + 0.5 * PRIOR * u.double().square().sum(-1)


@pytest.mark.parametrize("noise", [0.1, 0.5])
def test_no_point_of_the_range_has_a_smaller_cost(made, noise):
    parameters = CASE.draw(12, generator(0, "truths"))
    parameters[:4, 0], parameters[4:6] = CASE.high[0], CASE.low  # on an edge, and in a corner
    _, obs = observed(parameters, noise, 20)
    u, P = made.fitted(obs)
    best = cost(made, obs, u)
    steps = torch.cartesian_prod(*[torch.linspace(-0.2, 0.2, 9)] * 2)
    for step in torch.cat([steps, 0.05 * steps]):
        assert (cost(made, obs, (u + step).clamp(-1, 1)) > best - 1e-2).all()


@pytest.mark.parametrize("noise", [0.1, 0.01])
def test_truths_are_as_far_as_is_said(made, noise):
    low, high = CASE.low + 0.1 * (CASE.high - CASE.low), CASE.high - 0.1 * (CASE.high - CASE.low)
    parameters = low + (high - low) * torch.rand(60, 2, generator=generator(1, "truths"))
    _, obs = observed(parameters, noise)
    u, P = made.fitted(obs)
    off = (u - CASE.scaled(parameters))[..., None]
    square = (off.mT @ torch.linalg.inv(P) @ off).flatten()  # of a chi-squared variable of two degrees
    assert 0.6 < float(square.median()) / 1.39 < 1.7 and float((square > 9).float().mean()) < 0.15


def test_without_observations_nothing_is_known(made):
    none = Observations(torch.zeros(0), torch.zeros(0, 2), torch.zeros(0).long(), torch.zeros(3, 0), torch.zeros(0))
    u, P = made.fitted(none)
    torch.testing.assert_close(u, torch.zeros(3, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(P, torch.eye(2).expand(3, 2, 2) / PRIOR)


@pytest.mark.parametrize("members", [6, 7])
def test_members_are_about_the_answer(made, members):
    _, obs = observed(CASE.draw(2, generator(3, "truths")), 0.1, 20)
    u, P = made.fitted(obs)
    drawn, weights = made.drawn(0.5 * u, 1e-4 * P, members, generator(0, "draws"))
    torch.testing.assert_close(drawn.mean(1), 0.5 * u, atol=1e-5, rtol=0)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, members), atol=1e-4, rtol=0)
    torch.testing.assert_close(weights.mean(1), made.weights(drawn).mean(1), atol=1e-4, rtol=0)  # what is left cancels
    assert (weights - made.weights(drawn)).abs().amax() > 0.1


def test_it_is_a_method_like_others():
    twin, obs = observed(CASE.draw(2, generator(4, "truths")), 0.1)
    found = kriged(CASE, LIBRARY)["kriged runs"].run(twin, obs, generator(0, "draws"))
    row, _ = contest.summary(twin, found, CASE.times[-1:].tolist(), 1)
    assert row["error"] < 0.1 and row["parameters"] < 0.05 and row["reason"] == ""
    assert found.path[0].shape == (2, 7, *CASE.shape) and len(found.path) == len(CASE.times)
    with pytest.raises(ValueError, match="has not a finite value"):
        kriged(CASE, LIBRARY)["kriged runs"].run(twin, obs._replace(value=obs.value * torch.nan), generator(0, "draws"))
