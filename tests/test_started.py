"""Surrogates that start anywhere: one law, of which copies of a run are as good as the run, and its way to a driver."""

import pytest
import torch

from latentkit.assimilation.latent import Latent
from latentkit.assimilation.observations import everywhere
from latentkit.models import started, surrogates
from latentkit.models.train import fit, generator
from latentkit.models.waves import waves
from latentkit.testbeds import cases

STARTS = cases.flow_starts(24, 8, generator(0, "starts"), 40.0)
CASE = cases.flow(24, generator(0, "none"), outputs=6, reynolds=(20.0, 60.0), starts=STARTS)
PARAMETERS = CASE.draw(8, generator(0, "numbers"))


@pytest.fixture(scope="module")
def net():
    model = started.Started(CASE, 30, 12, 8, [0, 1])
    model.learn_scale(CASE.trajectories(PARAMETERS))
    return model


def test_latents_are_of_deviation_one_and_hold_what_their_waves_hold(net):
    made = CASE.trajectories(PARAMETERS)
    z = net.encode(made)
    a, b = z.square().mean((0, 1)).chunk(2)
    torch.testing.assert_close((a + b) / 2, torch.ones_like(a))
    modes, _ = waves(24, 30)
    torch.testing.assert_close(net.fields(z), modes.fields(modes.coefficients(made)), atol=1e-5, rtol=1e-4)


def test_one_model_is_the_stack_s(net):
    z, u = torch.randn(2, 5, net.net.latent), torch.randn(2, 5, 1)
    both = net.net.advance(z, u)
    for model in range(2):
        torch.testing.assert_close(net.net.onward(u[model], model)(z[model]), both[model])


def test_a_loss_is_the_error_of_the_steps_and_knows_one_model_alone(net):
    z = net.encode(CASE.trajectories(PARAMETERS)).transpose(0, 1)  # (n, t, k)
    batch = [z[:, :4].expand(2, -1, -1, -1), CASE.scaled(PARAMETERS).expand(2, -1, -1)]
    rng = lambda: [generator(s, "copies") for s in (0, 1)]  # noqa: E731
    both, _ = net.net.loss(batch, 0, rng())
    batch[0] = batch[0].clone()
    batch[0][1] = 0
    other, _ = net.net.loss(batch, 0, rng())
    assert other[0] == both[0]
    assert other[1] != both[1]


def test_a_law_is_learned_better_than_persistence():
    model = started.Started(CASE, 30, 32, 16, [0])
    z, u = model.learn_scale(CASE.trajectories(PARAMETERS)), CASE.scaled(PARAMETERS)
    batches = started.Windows(z, u, 2, 150, [0])
    first, _ = model.net.loss(batches(0), 0, [generator(0, "x")])
    fit(model.net, batches, steps=150, seeds=[0], learning_rate=5e-3, progress=False)
    last, _ = model.net.loss(batches(0), 0, [generator(0, "x")])
    assert float(last) < 0.5 * float(first)


def test_windows_grow_and_are_the_same_for_a_seed_in_any_stack():
    c, u = torch.randn(5, 7, 3), torch.randn(5, 1)
    some = started.Windows(c, u, 4, 100, [0, 1])
    assert [some(i)[0].shape[2] for i in (0, 30, 60, 99)] == [2, 3, 5, 5]
    alone = started.Windows(c, u, 4, 100, [1])
    torch.testing.assert_close(some(30)[0][1], alone(30)[0][0])
    with pytest.raises(ValueError, match="windows of 7 steps in 7 outputs"):
        started.Windows(c, u, 7, 100, [0])


def test_drivers_see_what_the_trajectory_shows(net):
    latent, made = Latent(net, 1), CASE.trajectories(PARAMETERS)
    E = latent.encode(made[0], PARAMETERS)
    path = net.trajectory(made[0], PARAMETERS, 1)
    for i in (0, 2):
        torch.testing.assert_close(latent.fields(latent.forecast(E, 0.0, i * CASE.interval)), path[i])
    torch.testing.assert_close(latent.parameters(E), PARAMETERS)
    sensors = everywhere(torch.rand(5, 2) * 6, CASE.times[2:3].float(), [0, 1])
    expected = CASE.points(sensors)(path[2])
    torch.testing.assert_close(latent.predict(E, sensors, 0.0, 3 * CASE.interval), expected, atol=1e-5, rtol=1e-4)


def test_numbers_out_of_range_warn(net):
    start, far = CASE.trajectories(PARAMETERS)[0, :1], torch.tensor([[90.0]])
    for ask in (Latent(net).encode, net.trajectory):
        with pytest.warns(UserWarning, match="Reynolds number from 90 to 90 is asked of a surrogate trained from 20"):
            ask(start, far)


def test_what_starts_at_zero_encodes_nothing():
    case = cases.flow(16, generator(0, "start"), outputs=2)
    net = surrogates.Surrogate(case, latent=2, count=3, dynamics=(4,), decoder=(4,), seeds=[0])
    with pytest.raises(TypeError, match="encodes no fields; take `start`"):
        Latent(net).encode(torch.zeros(1, 2, 16, 16), torch.tensor([[1000.0]]))


def test_a_start_is_not_known_from_parameters(net):
    with pytest.raises(TypeError, match="does not know its start from parameters: take `encode`"):
        Latent(net).start(PARAMETERS)


def test_starts_and_parameters_are_as_many():
    with pytest.raises(ValueError, match="2 parameters for 8 starts"):
        CASE.trajectories(PARAMETERS[:2])


def test_what_a_coarse_grid_resolves_comes_back():
    from latentkit.testbeds.kolmogorov import Kolmogorov

    fine, coarse = Kolmogorov(32), Kolmogorov(16)
    state = coarse.start(2, generator(0, "coarse"))
    there = fine.resized(state)
    assert there.shape == (2, 32, 32)
    torch.testing.assert_close(there[:, ::2, ::2], state, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(coarse.resized(there), state, atol=1e-5, rtol=1e-4)
