"""Points on the sphere: distances against the haversine, neighbors against all pairs."""

import numpy as np
import pytest
import torch

from latentkit import sphere


def points(n, seed=0):
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    return x / x.norm(dim=1, keepdim=True)


def test_distance_is_the_angle_between_unit_vectors():
    a, b = points(20), points(30, 1)
    torch.testing.assert_close(sphere.distance(a, b), torch.acos((a @ b.T).clamp(-1, 1)))
    near = a + 1e-7 * points(20, 2)
    near = near / near.norm(dim=1, keepdim=True)
    cross = torch.linalg.cross(a, near).norm(dim=1)
    torch.testing.assert_close(sphere.distance(a, near).diagonal(), cross.asin(), rtol=1e-5, atol=0)


def test_nearest_are_the_nearest_observed_and_never_oneself():
    x, observed = points(60), torch.arange(0, 60, 3)
    found = sphere.nearest(x, observed, 4)
    for i in range(60):
        others = observed[observed != i]
        expected = others[sphere.distance(x[i : i + 1], x[others])[0].argsort()[:4]]
        assert found[i].tolist() == expected.tolist()


def test_places_that_coincide_are_neighbors_of_each_other():
    x = points(8)
    x[1] = x[0]
    assert sphere.nearest(x, torch.arange(8), 1)[:2, 0].tolist() == [1, 0]


def test_too_few_observed_points_are_refused():
    with pytest.raises(ValueError, match="4 neighbors of each need 5 or more"):
        sphere.nearest(points(9), torch.arange(4), 4)


def test_spread_out_points_cover_the_rest_and_are_nested():
    x = points(500)
    picked = sphere.spread_out(x, 20, np.random.default_rng(0))
    assert len(set(picked.tolist())) == 20
    # No point is farther from the picked ones than these are from each other: at most twice the best possible.
    separation = (sphere.distance(x[picked], x[picked]) + 9 * torch.eye(20)).min()
    assert sphere.distance(x, x[picked]).min(1).values.max() <= separation
    assert picked[:7].tolist() == sphere.spread_out(x, 7, np.random.default_rng(0)).tolist()
    with pytest.raises(ValueError, match="cannot choose 501 of 500"):
        sphere.spread_out(x, 501, np.random.default_rng(0))


def test_the_observed_share_holds_the_anchors_first():
    x, anchors = points(100), torch.tensor([90, 3, 50])
    rows = sphere.observe_share(x, 0.1, anchors, np.random.default_rng(0))
    assert len(rows) == 10 and set(anchors.tolist()) <= set(rows.tolist())
    assert sphere.observe_share(x, 0.02, anchors, np.random.default_rng(0)).tolist() == [3, 90]
    assert sphere.observe_share(x, 1.0, anchors, np.random.default_rng(0)).tolist() == list(range(100))
    with pytest.raises(ValueError, match="above 0, 1 at most"):
        sphere.observe_share(x, 0.0, anchors, np.random.default_rng(0))


def test_unit_vectors_of_latitudes_and_longitudes():
    points = sphere.unit(np.array([0, 90, 0, -30]), np.array([0.0, 17.0, 90.0, 180.0]))
    expected = [[1.0, 0, 0], [0, 0, 1], [0, 1, 0], [-(3**0.5) / 2, 0, -0.5]]
    np.testing.assert_allclose(points, expected, atol=1e-15)
