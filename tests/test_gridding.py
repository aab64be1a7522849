"""Fields of observations alone: exact for what a spline holds, without seams, and the better the more sensors."""

import math

import pytest
import torch

from latentkit.assimilation.gridding import gridded, weights
from latentkit.assimilation.observations import Network, Observations, at_random, everywhere
from latentkit.models.train import generator
from latentkit.testbeds import cases

FLOW = cases.flow(16, generator(0, "start"), outputs=4)
TSUNAMI = cases.tsunami(12, width=2e5, outputs=4)
PLANET = cases.planet(16, generator(0, "start"), days=1)
LOW = {"flow": (0, 0), "tsunami": (0, 0), "planet": (-85, 0)}
HIGH = {"flow": (6.28, 6.28), "tsunami": (1e6, 1e6), "planet": (85, 360)}
every_case = pytest.mark.parametrize("case", [FLOW, TSUNAMI, PLANET], ids=lambda case: case.name)


def scattered(case, n, words="where"):
    low, high = (torch.tensor(ends[case.name], dtype=torch.float32) for ends in (LOW, HIGH))
    return low + (high - low) * torch.rand(n, 2, generator=generator(0, words))


def seen(network, value):
    return Observations(*network, value, torch.ones(value.shape[-1]))


@every_case
@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_a_constant_is_a_constant(case, n):
    assert weights(case, scattered(case, n)).sum(0).sub(1).abs().max() < 1e-4
    row = scattered(case, n)
    row[:, 0] = 0.0  # on a line: of one row, or along the equator
    assert weights(case, row).sum(0).sub(1).abs().max() < 1e-4


def test_a_plane_is_a_plane():
    where = scattered(TSUNAMI, 12)
    plane = lambda x: 2 + 3e-6 * x[:, 0] - 5e-6 * x[:, 1]  # noqa: E731
    found = plane(where) @ weights(TSUNAMI, where).float()
    torch.testing.assert_close(found, plane(torch.cartesian_prod(*TSUNAMI.axes)), rtol=1e-3, atol=1e-4)


@every_case
def test_sensors_at_grid_points_are_believed(case):
    grid = torch.cartesian_prod(*case.axes)
    rows = torch.arange(3, len(grid), 11)
    torch.testing.assert_close(weights(case, grid[rows])[:, rows], torch.eye(len(rows)).double(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("case, turns", [(FLOW, 2), (PLANET, 1)], ids=["flow", "planet"])
def test_there_is_no_seam(case, turns):
    """Sensors and fields that are moved along a periodic coordinate remain what they are."""
    where, step = scattered(case, 15), 5
    still = weights(case, where).unflatten(1, case.shape[1:])
    for axis in (0, 1)[-turns:]:
        moved = where.clone()
        moved[:, axis] = (moved[:, axis] + step * float(case.axes[axis][1] - case.axes[axis][0])) % case.periods[axis]
        again = weights(case, moved).unflatten(1, case.shape[1:])
        torch.testing.assert_close(again, still.roll(step, 1 + axis), rtol=1e-3, atol=1e-4)


def test_two_at_one_point_count_by_their_mean():
    where = scattered(TSUNAMI, 9)
    once, twice = weights(TSUNAMI, where), weights(TSUNAMI, torch.cat([where, where[:1]]))
    torch.testing.assert_close(twice[0], once[0] / 2, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(twice[[0, 9]].sum(0), once[0], rtol=1e-4, atol=1e-5)


def test_more_sensors_are_better():
    truth = FLOW.trajectories(torch.tensor([[800.0], [1200.0]]))  # (t, R, c, y, x)
    errors = []
    for n in (4, 10, 16):
        network = everywhere(torch.cartesian_prod(*(torch.arange(n) * 2 * math.pi / n,) * 2), FLOW.times[1:], [0, 1])
        look = FLOW.points(network.rows(network.time == network.time[0]))
        value = torch.cat([look(fields) for fields in truth[1:]], -1)
        found = gridded(FLOW, seen(network, value))
        assert found.shape == truth.shape
        errors.append(float((found - truth)[1:].norm() / truth[1:].norm()))
    assert errors[0] > 1.5 * errors[1] > 100 * errors[2], errors


def test_moving_sensors_are_seen_where_they_are():
    times = FLOW.times[1:].float()
    network = at_random((0, 0), (6.28, 6.28), 7, times, [1, 0], generator(1, "moving"))
    value = torch.randn(2, len(network.time), generator=generator(1, "value"))
    found = gridded(FLOW, seen(network, value))
    for output in (1, 3):
        for channel in (0, 1):
            rows = (network.time == times[output - 1]) & (network.channel == channel)
            expected = (value[:, rows] @ weights(FLOW, network.where[rows]).float()).unflatten(1, (16, 16))
            torch.testing.assert_close(found[output, :, channel], expected)


def test_between_observed_outputs_is_a_line_and_beyond_them_nothing_changes():
    h = FLOW.interval
    network = Network(torch.tensor([0.9, 3.2]) * h, torch.zeros(2, 2), torch.tensor([0, 0]))
    found = gridded(FLOW, seen(network, torch.tensor([[2.0, 6.0]])))
    assert found[:, 0, 0, 3, 5].tolist() == pytest.approx([2, 2, 4, 6, 6])
    assert found[:, 0, 1].isnan().all()
