"""Plankton: budgets close, nothing becomes negative, an even state follows its ordinary differential equation."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from latentkit.finite import NotFiniteError
from latentkit.models.train import generator
from latentkit.testbeds.plankton import Plankton, Rates, Water, coarsened, light_growth, warm_growth
from latentkit.testbeds.sea import YEAR, Sea, Waves, sunlight

SIZE, CELL = (12, 16), 5e4
F64 = {"dtype": torch.float64}


def stream(amplitude=2e4, members=1):
    """Return eddies that no water leaves the channel by."""
    y = torch.arange(SIZE[0] + 1, dtype=torch.double)[:, None] / SIZE[0]
    x = (torch.arange(SIZE[1], dtype=torch.double) + 1) / SIZE[1]
    psi = amplitude * torch.sin(torch.pi * y) * torch.sin(2 * torch.pi * x) + 0.3 * amplitude * torch.cos(torch.pi * y)
    return psi.expand(members, -1, -1)


def water(psi=None, *, light=200.0, temperature=15.0, nutrient=4.0, supply=0.0, members=1):
    even = torch.ones(members, *SIZE, dtype=torch.double)
    psi = torch.zeros(members, SIZE[0] + 1, SIZE[1], dtype=torch.double) if psi is None else psi
    return lambda day: Water(psi, light * even, temperature * even, nutrient * even, supply)


def drawn(members=1, least=0.0):
    return least + torch.rand(members, 2, *SIZE, generator=generator(0, "state"), dtype=torch.double)


def test_nutrient_and_phytoplankton_are_kept_where_nothing_relaxes_or_sinks():
    system, state = Plankton(SIZE, recycled=1.0, **F64), drawn(2)
    later = system.advance(state, 50, water(stream(1.5e4, 2), members=2))
    torch.testing.assert_close(later.sum((1, 2, 3)), state.sum((1, 2, 3)), rtol=1e-13, atol=0)
    assert (later - state).abs().max() > 0.1


def test_transport_alone_keeps_each_of_them_and_an_even_field_as_it_is():
    system, state = Plankton(SIZE, **F64), drawn()
    moved = state
    for _ in range(30):
        moved = system._transport(moved, stream())
    torch.testing.assert_close(moved.sum((2, 3)), state.sum((2, 3)), rtol=1e-13, atol=0)
    even = torch.full((1, 2, *SIZE), 0.7, dtype=torch.double)
    torch.testing.assert_close(system._transport(even, stream()), even, rtol=1e-13, atol=0)


def test_nothing_becomes_negative_nor_new_extremes_by_transport():
    system = Plankton(SIZE, diffusion=0.0, **F64)
    state = (drawn() > 0.9).double()
    for _ in range(40):
        state = system._transport(state, stream(2.2e4))
        assert state.min() >= 0


@pytest.mark.parametrize("step", [0.4, 30.0])
def test_reactions_stay_positive_with_any_step(step):
    system, state = Plankton(SIZE, **F64), drawn()
    state[:, 0, :3], state[:, 1, -3:] = 0.0, 0.0
    state = system._react(state, torch.full((1, *SIZE), 3.0, dtype=torch.double), water(supply=0.1)(0.0), step)
    assert state.min() >= 0 and torch.isfinite(state).all()


def test_an_even_state_follows_its_equation():
    system = Plankton(SIZE, step=0.05, **F64)
    state = system.start(torch.full((1, *SIZE), 3.0), 0.2)
    light, temperature, supply, deep = 180.0, 12.0, 0.04, 6.0
    sea = water(stream(), light=light, temperature=temperature, nutrient=deep, supply=supply)
    growth = float(system.growth(torch.tensor(light), torch.tensor(temperature)))

    def right(_, c):
        n, p = c
        up, down = growth * p * n / (n + system.half), (system.loss + system.grazing * p) * p
        return [-up + system.recycled * down + supply * (deep - n), up - down]

    wanted = solve_ivp(right, (0, 20), [3.0, 0.2], rtol=1e-10, atol=1e-12).y[:, -1]
    later = system.advance(state, 400, sea)
    assert (later - later[..., :1, :1]).abs().max() < 1e-12
    np.testing.assert_allclose(later[0, :, 0, 0], wanted, rtol=2e-4)


def test_halving_the_step_divides_the_error_by_four():
    smooth = 1 + 0.5 * torch.sin(2 * torch.pi * torch.arange(SIZE[1]) / SIZE[1]).expand(1, 2, *SIZE).double()
    sea = water(stream(1.2e4), supply=0.05)
    runs = [Plankton(SIZE, step=0.1 / 2**i, **F64).advance(smooth, 40 * 2**i, sea) for i in range(4)]
    gaps = [float((a - b).norm()) for a, b in zip(runs, runs[1:], strict=False)]
    orders = np.log2(np.array(gaps[:-1]) / np.array(gaps[1:]))
    assert (orders > 1.8).all(), orders


def test_a_batch_is_its_members():
    system, state = Plankton(SIZE), drawn(3).float()
    sea = Sea(3, 3, generator(0, "sea"), SIZE, speed=0.05)
    part = lambda i: lambda day: Water(*[x if isinstance(x, float) else x[i : i + 1] for x in sea(day)])  # noqa: E731
    both = system.advance(state, 5, sea)
    for i in range(3):
        torch.testing.assert_close(both[i : i + 1], system.advance(state[i : i + 1], 5, part(i)))


def test_two_spans_are_one():
    system, state, sea = Plankton(SIZE, **F64), drawn(), water(stream())
    once = system.trajectory(state, 6, 2, sea)
    torch.testing.assert_close(once[-1], system.advance(system.advance(state, 2, sea), 4, sea, 2 * system.step))
    assert once.shape == (4, 1, 2, *SIZE)


def test_growth_has_its_closed_forms():
    rates = Rates()
    light = torch.linspace(0, 1000, 4001, dtype=torch.double)
    curve = light_growth(light, rates.optimum, rates.ratio)
    assert float(light[curve.argmax()]) == rates.optimum and float(curve.max()) == 1.0 and curve[0] == 0
    slope = torch.func.grad(lambda i: light_growth(i, rates.optimum, rates.ratio))(
        torch.tensor(1e-9, dtype=torch.double)
    )
    assert float(slope) == pytest.approx(1 / rates.ratio, rel=1e-6)
    t = torch.tensor([5.0, 15.0], dtype=torch.double)
    warm = warm_growth(t, rates.amplitude, rates.exponent)
    assert float(warm[1] / warm[0]) == pytest.approx(1.883, abs=1e-3)  # Q10
    assert float(warm_growth(torch.tensor(0.0), rates.amplitude, rates.exponent)) == pytest.approx(0.59)


def test_gradients_pass_through_a_run():
    system, state, psi = Plankton(SIZE, **F64), drawn(least=0.1), stream()
    light = torch.full((1, *SIZE), 150.0, dtype=torch.double, requires_grad=True)
    later = system.advance(state, 3, lambda day: water(psi)(day)._replace(light=light))
    (slope,) = torch.autograd.grad(later[:, 1].sum(), light)
    assert torch.isfinite(slope).all() and (slope > 0).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s: Plankton((2, 9)), r"size is \(2, 9\); expected \(y, x\), 3 cells or more"),
        (lambda s: Plankton(recycled=1.5), "recycled 1.5; expected numbers above 0"),
        (lambda s: s.advance(drawn()[:, :1], 1, water()), r"shape \(1, 1, 12, 16\); expected \(m, 2, 12, 16\)"),
        (lambda s: s.advance(drawn() - 1, 1, water()), "expected N and P of 0 or more"),
        (lambda s: s.advance(drawn(), 1, water(stream(2e5))), "too long; expected one of 0.16 d or less"),
        (lambda s: s.advance(drawn(), 1, water(stream()[:, 1:])), "expected .m, 13, 16.: one row more than cells"),
        (lambda s: s.trajectory(drawn(), 5, 2, water()), "5 steps, kept every 2"),
        (lambda s: coarsened(torch.ones(9, 10), 5), "9 x 10 cells in blocks of 5; expected a factor"),
        (lambda s: Sea(0, 3, generator(0), SIZE), "0 members and 3 days"),
        (lambda s: Sea(1, 3, generator(0), SIZE)(3.5), "day 3.5 is outside of this sea's 3 days"),
    ],
)
def test_what_does_not_fit_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call(Plankton(SIZE, **F64))


def test_states_that_are_not_finite_are_named():
    with pytest.raises(NotFiniteError, match="look at where it comes from"):
        Plankton(SIZE, **F64).advance(drawn() * torch.nan, 1, water())


def test_means_over_blocks():
    field = torch.arange(24.0).view(4, 6)
    torch.testing.assert_close(coarsened(field, 2), field.view(2, 2, 3, 2).mean((1, 3)))


def test_waves_have_deviation_one_and_their_memory():
    grid = {"scale": 8e5, "shortest": 2.5e5, "slope": 6.0, "tau": 5.0}
    waves = Waves(4, 400, generator(0, "waves"), (40, 40), CELL, walls=True, **grid)
    fields = torch.stack([waves.field(day) for day in range(0, 400, 4)])
    assert float(fields.square().mean()) == pytest.approx(1, abs=0.05)
    corners = waves.field(7, corners=True)
    assert corners.shape == (4, 41, 40) and corners[:, [0, -1]].abs().max() < 1e-4
    long = waves.amplitudes[:, :, 0, :, 0] / waves.amplitudes[:, :, 0, :, 0].std()  # longer than 2 pi / k0: tau itself
    lag = (long[1:, :, 0] * long[:-1, :, 0]).mean() / long[:, :, 0].square().mean()
    assert float(lag) == pytest.approx(np.exp(-1 / 5), abs=0.06)


def test_the_sea_has_its_speed_and_seasons():
    sea = Sea(3, 365, generator(0, "sea"), speed=0.1, jet=0.0)
    psi = sea(100.0).stream
    u, v = (psi[:, 1:] - psi[:, :-1]) / sea.cell, (psi - psi.roll(1, -1)) / sea.cell
    assert float((u.square().mean() + v.square().mean()).sqrt()) == pytest.approx(0.1, rel=0.2)
    winter, summer = (sea.skies(day) for day in (5, 180))
    assert (summer[0].mean((0, 2))[-10:] > 4 * winter[0].mean((0, 2))[-10:]).all()
    assert float(summer[1].mean() - winter[1].mean()) > 2
    assert summer[0].min() >= 0


def test_sunlight_is_the_mean_over_the_hours_of_a_day():
    lat, hours = torch.tensor([-30.0, 0.0, 45.0, 80.0], dtype=torch.double), torch.linspace(-torch.pi, torch.pi, 20001)
    for day in (10, 172, 250):
        tilt = np.radians(23.44) * np.sin(2 * np.pi * (day - 80) / YEAR)
        radians = torch.deg2rad(lat)[:, None]
        height = torch.sin(radians) * np.sin(tilt) + torch.cos(radians) * np.cos(tilt) * torch.cos(hours.double())
        torch.testing.assert_close(sunlight(lat, day), 1361 * height.relu().mean(1), rtol=1e-3, atol=0.05)
    assert float(sunlight(torch.tensor([80.0]), 355)) == 0.0
