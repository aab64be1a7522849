"""The bridge from testbeds to assimilations: the same as direct calls, whatever the shape of an ensemble."""

import math

import pytest
import torch

from latentkit.assimilation import drivers, etkf, fourdvar, ienks, interpolation
from latentkit.assimilation.observations import Network, everywhere, measure
from latentkit.testbeds.joint import Joint
from latentkit.testbeds.kolmogorov import Kolmogorov
from latentkit.testbeds.lorenz import Lorenz63, Lorenz96
from latentkit.testbeds.planet import HOUR, Planet
from latentkit.testbeds.tsunami import Tsunami

G = torch.Generator().manual_seed(0)
DOUBLE = {"dtype": torch.double}
FLOW, BASIN, PLANET = Kolmogorov(16, **DOUBLE), Tsunami(8, **DOUBLE), Planet(14, 26, **DOUBLE)
RING, BUTTERFLY = Lorenz96(8), Lorenz63()
CIRCLE = 2 * math.pi
flow = Joint(
    FLOW.advance, (16, 16), step=FLOW.step, parameters=["reynolds"], bounds={"reynolds": (20.0, 5000.0)},
    points=lambda obs: interpolation.Spectral((16, 16), obs, (CIRCLE, CIRCLE)), see=FLOW.velocity,
)  # fmt: skip
basin = Joint(
    BASIN.advance, (3, 8, 8), step=BASIN.step, see=BASIN.walled,
    points=lambda obs: interpolation.Linear(BASIN.axes, obs, [None, None]),
)  # fmt: skip
planet = Joint(
    PLANET.advance, (3, 14, 26), step=PLANET.step, parameters=["height", "width"], clock="time",
    points=lambda obs: interpolation.Linear(
        [interpolation.latitudes_over_poles(PLANET.latitudes), PLANET.longitudes], obs, [None, 360.0]
    ),
    see=lambda state: interpolation.over_poles(state, (1, 2)),
)  # fmt: skip
butterfly = Joint(BUTTERFLY.advance, (3,), step=BUTTERFLY.step, parameters=["rayleigh", "prandtl"])
ring = Joint(
    RING.advance, (8,), step=RING.step, parameters=["forcing"], see=lambda x: x[:, None],
    points=lambda obs: interpolation.Linear([torch.arange(8.0)], obs, [8.0]),
)  # fmt: skip


def draw(*shape, low=0.0, high=1.0):
    return low + (high - low) * torch.rand(*shape, generator=G, **DOUBLE)


# name: (joint, states (6, ...), parameters (6, q), network, the testbed called directly)
CASES = {
    "flow": (
        flow, FLOW.start(6, G), draw(6, 1, low=100, high=900), draw(5, 2, high=CIRCLE),
        lambda x, p: FLOW.advance(x, 3, p[:, 0]),
    ),
    "basin": (
        basin, BASIN.start(draw(6, 2)), None, draw(5, 2, high=1e6), lambda x, p: BASIN.advance(x, 3),
    ),
    "planet": (
        planet, PLANET.start(6, G), draw(6, 2, low=1, high=3), draw(5, 2, low=-90, high=90),
        lambda x, p: PLANET.advance(x, 3, 2 * PLANET.step, p[:, 0], p[:, 1]),
    ),
    "butterfly": (
        butterfly, draw(6, 3, low=1, high=9), draw(6, 2, low=9, high=28), None,
        lambda x, p: BUTTERFLY.advance(x, 3, rayleigh=p[:, 0], prandtl=p[:, 1]),
    ),
    "ring": (
        ring, draw(6, 8, low=-3, high=8), draw(6, 1, low=4, high=8), draw(5, 1, high=8),
        lambda x, p: RING.advance(x, 3, p[:, 0]),
    ),
}  # fmt: skip


def network(where, times):
    return everywhere(where, torch.as_tensor(times, **DOUBLE), [0])


@pytest.mark.parametrize("name", CASES)
def test_a_forecast_is_the_testbeds_and_hands_parameters_on(name):
    joint, state, parameters, _, direct = CASES[name]
    E = joint.pack(state, parameters)
    assert E.shape == (6, joint.size)
    later, same = joint.unpack(joint.forecast(E, 2 * joint.step, 5 * joint.step))
    assert torch.equal(later, direct(state, parameters))
    assert torch.equal(same, E[:, :0] if parameters is None else parameters)
    assert torch.equal(joint.forecast(E, 1.0, 1.0), E)


@pytest.mark.parametrize("name", CASES)
def test_runs_side_by_side_are_runs_alone(name):
    joint, state, parameters, where, _ = CASES[name]
    E = joint.pack(state, parameters)
    stack = E.reshape(2, 3, -1)
    torch.testing.assert_close(joint.pack(*joint.unpack(stack)), stack)
    end = 2 * joint.step
    together = joint.forecast(stack, 0, end)
    for i in range(2):
        torch.testing.assert_close(together[i], joint.forecast(stack[i], 0, end), atol=1e-12, rtol=1e-10)
    if where is not None:
        obs = network(where, [0.5 * end, 0.7 * end])
        seen = joint.predict(stack, obs, 0, end)
        assert seen.shape == (2, 3, 10)
        for i in range(2):
            torch.testing.assert_close(seen[i], joint.predict(stack[i], obs, 0, end), atol=1e-10, rtol=1e-10)
            torch.testing.assert_close(joint.observe(stack, obs)[i], joint.observe(stack[i], obs), atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[3] is not None])
def test_a_prediction_is_what_forecasts_show_and_a_line_between(name):
    joint, state, parameters, where, _ = CASES[name]
    E, h = joint.pack(state, parameters), joint.step
    obs = network(where, [5 * h, 6.25 * h, 8 * h])
    path = [E]
    for i in range(4, 8):
        path.append(joint.forecast(path[-1], i * h, (i + 1) * h))
    seen = [joint.observe(x, network(where, [0.0])) for x in path]  # at steps 4 to 8
    expected = torch.cat([seen[1], 0.75 * seen[2] + 0.25 * seen[3], seen[4]], -1)
    torch.testing.assert_close(joint.predict(E, obs, 4 * h, 8 * h), expected, atol=1e-9, rtol=1e-9)
    along = joint.along(torch.stack(path), [i * h for i in range(4, 9)], obs)
    torch.testing.assert_close(along, expected, atol=1e-9, rtol=1e-9)
    single = obs._replace(time=obs.time.float())  # times in single precision are the same times
    torch.testing.assert_close(joint.predict(E, single, 4 * h, 8 * h), expected, atol=1e-3, rtol=1e-4)


def test_what_is_observed_is_the_testbeds_own():
    state, where = FLOW.start(2, G), draw(4, 2, high=CIRCLE)
    obs = Network(torch.zeros(4), where, torch.tensor([0, 1, 0, 1]))
    wanted = interpolation.Spectral((16, 16), obs, (CIRCLE, CIRCLE))(FLOW.velocity(state))
    torch.testing.assert_close(flow.observe(flow.pack(state, draw(2, 1)), obs), wanted)


def test_waves_are_seen_where_they_stand_and_walls_stop_them():
    sin, cos = lambda a: torch.sin(math.pi * a), lambda a: torch.cos(math.pi * a)
    wave = lambda y, x: torch.stack([sin(x[0]) * cos(y[0]), cos(x[1]) * sin(y[1]), cos(x[2]) * cos(y[2])])  # noqa: E731
    errors = []
    for size in (16, 32):
        box = Tsunami(size, side=1.0, **DOUBLE)
        grids = [torch.meshgrid(y[1 if c == 1 else 0 :][:size], x[1 if c == 0 else 0 :][:size], indexing="ij")
                 for c, (y, x) in enumerate(box.axes)]  # fmt: skip
        state = wave([y for y, _ in grids], [x for _, x in grids])
        points = torch.cartesian_prod(*2 * [torch.linspace(0, 1, 41, **DOUBLE)])
        truth = wave(*(3 * [points[:, i]] for i in range(2)))
        errors.append([])
        for c in range(3):
            obs = Network(torch.zeros(len(points)), points, torch.full((len(points),), c))
            seen = interpolation.Linear(box.axes, obs, [None, None])(box.walled(state))
            errors[-1].append(float((seen - truth[c]).abs().max()))
    assert all(3.5 < a / b < 4.5 for a, b in zip(*errors, strict=True)), f"of second order up to the walls: {errors}"


@pytest.mark.parametrize("name", ["flow", "planet", "butterfly"])
def test_gradients_of_states_and_parameters_are_finite_differences(name):
    joint, state, parameters, where, _ = CASES[name]
    E = joint.pack(state[:1], parameters[:1])
    obs = None if where is None else network(where, [joint.step, 1.5 * joint.step])
    show = lambda E: joint.predict(E, obs, 0, 2 * joint.step) if obs else joint.forecast(E, 0, joint.step)  # noqa: E731
    way = torch.randn(E.shape, generator=G, **DOUBLE) * E.abs().clamp_min(1e-3)
    E = E.requires_grad_(True)
    found = torch.autograd.grad(show(E).square().sum(), E)[0]
    for part in (slice(None), slice(-len(joint.parameters), None)):
        step = torch.zeros_like(way)
        step[:, part] = 1e-5 * way[:, part]
        ahead, back = (show(E.detach() + sign * step).square().sum() for sign in (1, -1))
        assert float((found * step).sum()) == pytest.approx(float(ahead - back) / 2, rel=1e-5)


def test_bounds_hold_what_an_analysis_went_beyond():
    E = flow.pack(FLOW.start(2, G), torch.tensor([[-50.0], [300.0]], **DOUBLE))
    later = flow.forecast(E, 0, FLOW.step)
    assert flow.unpack(later)[1][:, 0].tolist() == [20, 300]
    free = Joint(FLOW.advance, (16, 16), step=FLOW.step, parameters=["reynolds"])
    with pytest.raises(ValueError, match="reynolds is -50"):
        free.forecast(E, 0, FLOW.step)


def test_networks_that_come_again_are_set_up_once():
    made = []
    seeing = Joint(
        RING.advance, (8,), step=1.0, see=lambda x: x[:, None],
        points=lambda obs: made.append(obs) or interpolation.Linear([torch.arange(8.0)], obs, [8.0]),
    )  # fmt: skip
    one, two = (network(torch.tensor([[place]]), [0.0]) for place in (1.0, 2.5))
    E = draw(3, 8)
    for obs in (one, two, one, two):
        seeing.observe(E, obs)
    assert len(made) == 2
    assert torch.equal(seeing.observe(E, two)[:, 0], (E[:, 2] + E[:, 3]) / 2)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: flow.forecast(torch.zeros(2, 257), 0, 0.05), "are 1.25 steps of 0.04; expected a whole number"),
        (lambda: flow.forecast(torch.zeros(2, 257), 0.08, 0), "are -2 steps"),
        (lambda: flow.unpack(torch.zeros(2, 256)), r"256 variables; expected 257: 256 of .* 1 parameters \(reynolds\)"),
        (lambda: flow.pack(torch.zeros(2, 16, 16)), r"and parameters \(2, 0\); expected .* \(..., m, 1\), of reynolds"),
        (lambda: flow.pack(torch.zeros(16, 16), torch.zeros(1)), r"states have shape \(16, 16\)"),
        (lambda: basin.pack(torch.zeros(2, 3, 8, 9)), r"expected \(..., m, 3, 8, 8\) and \(..., m, 0\), of none"),
        (lambda: butterfly.observe(torch.zeros(2, 5), network(torch.zeros(1, 1), [0.0])), "give it `points`"),
        (lambda: ring.predict(torch.zeros(2, 9), network(torch.zeros(1, 1), [9.0]), 0, 0.1), "outside the window 0 to"),
        (lambda: Joint(RING.advance, (8,), step=0.0), "the step is 0.0"),
        (lambda: Joint(RING.advance, (8,), step=1.0, parameters="forcing"), "expected names"),
        (lambda: Joint(RING.advance, (8,), step=1.0, bounds={"F": (0, 1)}), "bounds of some"),
        (
            lambda: Joint(RING.advance, (8,), step=1.0, parameters=["forcing"], bounds={"forcing": (9, 1)}),
            "bounds of forcing are 9 and 1",
        ),
    ],
)
def test_what_does_not_fit_is_told(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("driver", ["cycle", "smooth"])
def test_an_unknown_forcing_is_found(driver):
    g = torch.Generator().manual_seed(3)
    truth = RING.trajectory(RING.advance(draw(8, low=-3, high=8), 500), 200, forcing=6.5)
    times = torch.arange(1, 201, **DOUBLE) * RING.step
    where = torch.arange(8, **DOUBLE)[:, None]
    obs = measure(everywhere(where, times, [0]), truth[1:].flatten(), 0.5, g)
    E = ring.pack(truth[0] + torch.randn(30, 8, generator=g, **DOUBLE), 8 + torch.randn(30, 1, generator=g, **DOUBLE))
    if driver == "cycle":
        analyze = lambda *a: etkf.etkf(*a, inflation=1.02)  # noqa: E731
        course = drivers.cycle(
            E, [0.0, *times.tolist()], obs, forecast=ring.forecast, observe=ring.observe, analyze=analyze, rng=g
        )
    else:
        solve = lambda *a: ienks.ienks(*a, inflation=1.02)  # noqa: E731
        windows = [0.0, *times[3::4].tolist()]
        course = drivers.smooth(E, windows, obs, predict=ring.predict, solve=solve, forecast=ring.forecast, rng=g)
    assert course.diverged is None
    assert (course.mean[-1, :8] - truth[-1]).square().mean().sqrt() < 0.5
    assert abs(course.mean[-1, 8] - 6.5) < 0.2 and course.spread[-1, 8] < 0.2


def test_4dvar_finds_state_and_forcing_through_the_testbed():
    truth = ring.pack(RING.advance(draw(8, low=-3, high=8), 500)[None], torch.tensor([[6.5]], **DOUBLE))
    times = torch.arange(1, 11, **DOUBLE) * 0.6 * RING.step  # most of them between steps
    lookout = everywhere(torch.arange(0, 8, 2, **DOUBLE)[:, None] + 0.3, times, [0])
    seen = ring.predict(truth, lookout, 0.0, 8 * RING.step)[0]
    obs = measure(lookout, seen, 1e-4, torch.Generator().manual_seed(5))
    background = truth + torch.cat([0.3 * torch.randn(1, 8, generator=G, **DOUBLE), torch.ones(1, 1, **DOUBLE)], 1)
    found = fourdvar.strong(
        background, lambda E: ring.predict(E, obs, 0.0, 8 * RING.step), obs, G, root=torch.eye(9, **DOUBLE),
        iterations=500, tolerance=0,
    )  # fmt: skip
    assert (found - truth).abs().max() < 0.02 < 0.3 < (background - truth).abs().max()


def test_hours_may_be_the_unit_of_time():
    hourly = Joint(
        lambda state, steps, time, **more: PLANET.advance(state, steps, time * HOUR, **more), (3, 14, 26),
        step=PLANET.step / HOUR, parameters=["height", "width"], clock="time",
    )  # fmt: skip
    E = planet.pack(*CASES["planet"][1:3])
    torch.testing.assert_close(hourly.forecast(E, 3.0, 6.0), planet.forecast(E, 3 * HOUR, 6 * HOUR))


def test_errors_of_a_testbed_are_a_course_that_ends():
    wild = Joint(lambda x, steps: x / 0, (3,), step=1.0)
    course = drivers.cycle(
        draw(4, 3), [0, 1], lambda i: None, forecast=wild.forecast, observe=None, analyze=None, rng=G
    )  # fmt: skip
    assert course.diverged == 1.0
