"""The three twin experiments: what they make is what their testbeds make, and is seen alike as fields and as states."""

import pytest
import torch

from latentkit.assimilation.observations import Network, everywhere
from latentkit.models.train import generator
from latentkit.testbeds import cases

CASES = {
    "flow": cases.flow(16, generator(0, "start"), outputs=3),
    "tsunami": cases.tsunami(12, width=2e5, outputs=4),
    "planet": cases.planet(14, generator(0, "start"), days=1),
}
each = pytest.mark.parametrize("name", CASES)


@each
def test_trajectories_have_the_case_s_times_and_grid(name):
    case = CASES[name]
    parameters = case.draw(3, generator(0, "p"))
    made = case.trajectories(parameters)
    assert made.shape == (len(case.times), 3, *case.shape) and made.isfinite().all()
    assert ((parameters >= case.low) & (parameters <= case.high)).all()
    torch.testing.assert_close(case.unscaled(case.scaled(parameters)), parameters)
    assert float(case.weights.mean()) == pytest.approx(1)
    assert [len(a) for a in case.axes] == list(case.shape[1:]) and len(case.channels) == case.shape[0]


@each
def test_full_states_forecast_to_the_same_fields(name):
    case = CASES[name]
    parameters = case.draw(2, generator(1, "p"))
    made = case.trajectories(parameters)
    own = parameters if case.joint.parameters else parameters[:, :0]
    E = case.joint.pack(case.begin(parameters), own)
    E = case.joint.forecast(E, 0.0, float(case.times[-1]))
    low, high = (torch.tensor([float(a[0]) for a in case.axes]), torch.tensor([float(a[-1]) for a in case.axes]))
    points = low + (high - low) * torch.rand(20, 2, generator=generator(2, "points"))
    net = everywhere(points, case.times[-1:], range(case.shape[0]))
    scale = made[-1].abs().max()
    torch.testing.assert_close(case.joint.observe(E, net), case.points(net)(made[-1]), atol=2e-4 * float(scale), rtol=0)


@each
def test_points_of_the_grid_show_the_grid(name):
    case = CASES[name]
    made = case.trajectories(case.draw(2, generator(3, "p")))[-1]
    c = case.shape[0] - 1 if name == "tsunami" else 0  # the surface: velocities stand half a cell off
    where = torch.stack([case.axes[0][3:6], case.axes[1][2:5]], 1)
    net = Network(torch.zeros(3), where, torch.full((3,), c))
    expected = made[:, c, [3, 4, 5], [2, 3, 4]]
    torch.testing.assert_close(case.points(net)(made), expected, atol=1e-3 * float(expected.abs().max()), rtol=0)


def test_interpolation_between_trajectories_is_linear_in_parameters():
    for name in ("flow", "planet"):
        case = CASES[name]
        known, wanted = case.draw(30, generator(4, "p")), case.draw(8, generator(5, "p"))
        rows, share = cases.between(case, known, wanted)
        torch.testing.assert_close(share.sum(1), torch.ones(8))
        inside = share[:, 1] > 0
        assert inside.sum() >= 4
        found = (known[rows] * share[..., None]).sum(1)
        torch.testing.assert_close(found[inside], wanted[inside], rtol=1e-4, atol=1e-4)
    rows, share = cases.between(CASES["flow"], torch.tensor([[600.0], [700.0]]), torch.tensor([[1400.0]]))
    assert rows[0, 0] == 1 and share[0].tolist() == [1, 0]


def test_apart_counts_channels_by_their_deviation():
    case = CASES["tsunami"]
    truth = torch.randn(2, *case.shape, generator=generator(6, "x")) * torch.tensor([1.0, 2.0, 30.0])[:, None, None]
    scale = cases.deviations(truth[None])
    error = truth.clone()
    error[:, 2] += 0.1 * scale[2]
    found = cases.apart(error, truth, case.weights, scale)
    expected = (0.01 * truth[0, 0].numel() / (truth / scale).square().sum((1, 2, 3))).sqrt()
    torch.testing.assert_close(found, expected)
