"""The drivers: times and observations that do not fit, filters that diverge, and a minimizer of many rows."""

import pytest
import torch

from latentkit.assimilation import drivers, enkf, envar, etkf, minimize, particle
from latentkit.assimilation.ensemble import factors, finish, free, turned
from latentkit.assimilation.ensf import EnSF
from latentkit.assimilation.gaussian import Given
from latentkit.assimilation.observations import Observations
from latentkit.finite import NotFiniteError
from latentkit.testbeds.kolmogorov import Kolmogorov

G = torch.Generator().manual_seed(0)
E = torch.randn(6, 3, generator=G, dtype=torch.double)


def look(times):
    t = torch.as_tensor(times, dtype=torch.double)
    return Observations(t, t[:, None] * 0, t.long() * 0, t * 0, t * 0 + 1)


def run(obs, times=(0, 1, 2), ensemble=E, analyze=etkf.etkf, forecast=lambda E, a, b: E, **more):
    return drivers.cycle(
        ensemble, times, obs, forecast=forecast, observe=lambda E, obs: E[..., :1].expand(*E.shape[:-1], len(obs.time)),
        analyze=analyze, rng=torch.Generator().manual_seed(0), **more,
    )  # fmt: skip


def test_times_without_observations_are_forecasts_alone():
    course = run(look([2.0, 2.0]))
    torch.testing.assert_close(course.mean[0], E.mean(0))
    assert course.times == [1.0, 2.0] and course.spread[1, 0] < course.spread[0, 0] and course.diverged is None
    assert run(lambda i: None).times == [1.0, 2.0]


@pytest.mark.parametrize(
    ("obs", "more", "words"),
    [
        ([1.5], {}, "observation 0 at time 1.5 is at none of the analysis times"),
        ([1.0, 3.0], {}, "observation 1 at time 3 is outside the windows"),
        ([1.0], {"times": (0, 0)}, "expected two or more, ascending"),
        ([1.0], {"ensemble": E[0]}, "members before variables"),
        ([1.0], {"ensemble": E[:1]}, "one member has no covariance"),
        ([1.0], {"ensemble": torch.where(E > 1, torch.nan, E)}, r"at time 0 is not finite, first at \[\d, \d\]"),
        ([1.0], {"analyze": lambda *a: etkf.etkf(*a, inflation=0.0)}, "inflation is 0.0"),
        (
            [1.0],
            {"analyze": lambda E, Y, obs, g: etkf.etkf(E, Y[..., :0], obs, g)},
            r"predictions of shape \(6, 0\)",
        ),
    ],
)
def test_what_does_not_fit_is_told(obs, more, words):
    with pytest.raises(ValueError, match=words):
        run(look(obs), **more)


def test_a_prediction_that_is_not_finite_ends_the_course_in_words():
    course = run(look([1.0]), analyze=lambda E, Y, obs, g: etkf.etkf(E, Y * torch.nan, obs, g))
    assert course.diverged == 1.0 and course.reason == "the prediction of observation 0 at time 1 is not finite"


@pytest.mark.parametrize(
    "analyze", [etkf.etkf, enkf.perturbed, enkf.serial, particle.bootstrap], ids=lambda f: f.__name__
)
@pytest.mark.parametrize(
    ("part", "new", "words"), [("value", torch.nan, "a finite value"), ("std", 0.0, "an error above 0")]
)
def test_missing_values_and_singular_errors_are_told_with_their_row(analyze, part, new, words):
    obs = look([1.0, 1.0])
    changed = obs._replace(**{part: torch.tensor([1.0, new]).double()})
    with pytest.raises(ValueError, match=f"observation 1 at time 1 has not {words}"):
        analyze(E, E[:, :2], changed, G)
    with pytest.raises(ValueError, match="observation 1 at time 1"):
        run(changed, analyze=analyze)


def test_a_testbed_that_breaks_down_is_a_divergence_and_the_course_stays():
    flow = Kolmogorov(16, inner=1, step=0.5)
    fast = flow.start(4, G, speed=100.0)
    ahead = lambda E, a, b: flow.advance(E.unflatten(-1, (16, 16)), 20, 1e4).flatten(-2)  # noqa: E731
    course = run(lambda i: None, times=range(40), ensemble=fast.flatten(-2), forecast=ahead)
    assert course.diverged is not None and "not finite in members" in course.reason
    assert len(course.times) == course.diverged - 1


def test_a_smoother_that_diverges_returns_what_it_has():
    course = drivers.smooth(
        E, [0, 1, 2, 3], look([1.0, 2.0, 3.0]), solve=envar.envar, rng=G,
        predict=lambda E, obs, a, b: E[..., :1] * (torch.inf if b == 3 else 1), forecast=lambda E, a, b: E,
    )  # fmt: skip
    assert course.diverged == 3.0 and course.times == [1.0, 2.0] and "prediction of observation 0" in course.reason


@pytest.mark.parametrize("step", [0.04, 0.05, 0.1])
def test_times_in_single_precision_are_the_analysis_times(step):
    times = torch.arange(1, 41) * step
    obs = Observations(times, times[:, None] * 0, times.long() * 0, times * 0, times * 0 + 1)
    course = run(obs, times=[step * i for i in range(41)], ensemble=E.float())
    assert len(course.times) == 40 and (course.spread[:, 0].diff() < 0).all(), "each row is used once"


@pytest.mark.parametrize("step", [0.04, 0.05, 0.1])
def test_times_in_single_precision_on_a_border_belong_to_the_earlier_window(step):
    seen = []

    def solve(E, predict, obs, g):
        seen.append(obs.time)
        return E

    times, windows = torch.arange(1, 41) * step, [step * i for i in range(0, 41, 4)]
    obs = Observations(times, times[:, None] * 0, times.long() * 0, times * 0, times * 0 + 1)
    drivers.smooth(E, windows, obs, predict=None, solve=solve, forecast=lambda E, a, b: E, rng=G)
    assert torch.equal(torch.stack(seen), times.reshape(10, 4))
    early = obs._replace(time=times - step)  # what is seen at the very start belongs to the first window
    seen.clear()
    drivers.smooth(E, windows, early, predict=None, solve=solve, forecast=lambda E, a, b: E, rng=G)
    assert torch.equal(seen[0], early.time[:5]) and torch.equal(torch.cat(seen), early.time)
    with pytest.raises(ValueError, match="observation 0 at time .* is outside the windows: from"):
        drivers.smooth(E, [2 * step, 100.0], obs, predict=None, solve=solve, forecast=None, rng=G)
    with pytest.raises(ValueError, match="observation 0 at time 0 is outside the windows: after 0"):
        run(look([0.0, 1.0]))


def test_a_filter_that_diverges_says_when_and_keeps_what_it_has():
    course = run(look([1.0]), times=range(6), forecast=lambda E, a, b: E if b < 3 else E * torch.inf)
    assert course.diverged == 3.0 and course.times == [1.0, 2.0] and course.mean.shape == (2, 3)
    assert course.ensemble.isfinite().all()


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="radius of localization is 0"):
        etkf.Local(torch.ones(3, 2), 0)
    with pytest.raises(ValueError, match="score is 'all'"):
        EnSF(lambda E, obs: E, score="all")
    with pytest.raises(ValueError, match="in \\(0, 1\\)"):
        EnSF(lambda E, obs: E, eps_alpha=1.5)
    with pytest.raises(ValueError, match="negative eigenvalue"):
        Given(-torch.eye(2), lambda x, obs: x)
    with pytest.raises(ValueError, match="0 outer loops"):
        envar.envar(E, lambda X: X, look([1.0]), G, outer=0)
    with pytest.raises(ValueError, match="modes have 2 variables"):
        envar.envar(E, lambda X: X, look([1.0]), G, modes=(torch.ones(2, 1), torch.ones(1, 1)))
    with pytest.raises(ValueError, match="which no correlation has"):
        envar.localization_modes(torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 1.0]]), 3)


def test_rotations_are_orthogonal_keep_the_mean_and_differ_by_run():
    basis, eye = free(7, E), torch.eye(6, dtype=torch.double)
    torch.testing.assert_close(basis.mT @ basis, eye)
    torch.testing.assert_close(basis.sum(0), torch.zeros(6, dtype=torch.double))
    turn = turned(eye.expand(2, 6, 6), G)
    torch.testing.assert_close(turn @ turn.mT, eye.expand(2, 6, 6))
    assert not torch.equal(turn[0], turn[1])
    made = finish(E, G, inflation=1.5, rotate=True)
    torch.testing.assert_close(made.mean(0), E.mean(0))
    torch.testing.assert_close(torch.cov(made.mT), 2.25 * torch.cov(E.mT))


def test_far_variables_keep_their_values_and_near_ones_move():
    distance = torch.tensor([[0.0], [1.0], [50.0]])
    made = etkf.Local(distance, 1.0)(E, E[:, :1], look([0.0]), G)
    wide = etkf.Local(distance, 1.0, inflation=1.1)(E, E[:, :1], look([0.0]), G)
    for analysis in (made, wide):
        torch.testing.assert_close(analysis[:, 2], E[:, 2])
    assert wide[:, 0].std() > 1.05 * made[:, 0].std()
    whole = etkf.etkf(E, E[:, :1], look([0.0]), G)
    torch.testing.assert_close(made[:, 0], whole[:, 0])
    assert (made[:, 1] - E[:, 1]).abs().max() > 1e-3 and (made[:, 1] - whole[:, 1]).abs().max() > 1e-3


def test_local_filters_know_which_network_they_are_for():
    obs = look([0.0, 0.0])._replace(where=torch.tensor([[0.0], [2.0]]))
    local = etkf.Local(torch.ones(3, 2), 1.0)
    for wrong in ((torch.cat([E, E[:, :1]], 1), E[:, :2]), (E, E)):
        with pytest.raises(ValueError, match="distances are of 3 variables and 2 observations"):
            local(*wrong, obs if wrong[1].shape[1] == 2 else look([0.0] * 3), G)
    with pytest.raises(ValueError, match="not finite"):
        etkf.Local(torch.full((3, 2), torch.nan), 1.0)
    with pytest.raises(ValueError, match="no observation is in reach"):
        etkf.Local(torch.ones(3, 2), 1e-6)
    places = torch.arange(3.0)[:, None]
    moving = etkf.Local(lambda obs: (places - obs.where[:, 0]).abs(), 1.0)
    for where in ([[0.0], [2.0]], [[1.0], [2.0]], [[1.0]]):
        here = look([0.0] * len(where))._replace(where=torch.tensor(where))
        Y = E[:, torch.tensor(where)[:, 0].long()]
        fixed = etkf.Local((places - here.where[:, 0]).abs(), 1.0)(E, Y, here, G)
        torch.testing.assert_close(moving(E, Y, here, G), fixed)


def test_a_localized_serial_filter_leaves_far_variables():
    weights = torch.tensor([[1.0], [0.5], [0.0], [1.0]])
    made = enkf.serial(E, E[:, :1], look([0.0]), G, weights=weights)
    torch.testing.assert_close(made[:, 2], E[:, 2])


def test_localized_4denvar_is_the_regression_with_the_tapered_covariance():
    points = torch.linspace(0, 1, 3, dtype=torch.double)[:, None]
    both = torch.cat([points, points[:1]])
    C = torch.exp(-torch.cdist(both, both).square() * 9)
    made = envar.envar(E, lambda X: X[:, :1], look([0.0]), G, modes=envar.localization_modes(C, 3, share=1.0))
    P = torch.cov(E.mT) * C[:3, :3]
    gain = P[:, :1] / (P[0, 0] + 1)
    torch.testing.assert_close(made.mean(0), E.mean(0) - gain[:, 0] * E[:, 0].mean(), atol=1e-6, rtol=0)


def test_many_rows_find_their_own_minima():
    start = torch.randn(5, 2, generator=G, dtype=torch.double) * 1.5
    rosenbrock = lambda x, rows: (1 - x[:, 0]).square() + 100 * (x[:, 1] - x[:, 0].square()).square()  # noqa: E731
    found = minimize.lbfgs(rosenbrock, start, iterations=300, tolerance=1e-14)
    torch.testing.assert_close(found.point, torch.ones_like(start), atol=1e-4, rtol=0)
    for i in range(5):
        alone = minimize.lbfgs(rosenbrock, start[i : i + 1], iterations=300, tolerance=1e-14)
        torch.testing.assert_close(found.point[i : i + 1], alone.point, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="row 1 is not finite"):
        minimize.lbfgs(lambda x, rows: x.sum(1) * torch.tensor([1.0, torch.nan]), torch.ones(2, 3))
    with pytest.raises(ValueError, match="one number a row"):
        minimize.lbfgs(lambda x, rows: x.sum(), torch.ones(2, 3))


def root(C, least):
    left, right = factors(C, least)
    inverse = torch.linalg.inv(C.double())
    close = {"rtol": 1e-8, "atol": 1e-12} if C.dtype == torch.double else {"rtol": 1e-2, "atol": 1e-4}
    torch.testing.assert_close((right @ right.mT).double(), inverse, **close)
    return left @ right.mT


@pytest.mark.parametrize("m", [5, 20])
@pytest.mark.parametrize("size", [0.0, 1.0, 300.0])
def test_roots_are_roots_whatever_the_observations_tell(m, size):
    S = size * torch.randn(3, m, 30, generator=G, dtype=torch.double)
    C = S @ S.mT + (m - 1) * torch.eye(m, dtype=torch.double)
    down = root(C, m - 1)
    up = C @ down
    close = {"atol": 1e-9 * max(1.0, size), "rtol": 1e-7}
    torch.testing.assert_close(up @ up, C, **close)
    torch.testing.assert_close(down @ up, torch.eye(m, dtype=torch.double).expand_as(C), **close)
    torch.testing.assert_close(up, up.mT, **close)
    alone = root(C[:1].float(), m - 1)
    torch.testing.assert_close(alone.double(), down[:1], atol=1e-3, rtol=1e-3)


def test_a_minimum_is_found_beyond_what_its_cost_can_tell():
    A = torch.linspace(1, 30, 12, dtype=torch.double)
    exact = torch.randn(4, 12, generator=G, dtype=torch.double)
    cost = lambda x, rows: 50 + 0.5 * (A * (x - exact[rows]).square()).sum(1)  # noqa: E731
    found = minimize.lbfgs(cost, torch.zeros_like(exact), iterations=100, tolerance=0)
    torch.testing.assert_close(found.point, exact, atol=1e-10, rtol=0)
    assert found.evaluations < 100, "and it ends"


def test_a_model_that_breaks_down_on_the_way_to_a_minimum_shortens_the_step():
    def cost(x, rows):
        if (x > 3).any():
            raise NotFiniteError("too far")
        return (x - 2).pow(4).sum(1) - 0.1 * (3 - x).log().sum(1)

    start = torch.tensor([[2.9], [-40.0], [1.0]], dtype=torch.double)
    found = minimize.lbfgs(cost, start, iterations=200, tolerance=0)
    x = found.point
    slope = 4 * (x - 2).pow(3) + 0.1 / (3 - x)
    torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-8, rtol=0)
    with pytest.raises(NotFiniteError, match="too far"):
        minimize.lbfgs(cost, start + 1)


def test_a_row_that_breaks_down_does_not_hold_up_the_others():
    def cost(x, rows):
        if (x[rows == 1] > 3).any():
            raise NotFiniteError("too far")
        return (x - 2.99).square().sum(1) * 10.0**rows

    start = torch.tensor([[-300.0], [0.0], [200.0]], dtype=torch.double)
    found = minimize.lbfgs(cost, start, iterations=60)
    torch.testing.assert_close(found.point, torch.full_like(start, 2.99), atol=1e-6, rtol=0)
    alone = minimize.lbfgs(lambda x, rows: (x - 2.99).square().sum(1), start[:1], iterations=60)
    torch.testing.assert_close(found.point[:1], alone.point, atol=1e-12, rtol=0)


def test_costs_may_be_of_another_precision_and_memory_is_checked():
    start = torch.tensor([[-1.2, 1.0]])
    rosenbrock = lambda x, rows: ((1 - x[:, 0]).square() + 100 * (x[:, 1] - x[:, 0].square()).square()).double()  # noqa: E731
    found = minimize.lbfgs(rosenbrock, start, iterations=100)
    torch.testing.assert_close(found.point, torch.ones(1, 2), atol=1e-2, rtol=0)
    with pytest.raises(ValueError, match="memory is 0"):
        minimize.lbfgs(rosenbrock, start, memory=0)


def test_moments_are_the_same_however_many_ensembles_they_are_taken_of(monkeypatch):
    def course():
        ahead = lambda X, a, b: 1.1 * X + 0.1  # noqa: E731
        return drivers.cycle(
            E, range(6), lambda i: None, forecast=ahead, observe=lambda X, o: X, analyze=None, rng=G, keep=True
        )

    once = course()
    monkeypatch.setattr(drivers, "MANY", 2 * E.numel())
    several = course()
    for name in ("mean", "spread", "forecast_mean", "forecast_spread", "ensembles"):
        torch.testing.assert_close(getattr(several, name), getattr(once, name), rtol=0, atol=0)
    torch.testing.assert_close(once.mean, once.ensembles.mean(-2))


def test_a_small_etkf_has_a_derivative():
    X = torch.randn(5, 3, generator=G, dtype=torch.double, requires_grad=True)
    obs = look([0.1, 0.2, 0.3])  # as many as leave no eigenvalue twice
    assert torch.autograd.gradcheck(lambda X: etkf.etkf(X, X, obs, G), X)
