"""Modes are those of the singular value decomposition, orthonormal under their weights, and few vectors hold them."""

import pytest
import torch

from latentkit.models import modes
from latentkit.models.train import generator

G = generator(0, "modes")
Y, X = torch.linspace(0, 1, 12)[:, None], torch.linspace(0, 1, 10)


def smooth(n, waves=3):
    """Draw fields (n, 2, 12, 10) of few waves."""
    k = torch.arange(waves)
    rows, columns = torch.cos(torch.pi * k * Y), torch.cos(torch.pi * k * X[:, None])
    return rows @ torch.randn(n, 2, waves, waves, generator=G) @ columns.mT + 1


def test_modes_are_those_of_the_svd():
    snapshots, weights = torch.randn(40, 2, 12, 10, generator=G), torch.rand(2, 12, 10, generator=G) + 0.5
    found = modes.find(snapshots, 40, weights, 0, error=0)
    table = ((snapshots - snapshots.mean(0)) * weights.sqrt()).flatten(1)
    size = torch.linalg.svdvals(table)
    c = found.coefficients(snapshots)
    torch.testing.assert_close(c.square().sum(0).sqrt()[:20], size[:20], rtol=2e-3, atol=0)
    torch.testing.assert_close(c.mT @ c, torch.diag(size.square()), atol=1e-2, rtol=1e-3)
    torch.testing.assert_close(found.fields(c), snapshots, atol=1e-4, rtol=0)


def test_what_is_left_is_what_fewer_modes_miss():
    snapshots, weights = torch.randn(60, 1, 12, 10, generator=G), torch.ones(1)
    found = modes.find(snapshots, 10, weights, 0, error=0)
    rest = snapshots - found.fields(found.coefficients(snapshots))
    assert found.left == pytest.approx(
        float(rest.square().sum() / (snapshots - snapshots.mean(0)).square().sum()), rel=1e-3
    )


def test_few_vectors_hold_smooth_modes():
    snapshots = smooth(60)
    found = modes.find(snapshots, 18, torch.ones(1), 0)
    assert found.rows.shape[1] <= 4 and found.columns.shape[1] <= 4
    torch.testing.assert_close(found.fields(found.coefficients(snapshots)), snapshots, atol=0.05, rtol=0)


def test_what_is_seen_of_modes_is_what_is_seen_of_fields():
    snapshots = smooth(30)
    found = modes.find(snapshots, 8, torch.ones(1), 0)
    look = lambda fields: fields[..., 1, 3, ::2]  # noqa: E731
    each, mean = found.seen(look)
    c = torch.randn(5, 8, generator=G)
    torch.testing.assert_close(c @ each + mean, look(found.fields(c)), atol=1e-4, rtol=1e-4)


def test_too_many_modes_and_bad_weights_are_errors():
    with pytest.raises(ValueError, match="31 modes of 30 snapshots"):
        modes.find(smooth(30), 31, torch.ones(1), 0)
    with pytest.raises(ValueError, match="above 0"):
        modes.find(smooth(30), 3, torch.zeros(1), 0)
