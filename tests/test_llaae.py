"""Latent linear adjustment: what is held constant is, stacks are their models, seams are none, refits are exact."""

import pytest
import torch

from latentkit.models import convolutions, extremes
from latentkit.models.llaae import LLAAE
from latentkit.models.train import Shuffled, fit, generator


def rng(*seeds):
    return [generator(s, "init") for s in seeds]


def made(*seeds, grid=(9, 13), **more):
    return LLAAE(grid, 4, 3, (4, 6, 8), rng(*seeds), **more)


FIELDS, PROXIES = (
    torch.randn(2, 5, 9, 13, generator=generator(0, "y")),
    torch.randn(2, 5, 4, generator=generator(0, "x")),
)


@pytest.mark.parametrize("grid", [(8, 8), (9, 13), (16, 64), (19, 29)])
def test_fields_of_any_size_come_back_in_their_size(grid):
    model = made(0, 1, grid=grid)
    z = model.encode(torch.randn(2, 3, *grid))
    assert z.shape == (2, 3, 3)
    assert model.decode(z).shape == (2, 3, *grid)


def test_many_samples_are_what_they_are_at_once():
    model, fields = made(0, 1), torch.randn(2, 200, 9, 13, generator=generator(0, "many"))
    z = model.encode(fields)
    with torch.no_grad():
        torch.testing.assert_close(model.encode(fields), z.detach())
        parts = model.decode(z)
    torch.testing.assert_close(parts, model.decode(z).detach())


@pytest.mark.parametrize("size", [(4, 6), (3, 6), (3, 5)])
def test_rows_and_columns_come_twice(size):
    x = torch.randn(2, 3, 2, 3, generator=generator(0, "twice"))
    assert torch.equal(convolutions._doubled(x, size), torch.nn.functional.interpolate(x, size=size, mode="nearest"))


def test_fields_too_small_are_refused():
    with pytest.raises(
        ValueError, match="fields of 7 x 30 points are too small to be halved 3 times; expected 8 or more"
    ):
        made(0, grid=(7, 30))


@pytest.mark.parametrize("posterior", ["normal", "gev", "moment"])
def test_a_stack_is_its_models(posterior):
    both, two = made(0, 1, posterior=posterior), made(1, posterior=posterior)
    draws = lambda *seeds: [generator(s, "step") for s in seeds]  # noqa: E731
    for step in (0, 1):
        stacked, parts = both.loss([FIELDS, PROXIES], step, draws(0, 1))
        alone, own = two.loss([FIELDS[1:], PROXIES[1:]], step, draws(1))
        torch.testing.assert_close(stacked[1:], alone)
        for name in parts:
            torch.testing.assert_close(parts[name][1:], own[name])


def test_each_loss_moves_its_own_weights_alone():
    model = made(0, 1)
    for step, own in ((0, ("encoder", "decoder")), (1, ("h",))):
        model.zero_grad(set_to_none=True)
        model.loss([FIELDS, PROXIES], step, rng(0, 1))[0].sum().backward()
        moved = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        assert moved == set(own)


def test_a_seam_is_none():
    encode = convolutions.Convolution(1, 3, rng(0), circular=True)
    x = torch.randn(2, 1, 8, 10)
    torch.testing.assert_close(encode(x.roll(4, -1)), encode(x).roll(4, -1))
    wall = convolutions.Convolution(1, 3, rng(0), circular=False)
    assert not torch.allclose(wall(x.roll(4, -1)), wall(x).roll(4, -1))


def test_a_stacked_convolution_is_torch_s():
    stack = convolutions.Convolution(2, 3, rng(0, 1), circular=False, stride=2)
    x = torch.randn(4, 4, 9, 7)
    for i in range(2):
        padded = torch.nn.functional.pad(x[:, 2 * i : 2 * i + 2], (1, 1, 1, 1), mode="replicate")
        expected = torch.nn.functional.conv2d(padded, stack.weight[i], stack.bias[i], stride=2)
        torch.testing.assert_close(stack(x)[:, 3 * i : 3 * i + 3], expected)


def test_points_without_a_value_count_for_nothing():
    weights = torch.ones(9, 13)
    weights[:, :4] = 0
    model = made(0, weights=weights)
    filled = FIELDS[:1].clone()
    first = model.loss([filled, PROXIES[:1]], 0, rng(0))[0]
    filled[..., :4] = torch.nan
    torch.testing.assert_close(model.loss([filled, PROXIES[:1]], 0, rng(0))[0], first)


def test_a_refit_is_least_squares():
    model = made(0, 1)
    fields, proxies = torch.randn(40, 9, 13), torch.randn(40, 4)
    model.refit(fields, proxies)
    wanted = model.encode(fields.expand(2, -1, -1, -1))
    X = torch.cat([proxies, torch.ones(40, 1)], 1)
    for i in range(2):
        left = wanted[i] - model.h(proxies.expand(2, -1, -1))[i]
        torch.testing.assert_close(X.mT @ left, torch.zeros(5, 3), atol=2e-4, rtol=0)
    with pytest.raises(ValueError, match="4 samples for 4 proxies"):
        model.refit(fields[:4], proxies[:4])


def test_latents_that_a_proxy_can_say_are_found():
    """Fields made of two patterns whose strength the proxies hold: prediction comes close to reconstruction."""
    g = generator(0, "made")
    proxies, y, x = torch.randn(400, 4, generator=g), torch.linspace(0, 3, 9)[:, None], torch.linspace(0, 3, 13)
    patterns = torch.stack([y.sin() * x.cos(), (y + x).cos()])
    fields = torch.einsum("na,ayx->nyx", proxies[:, :2], patterns)
    model = made(0, beta=0.01)
    fit(
        model,
        Shuffled([fields, proxies], 64, [0], [False, False]),
        steps=1200,
        seeds=[0],
        learning_rate=3e-3,
        progress=False,
    )
    model.refit(fields, proxies)
    with torch.no_grad():
        left = (model.predict(proxies[None])[0] - fields).square().mean() / fields.square().mean()
    assert float(left) < 0.05


@pytest.mark.parametrize("posterior", ["normal", "moment"])
def test_divergences_of_gaussians_are_those_of_torch(posterior):
    model = made(0, 1, posterior=posterior)
    code = model.code(FIELDS)
    deviation = code.scale if posterior == "normal" else extremes.variance(code.scale, code.shape)  # equation 6
    said = torch.distributions.Normal(model.mean(code), deviation)
    expected = torch.distributions.kl_divergence(said, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(model.divergences(code), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("posterior", ["normal", "gev", "moment"])
def test_a_learned_shape_stays_between_its_bounds_and_has_a_gradient(posterior):
    model = made(0, posterior=posterior)
    code = model.code(FIELDS[:1])
    model.divergence(code).sum().backward()
    if posterior == "normal":
        assert not hasattr(model, "raw_shape")
        return
    assert float(model.raw_shape.grad.abs().min()) > 0
    assert ((code.shape > -0.5) & (code.shape < 0.4)).all()
    fixed = made(0, posterior=posterior, shape=-0.5).code(FIELDS[:1])
    assert (fixed.shape == -0.5).all()


@pytest.mark.parametrize(
    ("more", "words"),
    [({"shape": 0.1}, "shape 0.1 of a normal posterior, which has none"),
     ({"posterior": "gumbel"}, "the posterior is 'gumbel'; expected one of normal, gev, moment"),
     ({"shape": 0.7}, "the shape is 0.7; expected a number above -1 and below 1/2"),
     ({"weights": torch.ones(3, 3)}, r"weights of shape \(3, 3\)"), ({"weights": torch.zeros(9, 13)}, "some above 0")],
)  # fmt: skip
def test_what_cannot_be_is_refused(more, words):
    with pytest.raises(ValueError, match=words):
        made(0, **more)


def test_parts_that_come_in_turn_are_means_of_their_own_steps():
    model, batch = made(0), [FIELDS[:1], PROXIES[:1]]
    own = [model.loss(batch, step, [generator(0, "step", step)])[1] for step in range(2)]
    history = fit(made(0), lambda step: batch, steps=200, seeds=[0], learning_rate=1e-12, progress=False)
    assert history.every == 2  # at a rate of nothing all steps are the first two but for the draws
    for name, part in {**own[0], **own[1]}.items():
        torch.testing.assert_close(torch.tensor(history.values[name].mean()) * 2, part[0].detach(), rtol=0.05, atol=0)
