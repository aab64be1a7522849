"""A linear decoder of latents, and what views see through it."""

import pytest
import torch

from latentkit.assimilation.views import view
from latentkit.models.readout import Plain, Readout

N, K, Y, X, C = 200, 2, 3, 4, 3
THERE = torch.ones(C, 2 * Y, 2 * X, dtype=torch.bool)
THERE[2, :2] = False
AREA = torch.linspace(0.5, 1.5, 2 * Y)[:, None].expand(2 * Y, 2 * X)


def latents(models=2, n=N):
    return torch.randn(models, n, K, Y, X, generator=torch.Generator().manual_seed(0))


def fields(z):  # a linear map of a neighborhood, around the circle
    wide = torch.nn.functional.interpolate(z, scale_factor=2)
    mixed = torch.stack([wide[:, 0], wide[:, 0].roll(2, -1) - wide[:, 1], 1 + wide[:, 1]], 1)
    return mixed * THERE


def linear(z, told, **options):
    return Readout(z, told, **{"there": THERE, "ridge": 1e-4, "circular": True} | options)


def test_a_linear_map_is_found():
    z = latents()
    told = fields(z[0])
    decoder = linear(z[:1], told)
    assert torch.allclose(decoder.decode(z[:1])[0], told, atol=1e-3)


def test_each_model_has_its_own():
    z = latents()
    both, one = linear(z, fields(z[0])), linear(z[1:], fields(z[0]))
    assert torch.allclose(both.decode(z)[1:], one.decode(z[1:]), atol=1e-5)


def test_without_a_circle_the_edge_is_repeated():
    z = latents(1)
    told = fields(z[0])
    assert float((linear(z, told, circular=False).decode(z)[0] - told).abs().max()) > 0.1


@pytest.mark.parametrize("options", [{}, {"coarse": 2}, {"gap": 2, "channels": [0, 2]}])
@pytest.mark.parametrize("own", [False, True])
def test_what_is_seen_is_what_a_view_sees_of_fields(options, own):
    z, eyes, days = latents(), view(AREA, THERE, 0.1, **options), 2
    decoder = Plain(THERE) if own else linear(z, fields(z[0]))
    z = fields(z[0])[None] + 1 if own else z
    windows = z[:, :6].unflatten(1, (3, days)).flatten(2, 3)
    seen = decoder.seen(eyes, days)
    expected = eyes(decoder.decode(z[:, :6]))[..., eyes.seen].unflatten(1, (3, days))
    assert torch.allclose(seen(windows), expected, atol=1e-4)
    v = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    assert float((seen.push(windows) * v).sum()) == pytest.approx(float((windows * seen.pull(v)).sum()), rel=1e-4)
    shown = eyes(decoder.decode(z[:, :6])[0])
    assert torch.equal(seen.flat(shown), shown[..., eyes.seen])


def test_errors():
    z = latents()
    with pytest.raises(ValueError, match="expected 200 days, and sides that are multiples of 3 and 4"):
        linear(z, fields(z[0])[:9])


@pytest.mark.parametrize("options", [{}, {"coarse": 2, "channels": [0, 1]}])
def test_the_mean_of_information_around_circles(options):
    """Against sums over all pairs of points."""
    z = latents()
    seen = linear(z, fields(z[0])).seen(view(AREA, THERE, 0.1, **options), 1)
    precision = torch.linspace(1, 2, seen.H[0].shape[0])
    found = seen.around(precision)
    assert found.shape == (2, K * Y, K * Y, X)
    for s, H in enumerate(seen.H):
        J = (H.to_dense().mT @ torch.diag(precision) @ H.to_dense()).view(K * Y, X, K * Y, X)
        mean = torch.stack([sum(J[:, (x + d) % X, :, x] for x in range(X)) / X for d in range(X)], -1)
        assert torch.allclose(found[s], mean, atol=1e-4)
