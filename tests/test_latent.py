"""Latents for the drivers: what is predicted is what the decoded fields show, anywhere; weights come back."""

import warnings

import pytest
import torch

from latentkit.assimilation.latent import Latent
from latentkit.assimilation.observations import Network, everywhere, irregular, moving
from latentkit.models import surrogates, weights
from latentkit.models.train import History, generator
from latentkit.testbeds import cases

CASE = cases.tsunami(12, width=2e5, outputs=4)
H = CASE.interval
SIZES = {"latent": 3, "count": 12, "dynamics": (8,), "decoder": (16,)}


@pytest.fixture(scope="module")
def surrogate():
    """Return two untrained models, whose last layers give something to see, over the modes of a real library."""
    model = surrogates.Surrogate(CASE, **SIZES, seeds=[0, 1])
    model.learn_modes(CASE.trajectories(surrogates.library_parameters(CASE, 12)), SIZES["count"])
    return model


def parameters(*shape):
    return CASE.draw(torch.Size(shape).numel(), generator(0, "p")).reshape(*shape, 2)


def points(n, words):
    return 1e6 * (0.1 + 0.8 * torch.rand(n, 2, generator=generator(1, words)))


@pytest.mark.parametrize("model", [0, 1])
def test_the_start_is_on_the_surrogate_s_trajectory(surrogate, model):
    latent, p = Latent(surrogate, model), parameters(5)
    path = surrogate.trajectory(p, model)
    for i in (0, 3):
        E = latent.start(p, i * H)
        torch.testing.assert_close(latent.fields(E), path[i])
        torch.testing.assert_close(latent.parameters(E), p)
        torch.testing.assert_close(latent.fields(latent.forecast(latent.start(p), 0.0, i * H)), path[i])


def test_what_is_predicted_is_what_the_fields_show(surrogate):
    latent, p = Latent(surrogate, 1), parameters(2, 3)
    net = everywhere(points(7, "where"), torch.tensor([1.0, 3.0]) * H, [0, 2])
    seen = latent.predict(latent.start(p), net, 0.0, 4 * H)
    assert seen.shape == (2, 3, 28)
    for i in (1, 3):
        here = net.rows((net.time - i * H).abs() < 1)
        fields = surrogate.trajectory(p.flatten(0, 1), 1)[i]
        expected = CASE.points(here)(fields).unflatten(0, (2, 3))
        torch.testing.assert_close(seen[..., (net.time - i * H).abs() < 1], expected, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(latent.observe(latent.start(p, i * H), here), expected, rtol=1e-3, atol=1e-4)


def test_between_outputs_latents_are_joined_by_a_line(surrogate):
    latent, p = Latent(surrogate), parameters(3)
    a, b = (latent.start(p, i * H) for i in (1, 2))
    torch.testing.assert_close(latent.start(p, 1.25 * H), 0.75 * a + 0.25 * b)
    torch.testing.assert_close(latent.forecast(a, H, 1.25 * H), 0.75 * a + 0.25 * b)
    net = Network(torch.tensor([1.25 * H, 1.25 * H]), points(2, "where"), torch.tensor([0, 2]))
    expected = latent.observe(0.75 * a + 0.25 * b, net)
    torch.testing.assert_close(latent.predict(latent.start(p), net, 0.0, 4 * H), expected, rtol=1e-3, atol=1e-4)


def test_moving_sensors_at_irregular_times_are_seen_each_on_its_own(surrogate):
    latent, p = Latent(surrogate), parameters(3)
    times = irregular(0.0, 4 * H, 6, generator(2, "times"))
    net = moving(torch.stack([points(4, f"track {i}") for i in range(6)]), times, [1, 2])
    net = net.rows(torch.randperm(len(net.time), generator=generator(2, "order")))
    seen = latent.predict(latent.start(p), net, 0.0, 4 * H)
    for row in range(0, len(net.time), 7):
        one = latent.observe(latent.start(p, float(net.time[row])), net.rows(torch.tensor([row])))
        torch.testing.assert_close(seen[:, row : row + 1], one, rtol=1e-3, atol=1e-4)


def test_gradients_reach_latents_and_parameters(surrogate):
    latent = Latent(surrogate)
    E = latent.start(parameters(2)).double().float().requires_grad_(True)
    net = everywhere(points(3, "where"), torch.tensor([2.0]) * H, [2])
    (slope,) = torch.autograd.grad(latent.predict(E, net, 0.0, 4 * H)[0].sum(), E)
    assert (slope[0] != 0).all() and (slope[1] == 0).all()
    step = torch.zeros_like(E)
    step[0, 0] = 1e-2
    with torch.no_grad():
        up, down = (latent.predict(E + s * step, net, 0.0, 4 * H)[0].sum() for s in (1, -1))
    assert float(slope[0, 0]) == pytest.approx(float(up - down) / 2e-2, rel=0.05)


def test_an_ensemble_does_not_carry_the_weights_gradients_from_one_analysis_to_the_next(surrogate):
    latent = Latent(surrogate)
    E = latent.forecast(latent.start(parameters(2)), 0.0, 2 * H)
    net = everywhere(points(3, "where"), torch.tensor([2.0]) * H, [2])
    assert not E.requires_grad and not latent.observe(E, net).requires_grad


def test_a_plan_serves_what_it_was_made_for_and_nothing_else(surrogate):
    latent, p = Latent(surrogate), parameters(3)
    net = everywhere(points(5, "where"), torch.tensor([1.0, 3.0]) * H, [0, 2])
    other = everywhere(points(5, "elsewhere"), torch.tensor([2.0, 4.0]) * H, [0, 2])
    start, later = latent.start(p), latent.start(p, H)
    for E, network, begin in ((start, net, 0.0), (start, net, 0.0), (later, net, H), (start, other, 0.0)):
        fresh = Latent(surrogate).predict(E, network, begin, 4 * H)
        torch.testing.assert_close(latent.predict(E, network, begin, 4 * H), fresh, rtol=0, atol=0)
    other.time.mul_(2)  # written into: 8 H is outside
    with pytest.raises(ValueError, match="outside 0 to"):
        latent.predict(start, other, 0.0, 4 * H)


def test_observations_outside_the_window_are_an_error(surrogate):
    latent = Latent(surrogate)
    net = Network(torch.tensor([H, 5 * H]), points(2, "where"), torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="observation 1 is of time .* outside 0 to"):
        latent.predict(latent.start(parameters(2)), net, 0.0, 4 * H)


def test_parameters_out_of_range_are_warned_of(surrogate):
    with pytest.warns(UserWarning, match=r"y of the source \[side\] from 0.1 to 0.7 is asked .* from 0 to 0.5"):
        surrogate.trajectory(torch.tensor([[0.2, 0.1], [0.3, 0.7]]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        surrogate.trajectory(torch.tensor([[0.0, 0.5]]))


def test_an_ensemble_that_an_analysis_took_out_of_range_is_warned_of_once(surrogate):
    latent = Latent(surrogate)
    E = latent.start(parameters(1, 4))
    hair, far, farther = E.clone(), E.clone(), E.clone()
    hair[0, 1, -1], far[0, 1, -1], farther[0, :2, -2] = 1.09, 1.4, -2.6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        latent.fields(latent.forecast(hair, 0.0, H))
    with pytest.warns(UserWarning, match=r"y of the source .* to 0.6 is asked .* from 0 to 0.5; 1 of 4 are outside"):
        latent.forecast(far, 0.0, H)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        latent.fields(latent.forecast(far, 0.0, H))
    with pytest.warns(UserWarning, match=r"x of the source .* from -0.4 to .*; 2 of 4 are outside"):
        latent.fields(farther)


def test_a_start_out_of_range_is_said_once(surrogate):
    latent, out = Latent(surrogate), torch.tensor([[0.2, 0.1], [0.3, 0.7]])
    for _ in range(2):
        with pytest.warns(UserWarning, match="is asked") as told:
            latent.fields(latent.start(out))
        assert len(told) == 1


def test_warnings_leave_derivatives_alone(surrogate):
    latent = Latent(surrogate)
    E = latent.start(parameters(3))
    E[0, -1] = 1.5
    ahead = lambda X: latent.forecast(X, 0.0, 2 * H)  # noqa: E731
    with pytest.warns(UserWarning, match="is asked"):
        _, slope = torch.func.jvp(ahead, (E,), (torch.ones_like(E),))
    rows = E.clone().requires_grad_(True)
    (back,) = torch.autograd.grad(ahead(rows).sum(), rows)
    torch.testing.assert_close(slope.sum(), back.sum())


def test_weights_come_back_with_modes_of_any_size(surrogate, tmp_path):
    weights.save(surrogate, tmp_path / "s.safetensors", {"a": 1}, History())
    again = surrogates.Surrogate(CASE, **SIZES, seeds=[3, 4])
    weights.load(again, tmp_path / "s.safetensors", {"a": 1})
    p = parameters(3)
    torch.testing.assert_close(again.trajectory(p, 1), surrogate.trajectory(p, 1))


def test_a_surrogate_is_trained_from_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("LATENTKIT_WEIGHTS", str(tmp_path))
    model, history = surrogates.obtain(
        CASE, "tiny_tsunami", **SIZES, library=12, steps=(60, 40, 5), learning_rate=3e-3, seeds=[0, 1],
        settings={"width": 2e5}, retrain=True,
    )  # fmt: skip
    assert history.values["embedding"][-1].mean() < history.values["embedding"][0].mean()
    assert (next(tmp_path.glob("tiny_tsunami-*.safetensors"))).stat().st_size < 1e5
    assert model.trajectory(parameters(3)).isfinite().all()
