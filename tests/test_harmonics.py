"""The harmonics are those of scipy, and what is done with them has the calculus of the sphere."""

import math

import numpy as np
import pytest
import torch
from scipy import special

from latentkit.models.train import generator
from latentkit.testbeds.harmonics import Harmonics

R = 3.0


def sphere(lat=16, lon=32, **more):
    return Harmonics(lat, lon, R, **({"dtype": torch.double} | more))


def spectrum(sphere, *batch, seed=0):
    """Return a random spectrum that a real field can have."""
    n = sphere.degree + 1
    found = torch.randn(*batch, n, n, generator=generator(seed, "spectrum"), dtype=torch.cdouble)
    order, degree = torch.arange(n)[:, None], torch.arange(n)
    real = torch.complex(found.real, torch.zeros_like(found.real))
    return torch.where(order == 0, real, found) * (order <= degree)


def points(sphere):
    lat, lon = torch.meshgrid(sphere.latitudes.deg2rad(), sphere.longitudes.deg2rad(), indexing="ij")
    return lat, lon


@pytest.mark.parametrize("lat, lon, degree", [(32, 64, 21), (16, 32, 10), (48, 96, 31), (8, 64, 5), (256, 512, 170)])
def test_degree_is_the_largest_without_aliasing(lat, lon, degree):
    assert Harmonics(lat, lon).degree == degree
    assert lon >= 3 * degree + 1 and 2 * lat >= 3 * degree + 1
    assert lon < 3 * degree + 4 or 2 * lat < 3 * degree + 4


def test_functions_are_those_of_scipy():
    one = sphere(32, 64)
    lat, lon = (part.numpy() for part in points(one))
    for m, degree in [(0, 0), (0, 1), (1, 1), (0, 7), (3, 5), (2, 20), (13, 21), (21, 21)]:
        found = torch.zeros(22, 22, dtype=torch.cdouble)
        found[m, degree] = 1.0
        norm = math.exp(0.5 * (math.log(degree + 0.5) + math.lgamma(degree - m + 1) - math.lgamma(degree + m + 1)))
        # (-1)^m takes scipy's phase away
        expected = (-1) ** m * norm * special.lpmv(m, degree, np.sin(lat)) * np.cos(m * lon) * (1 if m == 0 else 2)
        np.testing.assert_allclose(one.synthesize(found), expected, atol=1e-12)


@pytest.mark.parametrize("size", [(16, 32), (32, 64), (8, 64), (64, 32)])
def test_spectrum_to_grid_and_back(size):
    one = sphere(*size)
    a = spectrum(one, 2, 3)
    torch.testing.assert_close(one.analyze(one.synthesize(a)), a, rtol=0, atol=1e-13)


def test_functions_are_orthonormal_at_the_size_of_the_paper():
    one = sphere(256, 512)
    table, n = one._up, one.degree + 1  # (m, y, l)
    inner = table.mT @ (2 * one.weights[:, None] * table)
    expected = torch.diag_embed((torch.arange(n) >= torch.arange(n)[:, None]).double())
    torch.testing.assert_close(inner, expected, rtol=0, atol=1e-11)


def test_single_precision_is_good_to_its_digits():
    exact, single = sphere(32, 64), sphere(32, 64, dtype=torch.float32)
    a = spectrum(exact)
    torch.testing.assert_close(single.synthesize(a.cfloat()).double(), exact.synthesize(a), rtol=0, atol=1e-4)
    torch.testing.assert_close(single.analyze(exact.synthesize(a).float()), a.cfloat(), rtol=0, atol=2e-6)


def test_products_have_no_aliasing():
    # The spectrum of a product up to degree N is the same on a finer grid, which resolves all of the product.
    one, fine = sphere(16, 32), sphere(32, 64)
    a, b = spectrum(one), spectrum(one, seed=1)

    def product(grid):
        pad = grid.degree - one.degree
        x, y = (torch.nn.functional.pad(torch.view_as_real(s), (0, 0, 0, pad, 0, pad)) for s in (a, b))
        product = grid.synthesize(torch.view_as_complex(x)) * grid.synthesize(torch.view_as_complex(y))
        return grid.analyze(product)[: one.degree + 1, : one.degree + 1]

    torch.testing.assert_close(product(one), product(fine), rtol=0, atol=1e-12)


def test_laplacian_and_gradient_of_a_known_field():
    # f = cos^2(lat) cos(lat) cos(3 lon), a harmonic of degree 3: laplacian f = -12 f / R^2
    one = sphere()
    lat, lon = points(one)
    f = lat.cos() ** 3 * (3 * lon).cos()
    a = one.analyze(f)
    torch.testing.assert_close(one.synthesize(a * one.laplacian), -12 / R**2 * f)
    torch.testing.assert_close(a * one.laplacian * one.inverse, a)
    east = -3 * lat.cos() ** 2 * (3 * lon).sin() / R
    north = -3 * lat.cos() ** 2 * lat.sin() * (3 * lon).cos() / R
    torch.testing.assert_close(one.gradient(a), torch.stack([east, north]))


def test_wind_of_solid_rotation():
    one = sphere()
    lat, lon = points(one)
    u = 20 * lat.cos()
    vorticity, divergence = one.synthesize(one.rotation(torch.stack([u, 0 * u])))
    torch.testing.assert_close(vorticity, 2 * 20 * lat.sin() / R)
    torch.testing.assert_close(divergence, 0 * u, atol=1e-13, rtol=0)


def test_vorticity_and_divergence_to_wind_and_back():
    one = sphere(32, 64)
    a = spectrum(one, 2, 3)
    a[..., 0, 0] = 0  # no wind has a mean of either
    torch.testing.assert_close(one.rotation(one.wind(a)), a, rtol=0, atol=1e-12)
    only = a * torch.tensor([0.0, 1.0])[:, None, None, None]
    assert one.rotation(one.wind(only))[0].abs().max() < 1e-12  # a divergent wind does not rotate
    assert one.rotation(one.wind(a - only))[1].abs().max() < 1e-12


def test_curl_of_a_gradient_and_mean_of_a_divergence_are_nothing():
    one = sphere()
    curl, divergence = one.rotation(one.gradient(a := spectrum(one)))
    assert curl.abs().max() < 1e-12
    torch.testing.assert_close(divergence, a * one.laplacian, rtol=0, atol=1e-12)
    any_wind = torch.randn(2, 16, 32, generator=generator(3), dtype=torch.double)
    assert one.rotation(any_wind)[:, 0, 0].abs().max() == 0  # theorems of Gauss and Stokes, without rounding


def test_power_of_a_field_is_that_of_its_spectrum():
    one = sphere()
    a = spectrum(one)
    square = 0.5 * (a.abs().square().sum() + a[1:].abs().square().sum())
    torch.testing.assert_close((one.weights[:, None] * one.synthesize(a).square()).sum() / 32, square)
    assert one.weights.sum().item() == pytest.approx(1)


def test_one_order_alone():
    one = sphere()
    lat, lon = points(one)
    rows = (-(lat[:, 0] ** 2)).exp()
    found = one.analyze_order(rows, 1)
    torch.testing.assert_close(found, one.analyze(2 * rows[:, None] * lon.cos())[1].real)


@pytest.mark.parametrize("name", ["synthesize", "wind", "analyze", "rotation"])
def test_gradients(name):
    one = sphere(8, 16)
    shape = (2, 8, 16) if name in ("analyze", "rotation") else (2, one.degree + 1, one.degree + 1, 2)
    x = torch.randn(*shape, generator=generator(4), dtype=torch.double, requires_grad=True)

    def through(x):
        found = getattr(one, name)(x if x.shape[-1] == 16 else torch.view_as_complex(x))
        return torch.view_as_real(found) if found.is_complex() else found

    assert torch.autograd.gradcheck(through, x, fast_mode=True)


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="grid of 15 x 32; expected even numbers"):
        Harmonics(15, 32)
    with pytest.raises(ValueError, match="grid of 16 x 33; expected even"):
        Harmonics(16, 33)
    with pytest.raises(ValueError, match="radius -1"):
        Harmonics(16, 32, -1)
    with pytest.raises(ValueError, match=r"field of \(3, 32, 16\); expected \(\.\.\., 16, 32\)"):
        sphere().analyze(torch.zeros(3, 32, 16, dtype=torch.double))
