"""Tapers and the distances they are functions of."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from latentkit import localization, sphere
from latentkit.assimilation import envar
from latentkit.assimilation.etkf import Local, etkf
from latentkit.assimilation.observations import Observations
from latentkit.localization import Places, great_circle, periodic, taper

G = torch.Generator().manual_seed(1)
draw = lambda *shape: torch.randn(*shape, generator=G, dtype=torch.double)  # noqa: E731
AXIS = torch.arange(8, dtype=torch.double)
PLANE = torch.cartesian_prod(AXIS, AXIS)
GLOBE = torch.cartesian_prod(torch.linspace(-80, 80, 8, dtype=torch.double), AXIS * 45)
KINDS = {
    "plane": (PLANE, partial(periodic, lengths=math.inf), 1.5, 8.0),
    "torus": (PLANE, partial(periodic, lengths=8.0), 1.0, 8.0),
    "sphere": (GLOBE, partial(great_circle, radius=6371.0), 2000.0, 60.0),
}
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


def look(o, extent):
    where = torch.rand(o, 2, generator=G, dtype=torch.double) * extent
    return Observations(torch.zeros(o), where, torch.zeros(o).long(), draw(o), torch.ones(o, dtype=torch.double))


def test_great_circles_are_those_of_unit_vectors():
    a, b = GLOBE, torch.tensor([[90.0, 0.0], [-45.0, -170.0]], dtype=torch.double)
    wanted = sphere.distance(*(torch.from_numpy(sphere.unit(*np.asarray(p).T)) for p in (a, b)))
    torch.testing.assert_close(great_circle(a, b, 6371.0), 6371.0 * wanted)
    torch.testing.assert_close(great_circle(b[:1], b[1:])[0, 0].item(), math.radians(135))


@pytest.mark.parametrize("kind", KINDS)
def test_channels_at_a_point_and_parameters_are_analyzed_as_one_variable_after_the_other(kind):
    points, apart, radius, extent = KINDS[kind]
    places, obs = Places(points, apart, channels=3, parameters=2), look(20, extent)
    distance = torch.cat([*3 * [apart(points, obs.where)], torch.zeros(2, 20, dtype=torch.double)])
    assert torch.equal(places(obs)[places.of], distance)
    E, Y = draw(2, 30, 3 * 64 + 2), draw(2, 30, 20)
    more = {"inflation": 1.1, "rotate": True}
    shared = Local(places, radius, place=places.of, **more)(E, Y, obs, torch.Generator().manual_seed(0))
    apiece = Local(distance, radius, **more)(E, Y, obs, torch.Generator().manual_seed(0))
    torch.testing.assert_close(shared, apiece, atol=1e-10, rtol=1e-10)
    whole = etkf(E, Y, obs, G)
    local = Local(places, radius, place=places.of)(E, Y, obs, G)
    torch.testing.assert_close(local[..., -2:], whole[..., -2:], atol=1e-10, rtol=1e-10)
    assert (local - whole)[..., :-2].abs().max() > 0.1
    for huge in (math.inf, 1e9):
        wide = Local(places, huge, place=places.of)(E, Y, obs, G)
        torch.testing.assert_close(wide, whole, atol=1e-8, rtol=1e-8)


def test_variables_need_a_place_with_distances():
    with pytest.raises(ValueError, match="places 0 to 4; distances are of 4 places"):
        Local(torch.ones(4, 2), 1.0, place=torch.tensor([0, 4, 2]))
    with pytest.raises(ValueError, match="distances are of 3 variables and 2 observations; there are 4 and 2"):
        Local(torch.ones(4, 2), 1.0, place=torch.tensor([0, 1, 2]))(draw(5, 4), draw(5, 2), look(2, 1.0), G)
    with pytest.raises(ValueError, match="points have shape"):
        Places(torch.ones(3), periodic)


@pytest.mark.parametrize("kind", KINDS)
def test_modes_are_a_root_of_the_taper(kind):
    points, apart, radius, extent = KINDS[kind]
    places, obs = Places(points, apart, channels=2), look(9, extent)
    at, seen = localization.modes(places, obs, radius, share=1 - 1e-9)
    both = torch.cat([points, points])
    reach = localization.RADII * radius
    assert at.shape[0] == 128 and seen.shape[0] == 9 and at.shape[1] <= 64
    torch.testing.assert_close(at @ at.mT, taper(apart(both, both), reach), atol=1e-6, rtol=0)
    nodes = obs._replace(where=points[:9])  # at points of the grid there is nothing to interpolate
    at, seen = localization.modes(places, nodes, radius, share=1 - 1e-9)
    torch.testing.assert_close(at @ seen.mT, taper(apart(both, nodes.where), reach), atol=1e-6, rtol=0)
    few = localization.modes(places, nodes, radius, share=0.9)[0]
    torch.testing.assert_close(few.norm(dim=1), torch.ones_like(few[:, 0]))
    assert few.shape[1] < at.shape[1]
    with pytest.raises(ValueError, match="3 columns hold 0.*Widen the radius"):
        localization.modes(places, obs, radius, most=3)
    with pytest.raises(ValueError, match="within"):
        localization.modes(places, obs, radius, share=1.0)


def test_modes_localize_4denvar_and_let_parameters_be_estimated():
    points, apart, _, extent = KINDS["torus"]
    places, obs = Places(points, apart, parameters=1), look(9, extent)
    E = draw(10, 65)
    predict = lambda X: X[..., :9]  # noqa: E731
    free = envar.envar(E, predict, obs, G)
    wide = envar.envar(E, predict, obs, G, modes=localization.modes(places, obs, math.inf))
    torch.testing.assert_close(wide, free, atol=1e-8, rtol=1e-8)
    at, seen = localization.modes(places, obs, 0.8, share=0.999)
    weight = (at[-1] @ seen.mT, at[:64] @ seen.mT)
    assert weight[0].min() > 0.1 and weight[0].max() - weight[0].min() < 0.1, "alike from everywhere"
    assert weight[1].min() < 0.01
    nodes = obs._replace(where=points[:9])
    at, seen = localization.modes(places, nodes, 0.8, share=0.999)
    tapered = torch.cov(E.mT) * (at @ at.mT)
    gain = tapered[:, :9] @ torch.linalg.inv(tapered[:9, :9] + torch.eye(9, dtype=torch.double))
    made = envar.envar(E, predict, nodes, G, modes=(at, seen))
    expected = E.mean(0) + gain @ (nodes.value - E.mean(0)[:9])
    torch.testing.assert_close(made.mean(0), expected, atol=1e-8, rtol=0)


@pytest.mark.parametrize("moves", [False, True])
def test_places_serve_networks_that_move(moves):
    points, apart, radius, extent = KINDS["torus"]
    places = Places(points, apart, channels=2)
    local = Local(places, radius, place=places.of)
    for o in (5, 7 if moves else 5):
        obs, E, Y = look(o, extent), draw(12, 128), draw(12, o)
        fixed = Local(apart(points, obs.where).repeat(2, 1), radius)(E, Y, obs, G)
        torch.testing.assert_close(local(E, Y, obs, G), fixed, atol=1e-10, rtol=1e-10)
