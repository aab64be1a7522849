"""Autoencoders of channels with masks: shapes, what is hidden, circles, stacks."""

import pytest
import torch

from latentkit.models.autoencoder import Autoencoder, Published
from latentkit.models.nets import pick
from latentkit.models.train import Shuffled, fit, generator

SHAPE, LEVELS = (4, 8, 16), 3


def rngs(count):
    return [generator(i, "init") for i in range(count)]


def area():
    weight = torch.cos(torch.linspace(-1.4, 1.4, 8))[:, None].expand(8, 16)
    return weight / weight.mean()


def model(count=2, circular=True, **more):
    there = torch.ones(SHAPE, dtype=torch.bool)
    there[3, :, :5] = False
    options = {"there": there, "area": area(), "levels": LEVELS, "circular": circular} | more
    return Autoencoder(SHAPE, (8, 12), 5, rngs(count), **options)


def days(count=2, n=6):
    return torch.randn(count, n, *SHAPE, generator=torch.Generator().manual_seed(0))


def test_shapes_and_what_is_not_there():
    net, x = model(), days()
    z = net.encode(x)
    assert z.shape == (2, 6, 5, 4, 8) == (2, 6, *net.latents)
    assert net.decode(z).shape == x.shape
    assert (net.decode(z)[:, :, 3, :, :5] == 0).all()
    other = x.clone()
    other[:, :, 3, :, :5] = 7.0
    assert torch.equal(net.encode(other), z)


def test_what_is_hidden_says_nothing_and_the_mask_tells_it_from_zero():
    net, x = model(), days()
    seen = torch.ones(SHAPE)
    seen[1, 2:4] = 0
    other = x.clone()
    other[:, :, 1, 2:4] = 9.0
    assert torch.equal(net.encode(x, seen), net.encode(other, seen))
    assert not torch.allclose(net.encode(x * seen), net.encode(x, seen))


def test_a_stack_is_its_models():
    net, x = model(), days()
    alone = pick(net, [1])
    assert torch.allclose(alone.encode(x[1:]), net.encode(x)[1:], atol=1e-6)
    rng = lambda: [generator(i, "step") for i in (0, 1)]  # noqa: E731
    both = net.loss([x], 0, rng())[0]
    assert torch.allclose(alone.loss([x[1:]], 0, rng()[1:])[0], both[1:], rtol=1e-5)


def test_longitude_is_a_circle():
    """Where maps of places are still 0, a network on a grid that goes around does not know where it begins."""
    x = days()
    for circular in (True, False):
        net = model(circular=circular)
        net.there.fill_(1)
        gap = net.decode(net.encode(x.roll(4, -1))) - net.decode(net.encode(x)).roll(4, -1)
        assert (gap.abs().max() < 1e-5) == circular


def test_latents_are_standardized():
    net, x = model(), 3 + 2 * days(1, 40)[0]
    before = net.decode(net.encode(x.expand(2, *x.shape)))
    net.standardize(x)
    z = net.encode(x.expand(2, *x.shape))
    assert torch.allclose(z.mean((1, 3, 4)), torch.zeros(2, 5), atol=1e-5)
    assert torch.allclose(z.std((1, 3, 4)), torch.ones(2, 5), atol=1e-4)
    assert torch.allclose(net.decode(z), before, atol=1e-5)


@pytest.mark.parametrize("make", [model, lambda: Published(SHAPE, (6, 6, 6, 6), 5, rngs(2), levels=LEVELS,
                                                           there=torch.ones(SHAPE))])  # fmt: skip
def test_it_learns(make):
    pattern = days(1, 2)[0]
    x = torch.einsum("nk,kcyx->ncyx", torch.randn(64, 2, generator=torch.Generator().manual_seed(1)), pattern)
    net = make()
    history = fit(net, Shuffled([x], 16, [0, 1], [False]), steps=120, seeds=[0, 1], learning_rate=1e-2, progress=False)
    assert (history.values["state"][-1] < 0.3 * history.values["state"][0]).all()


def test_published_has_no_compression_and_zeros_beyond_edges():
    net = Published(SHAPE, (6, 6, 6, 6), 5, rngs(1), there=torch.ones(SHAPE), levels=LEVELS)
    net.eval()
    x = days(1)
    assert net.encode(x).shape == (1, 6, 5, 8, 16)
    assert not torch.allclose(net.encode(x.roll(4, -1)), net.encode(x).roll(4, -1))


def test_bad_input():
    with pytest.raises(ValueError, match="multiples of 4"):
        Autoencoder((3, 6, 16), (4, 4, 4), 2, rngs(1), there=torch.ones(3, 6, 16), area=torch.ones(6, 16), levels=2,
                    circular=True)  # fmt: skip
