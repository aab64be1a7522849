"""The planet against exact solutions: steady zonal flow, gravity and Rossby waves; and what it conserves."""

import math

import numpy as np
import pytest
import torch

from latentkit.models.train import generator
from latentkit.testbeds.planet import DAY, GRAVITY, HOUR, RADIUS, ROTATION, Planet

SUMMER = 252 * HOUR  # a quarter of a model year, when the published runs begin


def planet(lat=16, lon=32, **more):
    return Planet(lat, lon, **({"dtype": torch.double} | more))


def start(one, members=1, seed=0, **more):
    return one.start(members, generator(seed, "start"), **more)


def mean(one, field):
    return (one.area * field).sum((-2, -1))


def rms(one, field):
    return mean(one, field.square()).sqrt()


def harmonic(one, order, degree, size=1.0):
    n = one.sphere.degree + 1
    found = torch.zeros(n, n, dtype=torch.cdouble)
    found[order, degree] = size
    return found


def zonal(one, u, h):
    """Return a state of wind u and height h (y), the same at all longitudes."""
    rows = torch.as_tensor(np.stack([h, u, 0 * u]))
    return rows[None, :, :, None].expand(1, 3, one.sphere.lat, one.sphere.lon)


def test_steady_flow_of_williamson_2_stays():
    one = planet(damping=0.0)
    lat, u0 = one.latitudes.deg2rad().numpy(), 2 * math.pi * RADIUS / (12 * DAY)
    slope = (RADIUS * ROTATION * u0 + u0**2 / 2) / GRAVITY
    state = zonal(one, u0 * np.cos(lat), -slope * (np.sin(lat) ** 2 - 1 / 3))
    after = one.advance(state, 48)
    torch.testing.assert_close(after, state, rtol=0, atol=1e-8)
    solid = one.sphere.rotation(state[:, 1:].movedim(1, 0))[0]
    torch.testing.assert_close(one.balanced(solid), state, rtol=0, atol=1e-8)


def test_steady_jet_drifts_less_on_a_finer_grid():
    # A jet that no grid resolves exactly; its height by quadrature of the gradient wind equation.
    fine = np.linspace(-np.pi / 2, np.pi / 2, 20001)

    def wind(lat):
        return 40 * np.cos(lat) * np.exp(-((np.sin(lat) - 0.5) ** 2) / 0.1)

    u = wind(fine)
    force = -(2 * ROTATION * np.sin(fine) * RADIUS + u * np.tan(fine)) * u / GRAVITY
    h = np.concatenate([[0], np.cumsum((force[1:] + force[:-1]) / 2 * np.diff(fine))])
    h -= np.trapezoid(h * np.cos(fine), fine) / 2
    drift = []
    for lat in (16, 32, 64):
        one = planet(lat, 2 * lat, damping=0.0)
        rows = one.latitudes.deg2rad().numpy()
        state = zonal(one, wind(rows), np.interp(rows, fine, h))
        steps = round(6 * HOUR / one.step)
        drift.append(rms(one, one.advance(state, steps)[0] - state[0])[0].item())
    assert drift[1] < drift[0] / 20 and drift[2] < drift[1] / 20, drift
    assert drift[2] < 0.01


def test_start_is_in_balance():
    one = planet(32, 64)
    jets = start(one, waves=0.0)
    torch.testing.assert_close(
        Planet(32, 64, damping=0.0, dtype=torch.double).advance(jets, 24), jets, rtol=0, atol=1e-8
    )
    assert jets[0, 1].max().item() == pytest.approx(20, rel=0.01)
    state = start(one, 3)
    assert mean(one, state[:, 0]).abs().max() < 1e-9
    vorticity, divergence = one.sphere.rotation(state[:, 1:].movedim(1, 0))
    assert divergence.abs().max() < 1e-12 * vorticity.abs().max() + 1e-18
    y = torch.stack([vorticity, divergence, one.sphere.analyze(state[:, 0])])
    change = one._slope(y, torch.zeros_like(y[0, :, 1]))
    unbalanced = one._slope(y * torch.tensor([1.0, 1.0, 0.0])[:, None, None, None], torch.zeros_like(y[0, :, 1]))
    assert change[1].abs().max() < 1e-10 * unbalanced[1].abs().max()


def test_start_has_the_wind_that_was_asked_for():
    one = planet()
    waves = start(one, 200, speed=0.0, waves=8.0)
    assert rms(one, waves[:, 1:]).square().sum(1).mean().sqrt().item() == pytest.approx(8.0, rel=0.03)
    both = start(one, 3, shared=True)
    assert torch.equal(both, start(one).expand(3, -1, -1, -1))
    assert not torch.allclose(start(one, 2)[0], start(one, 2)[1])


def test_one_seed_gives_one_start_on_every_grid():
    def spectra(one):
        state = start(one)
        rotation = one.sphere.rotation(state[:, 1:].movedim(1, 0))
        return rotation[..., :9, :9] * RADIUS, one.sphere.analyze(state[:, 0])[:, :9, :9]

    coarse, fine = spectra(planet()), spectra(planet(32, 64))
    torch.testing.assert_close(coarse, fine, rtol=0, atol=1e-8)


@pytest.mark.parametrize("order, degree", [(0, 2), (1, 1), (3, 5), (10, 10)])
def test_gravity_waves_without_rotation(order, degree):
    # frequency sqrt(l (l + 1) g H) / R
    one = planet(rotation=0.0, damping=0.0, step=300.0)
    h = one.sphere.synthesize(harmonic(one, order, degree, 1e-3))
    state = torch.stack([h, 0 * h, 0 * h])[None]
    frequency = math.sqrt(degree * (degree + 1) * GRAVITY * one.depth) / RADIUS
    after = one.advance(state, 72)[0, 0]
    torch.testing.assert_close(after, h * math.cos(frequency * 6 * HOUR), rtol=0, atol=2e-7)


@pytest.mark.parametrize("swirl, size", [(0.0, 1e-3), (6.0, 4.0)])
def test_rossby_haurwitz_wave_turns_at_its_speed(swirl, size):
    # Where gravity waves are much faster than rotation and wind there is no divergence: a harmonic of degree l on solid
    # rotation w, of any size, turns at w - 2 (Omega + w) / (l (l + 1)). Froude and Lamb numbers squared are 1e-3.
    slow, order, degree, days = ROTATION / 100, 3, 4, 6
    one = planet(rotation=slow, damping=0.0)
    w = swirl / RADIUS
    lat = one.latitudes.deg2rad()[:, None].expand(16, 32)
    solid = one.sphere.analyze(2 * w * lat.sin())
    state = one.balanced((solid + harmonic(one, order, degree, size * 4.5 / RADIUS))[None])
    after = one.advance(state, round(days * DAY / one.step))
    found = one.sphere.rotation(after[0, 1:])[0][order, degree]
    expected = order * (w - 2 * (slow + w) / (degree * (degree + 1))) * days * DAY
    assert abs(expected) > 0.1
    assert -found.angle().item() == pytest.approx(expected, rel=0.01)
    assert found.abs().item() == pytest.approx(size * 4.5 / RADIUS, rel=0.01)


def test_mass_is_conserved_to_rounding():
    for dtype, most in ((torch.double, 1e-9), (torch.float32, 1e-3)):
        one = planet(dtype=dtype)
        state = start(one, 2)
        after = one.advance(state, 48, SUMMER, height=30.0, width=torch.tensor([1.0, 4.0]))
        assert (after - state)[:, 0].abs().max() > 20
        assert (mean(one, after[:, 0]) - mean(one, state[:, 0])).abs().max() < most


def test_energy_is_conserved_without_damping_and_source():
    one = planet(32, 64, damping=0.0)

    def energy(state):
        h, u, v = state[0]
        return mean(one, (one.depth + h) * (u**2 + v**2) / 2 + GRAVITY * h**2 / 2)

    state = start(one)
    after = one.trajectory(state, 48, 48)[1]
    assert energy(after).item() == pytest.approx(energy(state).item(), rel=1e-5)
    damped = Planet(32, 64, dtype=torch.double).advance(state, 48)
    assert energy(damped) < energy(state) * (1 - 1e-3)


def test_damping_is_that_of_equation_5():
    # Without rotation a faint vortex does nothing but decay; by default the shortest, of degree 10, in a day.
    one = planet(rotation=0.0)
    for degree, days in ((10, 1), (5, (109 / 29) ** 2)):
        state = one.balanced(harmonic(one, 4, degree, 1e-12)[None])
        kept = rms(one, one.advance(state, round(DAY / one.step))[0, 1]) / rms(one, state[0, 1])
        assert -kept.log().item() == pytest.approx(1 / days, rel=1e-6)


@pytest.mark.parametrize("time", [0.0, 6 * HOUR, SUMMER + 5 * HOUR])
def test_source_is_equation_4(time):
    one = planet(32, 64)
    lat, lon = torch.meshgrid(one.latitudes.deg2rad(), one.longitudes.deg2rad(), indexing="ij")
    lat_c = 0.4 * math.sin(2 * math.pi * time / (1008 * HOUR))
    expected = 7.0 / HOUR * (lon - 2 * math.pi * time / DAY).cos() * (-(((lat - lat_c) / 1.5) ** 2)).exp()
    seven, width = torch.full((1,), 7.0, dtype=torch.double), torch.full((1,), 1.5, dtype=torch.double)
    exact = one.sphere.analyze(expected)
    found = torch.zeros_like(exact)
    found[1] = one._sources(torch.tensor([time], dtype=torch.double), seven, width)[0, 0]  # all of it has order 1
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-15)
    # At rest the surface rises by the source before waves carry it away, in meters an hour.
    brief = planet(32, 64, step=10.0)
    rise = brief.advance(torch.zeros(1, 3, 32, 64, dtype=torch.double), 1, time, 7.0, 1.5)[0, 0]
    torch.testing.assert_close(rise, 10 * one.sphere.synthesize(found), rtol=0, atol=2e-5)


def test_order_of_convergence_in_time():
    state = start(planet(16, 32))

    def after(step):
        return planet(16, 32, step=step).advance(state, round(0.5 * DAY / step), SUMMER, 20.0, 2.0)

    exact = after(225.0)
    errors = [(after(step) - exact).square().mean().sqrt().item() for step in (2700.0, 1350.0)]
    assert 3.6 < math.log2(errors[0] / errors[1]) < 4.5, errors


def test_resolved_at_twice_the_resolution():
    coarse = planet(32, 64)
    fine = planet(64, 128, damping=coarse.damping)
    ends = [one.advance(start(one), round(DAY / one.step), SUMMER, 10.0, 2.0) for one in (coarse, fine)]
    a, b = (one.sphere.analyze(end[0])[:, :11, :11] for one, end in zip((coarse, fine), ends, strict=True))
    gap = (a - b).abs().square().sum((1, 2)).sqrt() / b.abs().square().sum((1, 2)).sqrt()
    assert gap.max() < 0.01, gap


def test_a_batch_is_a_loop():
    one = planet()
    state, height, width = start(one, 3), torch.tensor([0.1, 10.0, 30.0]), torch.tensor([1.0, 2.0, 4.0])
    both = one.advance(state, 6, SUMMER, height, width)
    for i in range(3):
        alone = one.advance(state[i : i + 1], 6, SUMMER, height[i].item(), width[i].item())
        torch.testing.assert_close(both[i : i + 1], alone, rtol=0, atol=1e-5)  # parameters came in single precision
    assert (both[0] - both[2]).abs().max() > 1


def test_one_advance_or_many():
    one = planet()
    state = start(one, 2)
    whole = one.trajectory(state, 6, 2, SUMMER, 10.0, 2.0)
    assert whole.shape == (4, 2, 3, 16, 32)
    now = state
    for i in range(3):
        now = one.advance(now, 2, SUMMER + 2 * i * one.step, 10.0, 2.0)
        torch.testing.assert_close(whole[i + 1], now, rtol=0, atol=1e-8)


def test_rest_stays_rest():
    hill = 1000 * torch.rand(16, 32, generator=generator(1))
    for one in (planet(), planet(ground=hill)):
        rest = torch.zeros(2, 3, 16, 32, dtype=torch.double)
        assert one.advance(rest, 10).abs().max() == 0
    assert (planet(ground=hill).advance(start(one), 5) - planet().advance(start(one), 5)).abs().max() > 1


def test_single_precision_follows_double():
    ends = [one.advance(start(one), 24, SUMMER, 10.0, 2.0) for one in (planet(), planet(dtype=torch.float32))]
    assert ends[1].dtype == torch.float32
    assert rms(planet(), ends[0] - ends[1].double())[0].max() < 0.01


def test_three_weeks_under_the_strongest_source():
    one = planet(dtype=torch.float32, step=HOUR)
    state = start(one, 4)
    end = one.advance(state, round(21 * DAY / one.step), SUMMER, 30.0, torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert rms(one, end)[:, 1:].max() < 40 and rms(one, end)[:, 0].max() < 1000


def test_gradients_are_those_of_finite_differences():
    one = planet(14, 26)
    state = start(one, 2)
    change = torch.randn(state.shape, generator=generator(2), dtype=torch.double, requires_grad=True)
    height = torch.tensor([5.0, 20.0], dtype=torch.double, requires_grad=True)
    width = torch.tensor([1.0, 3.0], dtype=torch.double, requires_grad=True)

    def after(change, height, width):
        return one.advance(state + change, 3, SUMMER, height, width)

    assert torch.autograd.gradcheck(after, (change, height, width), fast_mode=True, eps=1e-5, atol=1e-5)


def test_errors_of_a_planet_say_what_to_do():
    with pytest.raises(ValueError, match="grid of 17 x 32; expected even"):
        Planet(17, 32)
    with pytest.raises(ValueError, match="grid of 8 x 16 resolves degree 5; 8 is needed: 14 x 26 or more"):
        Planet(8, 16)
    with pytest.raises(ValueError, match="step of 7200.* s at most on 32 x 64"):
        Planet(step=7200)
    with pytest.raises(ValueError, match="depth is 0 m"):
        Planet(depth=0)
    with pytest.raises(ValueError, match=r"ground of \(64, 32\); expected finite numbers \(32, 64\)"):
        Planet(ground=torch.zeros(64, 32))


def test_errors_of_a_call_say_what_to_do():
    one = planet()
    state = start(one, 2)
    with pytest.raises(ValueError, match=r"state of \(3, 16, 32\); expected \(members, 3, 16, 32\)"):
        one.advance(state[0], 1)
    with pytest.raises(ValueError, match="state of torch.float32; this planet has torch.float64"):
        one.advance(state.float(), 1)
    with pytest.raises(ValueError, match=r"members \[1\] of the state are not finite"):
        one.advance(state * torch.tensor([1.0, math.nan])[:, None, None, None], 1)
    with pytest.raises(ValueError, match="width is 0 rad; expected numbers above 0"):
        one.advance(state, 1, 0.0, 1.0, 0)
    with pytest.raises(ValueError, match="expected a finite number or 2 of them"):
        one.advance(state, 1, 0.0, torch.ones(3))
    with pytest.raises(ValueError, match="time is nan s"):
        one.advance(state, 1, math.nan)
    with pytest.raises(ValueError, match="5 steps, kept every 2; expected a multiple of it"):
        one.trajectory(state, 5, 2)
    with pytest.raises(FloatingPointError, match="the flow broke down at steps of 1800 s; shorten them"):
        one.advance(100 * state, 100)
