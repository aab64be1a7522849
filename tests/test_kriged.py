"""Assimilation by an emulator: its derivative and its posterior are right, and it finds what a run was made with."""

import pytest
import torch

from latentkit.assimilation import contest, twins
from latentkit.assimilation.kriged import PRIOR, Emulated, kriged
from latentkit.assimilation.observations import at_random
from latentkit.models.train import generator
from latentkit.testbeds import cases

CASE = cases.tsunami(16, width=2e5, outputs=5)
LIBRARY = CASE.draw(24, generator(0, "library"))
SIDE = CASE.side


@pytest.fixture(scope="module")
def made():
    return Emulated(CASE, LIBRARY)


@pytest.fixture(scope="module")
def twin():
    deviation = cases.deviations(CASE.trajectories(LIBRARY))
    return twins.twin(CASE, deviation, 2, 6, lambda name: generator(1, name))


def observed(twin, noise):
    network = at_random([0.0, 0.0], [SIDE, SIDE], 12, CASE.times[1:].float(), [2], generator(0, "places"))
    return twin.observed(network, noise, generator(0, "noise"))


def test_what_a_run_was_made_with_is_found(made, twin):
    obs = observed(twin, 0.01)
    u, P = made.fitted(obs)
    true = CASE.scaled(twin.parameters)
    assert (u - true).abs().max() < 0.05 and (CASE.scaled(twin.background) - true[:, None]).abs().mean() > 0.3
    # The least of J: a step of any kind raises it, by P's inverse.
    Y = twins.observed_fields(CASE, made.runs, obs)
    s = (obs.std.square() + (made.left @ Y).square().mean(0)).sqrt()

    def cost(u):
        return 0.5 * (((obs.value - made.weights(u) @ Y) / s).square().sum(-1) + PRIOR * u.square().sum(-1)).double()

    for direction in torch.eye(2):
        for row in range(2):
            size = 3 * float(direction @ P[row] @ direction) ** 0.5
            there = [cost(u + sign * size * direction)[row] - cost(u)[row] for sign in (1, -1)]
            curvature = size**2 * float(direction @ torch.linalg.inv(P[row]) @ direction)
            assert min(there) > 0 and abs(float(sum(there)) / curvature - 1) < 0.3


def test_members_are_about_the_answer(made, twin):
    u, P = made.fitted(observed(twin, 0.1))
    drawn, weights = made.drawn(u, 1e-4 * torch.eye(2).expand(2, 2, 2), 400, generator(0, "draws"))
    torch.testing.assert_close(drawn.mean(1), u, atol=1e-4, rtol=0)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 400), atol=1e-4, rtol=0)
    torch.testing.assert_close(weights.mean(1), made.weights(u), atol=2e-2, rtol=0)  # what is left cancels
    assert made.drawn(u, P, 5, generator(0, "draws"))[0].shape == (2, 5, 2)


def test_it_is_a_method_like_others(twin):
    obs = observed(twin, 0.1)
    found = kriged(CASE, LIBRARY)["kriged runs"].run(twin, obs, generator(0, "draws"))
    row, _ = contest.summary(twin, found, CASE.times[-1:].tolist(), 1)
    assert row["error"] < 0.1 and row["parameters"] < 0.05 and row["reason"] == ""
    assert found.path[0].shape == (2, 6, *CASE.shape) and len(found.path) == len(CASE.times)
