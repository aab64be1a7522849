"""Tapers and the distances they are functions of."""

import math

import pytest
import torch

from latentkit import localization, sphere
from latentkit.localization import taper

X = torch.nn.functional.normalize(torch.randn(30, 3, generator=torch.Generator().manual_seed(0)), dim=1)


def test_taper_is_a_correlation_that_ends():
    r = torch.linspace(0, 2.5, 251, dtype=torch.double)
    found = taper(r, 2.0)
    assert found[0] == 1 and (found[200:] == 0).all() and (found.diff() <= 1e-12).all()
    assert found[100].item() == pytest.approx(5 / 24)  # the two pieces meet
    assert torch.linalg.eigvalsh(taper(sphere.distance(X.double(), X.double()), 2.0)).min() > -1e-9


def test_a_taper_of_some_radii_is_about_a_gaussian():
    assert abs(taper(torch.tensor(1.0), localization.RADII).item() - math.exp(-0.5)) < 0.03


def test_distances_go_round():
    points = torch.tensor([[0.5, 0.0], [9.5, 0.0], [5.0, 3.0]])
    ring = localization.periodic(points, points, torch.tensor([10.0, math.inf]))
    torch.testing.assert_close(ring[0], torch.tensor([0.0, 1.0, math.hypot(4.5, 3.0)]))
    far = localization.periodic(torch.tensor([[0.0]]), torch.tensor([[13.0], [-27.5]]), 10.0)
    torch.testing.assert_close(far, torch.tensor([[3.0, 2.5]]))  # drifters do not wrap
    plane = localization.periodic(points, points, math.inf)
    torch.testing.assert_close(plane, torch.cdist(points, points))
