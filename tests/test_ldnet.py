"""A latent dynamics network: Euler's steps by hand, stacks that equal single models, losses that equal errors."""

import pytest
import torch

from latentkit.models import ldnet, taught
from latentkit.models.nets import pick
from latentkit.models.train import generator

RNG = lambda n=2: [generator(i, "init") for i in range(n)]  # noqa: E731
POINTS = torch.rand(30, 2, generator=generator(0, "points"))


def net(models=2, outputs=5, decoder=None, hidden=(8,)):
    rng = RNG(models)
    return ldnet.LDNet(3, 2, hidden, decoder or ldnet.Coefficients(3, 6, (16,), rng), outputs, rng, sampled=64)


def made(n=24, t=5, j=6):
    """Return parameters (n, 2) and smooth values (n, t, j) of them and of time."""
    u = torch.rand(n, 2, generator=generator(1, "u")) * 2 - 1
    clock = torch.linspace(0, 2, t)[:, None]
    waves = torch.arange(1, j + 1) / 2
    return u, torch.sin(waves * (clock + u[:, None, :1])) + u[:, None, 1:] * torch.cos(waves * clock)


def test_a_trajectory_is_eulers_from_zero():
    model, u = net(), torch.randn(2, 4, 2, generator=generator(2, "u"))
    path = model.trajectory(u)
    z = torch.zeros(2, 4, 3)
    for i in range(5):
        z = z + model.log_step.exp() * model.dynamics(torch.cat([z, u], -1))
        torch.testing.assert_close(path[:, i], z)
    assert model.trajectory(u, 2).shape == (2, 2, 4, 3)


@pytest.mark.parametrize("hidden", [(), (8,), (8, 8)])
def test_one_model_goes_on_as_the_stack_does(hidden):
    stack, u = net(hidden=hidden), torch.randn(2, 4, 2, generator=generator(2, "u"))
    z = torch.randn(2, 4, 3, generator=generator(3, "z"))
    for i, ahead in enumerate(stack.advance(z, u)):
        torch.testing.assert_close(stack.onward(u[i], i)(z[i]), ahead)


@pytest.mark.parametrize("kind", ["coefficients", "coordinates", "features"])
def test_a_stack_is_its_models(kind):
    rng = RNG()
    decoder = {
        "coefficients": lambda: ldnet.Coefficients(3, 6, (16,), rng),
        "coordinates": lambda: ldnet.Coordinates(3, POINTS, 2, 8, 2, 0, rng),
        "features": lambda: ldnet.Coordinates(3, POINTS, 2, 8, 2, 4, rng),
    }[kind]()
    z = torch.randn(2, 4, 3, generator=generator(3, "z"))
    both = decoder(z)
    for i in range(2):
        torch.testing.assert_close(pick(decoder, [i])(z[i : i + 1])[0], both[i], atol=1e-5, rtol=1e-5)


def test_the_last_layer_of_coefficients_is_a_matrix():
    decoder, z = net().decoder, torch.randn(4, 3, generator=generator(3, "z"))
    torch.testing.assert_close(decoder.hidden(z, 1) @ decoder.last(1), decoder(z.expand(2, -1, -1))[1])


def test_error_at_sampled_points_is_that_of_the_field_on_average():
    rng = RNG()
    decoder = ldnet.Coordinates(3, POINTS, 2, 8, 1, 0, rng, sampled=4000)
    z = torch.randn(2, 5, 3, generator=generator(4, "z"))
    values = torch.randn(2, 5, 60, generator=generator(4, "values"))
    exact = (decoder(z).movedim(-1, 2).flatten(2) - values).square().sum(-1).mean(-1)
    torch.testing.assert_close(decoder.error(z, values, RNG()), exact, rtol=0.05, atol=0)


def test_a_loss_of_one_model_does_not_depend_on_the_other():
    model, (u, values) = net(), made()
    batch = [u.expand(2, -1, -1), values.expand(2, -1, -1, -1)]
    both = model.loss(batch, 0, RNG())[0]
    alone = pick(model, [1]).loss([b[1:] for b in batch], 0, RNG()[1:])[0]
    torch.testing.assert_close(both[1:], alone)


def test_stages_teach_what_the_rollout_then_gives():
    u, values = made()
    model, rng = net(hidden=(32, 32)), RNG()
    history = taught.train(model, u, values, steps=(800, 600, 200), batches=(64, 64, 24), learning_rate=5e-3,
                           seeds=[0, 1], rng=rng, progress=False)  # fmt: skip
    assert history.values.keys() == {"embedding", "dynamics", "error"}
    with torch.no_grad():
        path = model.trajectory(u.expand(2, -1, -1)).transpose(1, 2)
        found = model.decoder(path.flatten(1, 2)).unflatten(1, path.shape[1:3])
    error = ((found - values).square().sum(-1).mean((1, 2)) / values.square().sum(-1).mean()).sqrt()
    assert (error < 0.25).all(), error


def test_refit_finds_the_least_squares():
    model, (u, values) = net(), made()
    taught.refit(model, u, values, ridge=1e-12)
    with torch.no_grad():
        path = model.trajectory(u.expand(2, -1, -1))[1].transpose(0, 1).flatten(0, 1)
        x, y = model.decoder.hidden(path, 1).double(), values.flatten(0, 1).double()
        rest = y - x @ model.decoder.last(1).double()
    best = y - x @ torch.linalg.lstsq(x, y).solution
    assert best.norm() <= rest.norm() <= 1.02 * best.norm()


def test_values_of_another_number_of_times_are_an_error():
    u, values = made(t=4)
    with pytest.raises(ValueError, match="4 times"):
        taught.train(net(), u, values, steps=(1, 1, 1), batches=(8, 8, 8), learning_rate=1e-3, seeds=[0, 1], rng=RNG())
