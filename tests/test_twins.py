"""Twin experiments: truths are no members, measured where they are, and scores are those of other formulas."""

import numpy as np
import pytest
import scoringrules
import torch

from latentkit.assimilation import twins
from latentkit.assimilation.observations import Network, on_grid
from latentkit.models.train import generator
from latentkit.testbeds import cases

CASE = cases.tsunami(10, width=2e5, outputs=3)
STREAM = lambda name: generator(0, name)  # noqa: E731
SCALE = torch.tensor([1.0, 2.0, 3.0])[:, None, None]
TWIN = twins.twin(CASE, SCALE, 3, 5, STREAM)


def test_truths_are_not_among_the_members_and_more_of_them_keep_the_first():
    assert TWIN.truth.shape == (4, 3, *CASE.shape) and TWIN.background.shape == (3, 5, 2)
    assert (TWIN.background - TWIN.parameters[:, None]).abs().amin() > 1e-6
    fewer = twins.twin(CASE, SCALE, 1, 5, STREAM)
    torch.testing.assert_close(fewer.truth, TWIN.truth[:, :1])
    torch.testing.assert_close(fewer.background, TWIN.background[:1])


def test_what_is_measured_is_what_the_testbed_shows_also_between_outputs():
    h, step = CASE.interval, CASE.joint.step
    points = torch.tensor([[2e5, 3e5], [4e5, 8e5], [5e5, 1e5]])
    net = Network(torch.tensor([2 * h, 0.0, h + 2 * step]), points, torch.tensor([0, 2, 1]))
    obs = TWIN.observed(net, 1e-6, generator(1, "noise"))
    each = CASE.points(net)
    later = CASE.joint.advance(TWIN.truth[1], 2)
    expected = torch.stack([each(TWIN.truth[2])[:, 0], each(TWIN.truth[0])[:, 1], each(later)[:, 2]], 1)
    torch.testing.assert_close(obs.value, expected, atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="outside"):
        TWIN.observed(net._replace(time=torch.tensor([0.0, 3.5 * h, 0.0])), 0.1, generator(1, "noise"))


@pytest.mark.parametrize(
    "case",
    [CASE, cases.flow(16, generator(0, "start"), outputs=4), cases.planet(16, generator(0, "start"), days=1)],
    ids=lambda case: case.name,
)
def test_what_is_measured_at_outputs_needs_no_other_run_of_the_testbed(case):
    twin = twins.twin(case, torch.ones(case.shape[0], 1, 1), 2, 3, STREAM)
    net = on_grid([axis[::3] for axis in case.axes], 1, case.times[1:].float(), range(case.shape[0]))
    net = net.rows(torch.randperm(len(net.time), generator=generator(3, "order")))
    found = twins.observed_fields(case, twin.truth, net)
    states = case.joint.pack(case.begin(twin.parameters), twin.parameters[:, : len(case.joint.parameters)])
    again = case.joint.predict(states, net, 0.0, float(case.times[-1]))
    torch.testing.assert_close(found, again, atol=1e-4 * float(again.std()), rtol=1e-4)
    noisy = twin.observed(net, 0.1, generator(1, "noise"))
    assert not torch.equal(noisy.value, found) and noisy.value.shape == found.shape


def test_errors_of_observations_are_a_share_of_the_deviation():
    net = on_grid(CASE.axes, 1, CASE.times[1:], range(3))
    obs = TWIN.observed(net, 0.1, generator(1, "noise"))
    exact = TWIN.observed(net, 1e-6, generator(1, "noise"))
    off = obs.value - exact.value
    for c in range(3):
        assert float(off[:, net.channel == c].std()) == pytest.approx(0.1 * float(SCALE[c]), rel=0.05)


def test_scores_are_those_of_other_formulas():
    E = TWIN.truth[:, :, None] + 0.3 * torch.randn(4, 3, 5, *CASE.shape, generator=generator(2, "members"))
    found = TWIN.scores(E, crps=True)
    w = (CASE.weights / SCALE.square()).sqrt()
    x, members = (TWIN.truth * w).flatten(2), (E * w).flatten(3)
    size = x.norm(dim=-1)
    expected = (members.mean(2) - x).norm(dim=-1) / size
    torch.testing.assert_close(found["error"], expected)
    torch.testing.assert_close(found["error"], cases.apart(E.mean(2), TWIN.truth, CASE.weights, SCALE))
    energy = scoringrules.es_ensemble(x.numpy(), members.numpy(), estimator="fair", backend="numpy")
    np.testing.assert_allclose(found["energy"], energy / size.numpy(), rtol=1e-4)
    spread = members.var(2).sum(-1).sqrt()
    torch.testing.assert_close(found["ratio"], spread / (members.mean(2) - x).norm(dim=-1))
    torch.testing.assert_close(found["members"], (members - x[:, :, None]).norm(dim=-1).std(2, correction=0) / size)
    each = scoringrules.crps_ensemble(TWIN.truth.numpy(), E.movedim(2, -1).numpy(), estimator="fair", backend="numpy")
    np.testing.assert_allclose(found["crps"], (each / SCALE.numpy()).mean((2, 3, 4)), rtol=1e-4)
    assert TWIN.scores(E[:, :, :1], crps=True).keys() == {"error"} and "crps" not in TWIN.scores(E)


def test_scores_of_members_that_hardly_differ_are_those_in_double_precision():
    mean = TWIN.truth[:, :, None] * 1.3
    E = mean + 1e-3 * TWIN.truth.std() * torch.randn(4, 3, 5, *CASE.shape, generator=generator(2, "members"))
    E[:, 0, 1] = E[:, 0, 0]
    double = twins.Twin(CASE, SCALE.double(), TWIN.parameters, TWIN.truth.double(), TWIN.background)
    for name, values in double.scores(E.double()).items():
        torch.testing.assert_close(TWIN.scores(E)[name].double(), values, rtol=1e-3, atol=1e-6, msg=name)


def test_analyses_are_carried_through_their_windows():
    starts, borders = torch.tensor([[[1.0]], [[10.0]]]), [0.0, 2.0, 4.0]
    path = twins.along(starts, borders, [0.0, 1.0, 2.0, 3.0, 4.0], lambda E, a, b: E + (b - a))
    assert [float(E) for E in path] == [1, 2, 3, 11, 12]
