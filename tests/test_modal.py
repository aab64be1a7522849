"""The modal pair: least squares before any training, components exactly, positive fields, points without values."""

import pytest
import torch

from latentkit.models import linear, modal
from latentkit.models.llaae import LLAAE
from latentkit.models.train import Shuffled, fit, generator

GRID, K = (8, 12), 10
X = torch.randn(2, 60, 4, generator=generator(0, "x"))
Y = (
    X @ torch.randn(2, 4, 96, generator=generator(0, "b")) + torch.randn(2, 60, 96, generator=generator(0, "e"))
).unflatten(-1, GRID)
AREA = torch.linspace(0.5, 1.5, 8)[:, None].expand(GRID).clone()


def made(positive=False, area=AREA, maps=1, latent=K, seeds=(0, 1), fields=Y):
    rng = [generator(s, "init") for s in seeds]
    networks = modal.networks(GRID, latent, 4, 1, maps, rng, circular=True)
    model = LLAAE(GRID, 4, latent, (), rng, weights=area, positive=positive, networks=networks, circular=True)
    model.learn(fields)
    return model


def silent(model):
    with torch.no_grad():
        model.decoder.last.weight.zero_()
    return model


def test_without_convolutions_it_is_regression_on_components():
    model = silent(made(latent=59))  # all that sixty days span
    model.refit(Y, X)
    torch.testing.assert_close(model.predict(X).flatten(2), linear.ridge(X, Y.flatten(2), X), atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(model.decode(model.encode(Y)), Y, atol=2e-4, rtol=1e-4)


def test_components_are_the_best_that_so_few_numbers_say():
    model = silent(made())
    left = (model.decode(model.encode(Y)) - Y).square().mul(AREA / AREA.mean()).sum((2, 3)).mean(1)
    anomalies = (Y - Y.mean(1, keepdim=True)) * (AREA / AREA.mean()).sqrt()
    values = torch.linalg.svdvals(anomalies.flatten(2).double())
    torch.testing.assert_close(left.double(), values[:, K:].square().sum(1) / 60, atol=1e-3, rtol=1e-3)


def test_latents_of_training_fields_have_the_deviation_one():
    z = made().encode(Y)
    torch.testing.assert_close(z.std(1, correction=0), torch.ones(2, K), atol=1e-4, rtol=0)


def test_only_what_a_neighborhood_adds_is_trained():
    rain = Y.clamp_min(0)  # which is not linear in the proxies
    model = made(fields=rain)
    model.refit(rain, X)
    before = model.encode(rain), model.h.weight.clone()
    data = Shuffled([rain, X], 60, (0, 1), [True, True])
    history = fit(model, data, steps=100, seeds=(0, 1), learning_rate=3e-2, progress=False)
    assert set(history.values) == {"total", "reconstruction", "prediction", "kl"}
    torch.testing.assert_close(model.encode(rain), before[0])
    torch.testing.assert_close(model.h.weight, before[1])
    prediction = history.values["prediction"]
    assert (prediction[-10:].mean(0) < 0.95 * prediction[:10].mean(0)).all()


@pytest.mark.parametrize("maps", [0, 2])
def test_positive_fields_and_points_without_values(maps):
    area = AREA.clone()
    area[2, 3] = 0
    model = made(positive=True, area=area, maps=maps)
    assert (model.decode(torch.randn(2, 5, K) * 5) >= 0).all()
    assert (model.encoder.project.unflatten(1, GRID)[:, 2, 3] == 0).all()
    assert (model.decoder.components.unflatten(2, GRID)[:, :, 2, 3] == 0).all()


def test_a_stack_is_its_models():
    both, two = made(), made(seeds=(1,), fields=Y[1:])
    torch.testing.assert_close(both.decode(both.encode(Y))[1:], two.decode(two.encode(Y[1:])), atol=1e-4, rtol=1e-4)
