"""The network that tells the noise: what it is before training, stacks, circles, and that it learns a Gaussian."""

import pytest
import torch

from latentkit.models import diffusion as df
from latentkit.models.denoiser import Denoiser, Windows
from latentkit.models.train import Shuffled, fit, generator

SHAPE = (3, 2, 8, 16)  # days, c, y, x


def rngs(count):
    return [generator(i, "init") for i in range(count)]


def windows(count=2, n=4, seed=0):
    return torch.randn(count, n, 6, 8, 16, generator=torch.Generator().manual_seed(seed))


def test_shapes_and_times():
    net, x = Denoiser(SHAPE, (8, 12), 1, rngs(2), circular=True), windows()
    at = torch.full((2, 4), 0.3)
    assert net(x, 0.3).shape == x.shape
    assert torch.allclose(net(x, 0.3), net(x, at), atol=1e-5)
    at[1, 2] = 0.7
    assert not torch.allclose(net(x, at)[1, 2], net(x, 0.3)[1, 2])
    assert torch.allclose(net(x, at)[0], net(x, 0.3)[0], atol=1e-5)


def test_noise_without_a_turn_is_that_of_unit_variance():
    net, x = Denoiser(SHAPE, (8,), 1, rngs(1), circular=True), windows(1)
    for part in (net.last, net.gain.layers[-1]):
        for p in part.parameters():
            p.data.zero_()
    assert torch.allclose(net(x, 0.4), df.sigma(0.4) * x)


def test_blocks_are_points_with_more_channels():
    """Where a block's four points hold one number, a network of blocks tells what one of single points would."""
    x = windows(1)
    wide = x.repeat_interleave(2, -1).repeat_interleave(2, -2)
    points = Denoiser(SHAPE, (8, 12), 1, rngs(1), circular=True)
    blocks = Denoiser((3, 2, 16, 32), (8, 12), 1, rngs(1), circular=True, block=2)
    with torch.no_grad():  # inward the mean of four, outward four times the same
        own = ("first.weight", "last.weight", "last.bias", "gain")
        blocks.load_state_dict({k: v for k, v in points.state_dict().items() if not k.startswith(own)}, strict=False)
        first = points.first.weight.unflatten(1, (6, 9))
        blocks.first.weight.copy_((first / 4).repeat_interleave(4, 1).flatten(1, 2))
        blocks.last.weight.copy_(points.last.weight.repeat_interleave(4, 2))
        blocks.last.bias.copy_(points.last.bias.repeat_interleave(4, 1))
        for ours, theirs in zip(blocks.gain.parameters(), points.gain.parameters(), strict=True):
            ours.copy_(theirs.repeat_interleave(4, -1))
    expected = points(x, 0.4).repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert torch.allclose(blocks(wide, 0.4), expected, atol=1e-5)


@pytest.mark.parametrize("block", [1, 2])
def test_a_stack_is_its_models(block):
    net, x = Denoiser(SHAPE, (8, 12), 2, rngs(2), circular=True, block=block), windows()
    rng = lambda: [generator(i, "step") for i in (0, 1)]  # noqa: E731
    both = net.loss([x], 0, rng())[0]
    alone = Denoiser(SHAPE, (8, 12), 2, rngs(2)[1:], circular=True, block=block)
    assert torch.allclose(alone(x[1:], 0.5), net(x, 0.5)[1:], atol=1e-5)
    assert torch.allclose(alone.loss([x[1:]], 0, rng()[1:])[0], both[1:], rtol=1e-4)


@pytest.mark.parametrize("circular", [True, False])
def test_longitude_is_a_circle(circular):
    """Where maps of places are still 0, a network around the globe does not know where longitudes begin."""
    net, x = Denoiser(SHAPE, (8, 12), 1, rngs(1), circular=circular), windows(1)
    gap = net(x.roll(4, -1), 0.5) - net(x, 0.5).roll(4, -1)
    assert (gap.abs().max() < 1e-5) == circular


def test_it_learns_the_noise_of_a_gaussian():
    """Days of one pattern of variance 4: the best x0 is known, and the network comes near it where noise is half."""
    series = 2 * torch.randn(400, 1, 1, 1, generator=torch.Generator().manual_seed(0)).expand(400, 2, 8, 16)
    net = Denoiser((1, 2, 8, 16), (8,), 1, rngs(1), circular=True)
    batches = Windows(series, 1, Shuffled([torch.arange(400)], 32, [0], [False]))
    fit(net, batches, steps=300, seeds=[0], learning_rate=1e-2, progress=False)
    x, t = series[None, :100], 0.5
    e = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        noisy = df.mu(t) * x + df.sigma(t) * e
        error = float((df.denoised(noisy, net(noisy, t), t) - x).square().mean())
    alone = 4 * df.sigma(t) ** 2 / (4 * df.mu(t) ** 2 + df.sigma(t) ** 2)  # each point for itself
    assert error < 0.3 * alone


def test_windows_are_consecutive_days():
    series = torch.arange(10.0)[:, None, None, None].expand(10, 2, 1, 1)
    (served,) = Windows(series, 3, Shuffled([torch.arange(8)], 8, [0, 1], [False]))(0)
    assert served.shape == (2, 8, 6, 1, 1)
    days = served[..., 0, 0].unflatten(2, (3, 2))
    assert (days[..., 0] == days[..., 1]).all()
    assert (days[:, :, 1:, 0] - days[:, :, :-1, 0] == 1).all()
    assert sorted(days[0, :, 0, 0].tolist()) == list(range(8))
    stack = torch.stack([series, 100 + series])
    (served,) = Windows(stack, 3, Shuffled([torch.arange(8)], 8, [0, 1], [False]))(0)
    assert (served[0] < 50).all() and (served[1] > 50).all()


def test_bad_input():
    with pytest.raises(ValueError, match="cannot be halved 2 times; give fewer widths"):
        Denoiser((3, 2, 6, 16), (4, 4, 4), 1, rngs(1), circular=True)
