"""On a linear Gaussian system every method of Kalman's kind is Kalman's: filter, smoother, and the batch solution."""

import pytest
import torch
from linear import (
    CLOSE,
    ENSEMBLE,
    MODEL,
    SEEN,
    STD,
    STEPS,
    TIMES,
    VALUES,
    G,
    H,
    K,
    M,
    batch,
    draw,
    forecast,
    kalman,
    moments,
    observations,
    observe,
    predict,
)

from latentkit.assimilation import drivers, enkf, ensf, fourdvar, gaussian, particle
from latentkit.assimilation.envar import envar, localization_modes
from latentkit.assimilation.etkf import Local, etkf
from latentkit.assimilation.ienks import ienks
from latentkit.assimilation.levda import levda
from latentkit.assimilation.observations import Observations


def filtered(analyze, E=ENSEMBLE, obs=None, **more):
    return drivers.cycle(
        E, [0, *TIMES.tolist()], obs or observations(), forecast=forecast, observe=observe, analyze=analyze,
        rng=torch.Generator().manual_seed(1), keep=True, **more,
    )  # fmt: skip


FILTERS = {
    "etkf": etkf,
    "etkf, rotated": lambda *a: etkf(*a, rotate=True),
    "serial": enkf.serial,
    "local, without end": Local(torch.zeros(K, SEEN, dtype=torch.double), float("inf")),
    "local, all at distance 0": Local(torch.zeros(K, SEEN, dtype=torch.double), 1.0),
}


@pytest.mark.parametrize("name", FILTERS)
def test_square_root_filters_are_the_kalman_filter(name):
    course = filtered(FILTERS[name])
    for E, mean, (known, P) in zip(course.ensembles, course.mean, kalman(), strict=True):
        torch.testing.assert_close(mean, known, **CLOSE)
        torch.testing.assert_close(torch.cov(E.mT), P, **CLOSE)


def test_the_mean_of_perturbed_observations_is_kalmans_at_the_first_analysis():
    torch.testing.assert_close(filtered(enkf.perturbed).mean[0], kalman()[0][0], **CLOSE)


def test_perturbed_observations_solve_the_same_in_either_space():
    E = draw(2, 3, K)  # fewer members than observations, and more
    H_wide = draw(7, K)
    obs = Observations(torch.zeros(7), torch.zeros(7, 1), torch.zeros(7), draw(7), torch.ones(7, dtype=torch.double))
    wide = enkf.perturbed(E, E @ H_wide.mT, obs, torch.Generator().manual_seed(3))
    X, S = E - E.mean(-2, keepdim=True), (E - E.mean(-2, keepdim=True)) @ H_wide.mT
    g = torch.Generator().manual_seed(3)
    e = torch.randn(2, 3, 7, generator=g, dtype=torch.double)
    D = obs.value - E @ H_wide.mT + e - e.mean(-2, keepdim=True)
    gain = X.mT @ S @ torch.linalg.inv(S.mT @ S + 2 * torch.eye(7, dtype=torch.double))
    torch.testing.assert_close(wide, E + D @ gain.mT, **CLOSE)


def test_many_perturbed_members_come_near():
    g = torch.Generator().manual_seed(5)
    mean, P = moments(ENSEMBLE)
    many = mean + torch.randn(40_000, K, generator=g, dtype=torch.double) @ torch.linalg.cholesky(P).mT
    course = filtered(enkf.perturbed, many)
    known, spread = kalman()[-1]
    scale = spread.diagonal().sqrt()
    assert ((course.mean[-1] - known) / scale).abs().max() < 0.1
    assert (course.spread[-1] / scale - 1).abs().max() < 0.1


@pytest.mark.parametrize("jitter", [0.0, 0.3])
def test_many_particles_come_near(jitter):
    g = torch.Generator().manual_seed(5)
    E = torch.randn(20_000, 2, generator=g, dtype=torch.double) @ torch.tensor([[1.0, 0.8], [0.0, 0.6]]).double()
    obs = Observations(torch.ones(1), torch.zeros(1, 1), torch.zeros(1), torch.ones(1).double(), torch.ones(1).double())
    made = particle.bootstrap(E, E[:, :1], obs, g, jitter=jitter)
    torch.testing.assert_close(made.mean(0), torch.tensor([0.5, 0.4]).double(), atol=0.03, rtol=0)
    expected = torch.tensor([[0.5, 0.4], [0.4, 0.68]]).double()
    torch.testing.assert_close(torch.cov(made.mT), expected, atol=0.04, rtol=0)


SMOOTHERS = {
    "4DEnVar": envar,
    "4DEnVar, two loops": lambda *a: envar(*a, outer=2),
    "4DEnVar, localized by ones": lambda E, p, obs, g: envar(
        E, p, obs, g, modes=(torch.ones(K, 1, dtype=torch.double), torch.ones(len(obs.time), 1, dtype=torch.double))
    ),
    "iEnKS": ienks,
    "LEVDA, transformed": lambda *a: levda(*a, variant="transformed", iterations=200, tolerance=0),
}


@pytest.mark.parametrize("name", SMOOTHERS)
def test_smoothers_are_the_batch_solution(name):
    obs, g = observations(), torch.Generator().manual_seed(2)
    E = SMOOTHERS[name](ENSEMBLE, lambda X: predict(X, obs, 0, STEPS), obs, g)
    mean, P = batch()
    torch.testing.assert_close(E.mean(0), mean, **CLOSE)
    torch.testing.assert_close(torch.cov(E.mT), P, **CLOSE)


@pytest.mark.parametrize("windows", [[0, 4], [0, 2, 4], [0, 1, 2, 3, 4]])
@pytest.mark.parametrize("name", SMOOTHERS)
def test_windows_in_turn_end_where_the_kalman_filter_does(name, windows):
    course = drivers.smooth(
        ENSEMBLE, windows, observations(), predict=predict, solve=SMOOTHERS[name], forecast=forecast,
        rng=torch.Generator().manual_seed(2),
    )  # fmt: skip
    if len(windows) == 2:
        torch.testing.assert_close(course.start_mean[0], batch()[0], **CLOSE)
        torch.testing.assert_close(course.start_spread[0], batch()[1].diagonal().sqrt(), **CLOSE)
    assert course.forecast_mean is None
    mean, P = kalman()[-1]
    torch.testing.assert_close(course.mean[-1], mean, **CLOSE)
    torch.testing.assert_close(torch.cov(course.ensemble.mT), P, **CLOSE)


def test_strong_4dvar_is_the_batch_solution():
    obs, g = observations(), torch.Generator().manual_seed(2)
    mean, P = moments(ENSEMBLE)
    E = mean.expand(1, K)
    root = torch.linalg.cholesky(P)
    found = fourdvar.strong(E, lambda X: predict(X, obs, 0, STEPS), obs, g, root=root, tolerance=1e-16)
    torch.testing.assert_close(found[0], batch()[0], **CLOSE)


def test_perturbed_4dvar_members_are_draws_of_the_posterior():
    obs, g = observations(), torch.Generator().manual_seed(2)
    mean, P = moments(ENSEMBLE)
    root = torch.linalg.cholesky(P)
    E = mean + torch.randn(4000, K, generator=g, dtype=torch.double) @ root.mT
    found = fourdvar.strong(E, lambda X: predict(X, obs, 0, STEPS), obs, g, root=root, perturb=True)
    known, spread = batch()
    assert ((found.mean(0) - known) / spread.diagonal().sqrt()).abs().max() < 0.1
    assert (found.std(0) / spread.diagonal().sqrt() - 1).abs().max() < 0.1


def test_weak_4dvar_is_the_kalman_smoother_with_model_error():
    obs, g = observations(), torch.Generator().manual_seed(2)
    mean, P = moments(ENSEMBLE)
    root, error = torch.linalg.cholesky(P), 0.3 * torch.eye(K, dtype=torch.double)
    seen = lambda path: (path[1:] @ H.mT).movedim(0, -2).flatten(-2)  # noqa: E731
    path = fourdvar.weak(
        mean.expand(1, K), STEPS, lambda x, i: x @ MODEL.mT, seen, obs, g, root=root, error_root=error,
        iterations=300, tolerance=0,
    )  # fmt: skip
    # The path is Gaussian a priori; condition its joint covariance on the observations.
    powers = [torch.linalg.matrix_power(MODEL, i) for i in range(STEPS + 1)]
    zero = torch.zeros(K, K, dtype=torch.double)
    rows = [
        torch.cat([powers[i] @ root, *(powers[i - j] @ error if j <= i else zero for j in range(1, STEPS + 1))], 1)
        for i in range(STEPS + 1)
    ]
    A, prior = torch.cat(rows), torch.cat([p @ mean for p in powers])
    C = A @ A.mT
    full = torch.block_diag(*[H] * STEPS)
    full = torch.cat([torch.zeros(len(full), K, dtype=torch.double), full], 1)
    gain = C @ full.mT @ torch.linalg.inv(full @ C @ full.mT + torch.diag(obs.std**2))
    expected = prior + gain @ (obs.value - full @ prior)
    torch.testing.assert_close(path[:, 0].flatten(), expected, **CLOSE)


@pytest.mark.parametrize("length", [1, 3])
def test_weak_4dvar_in_windows_is_the_kalman_filter_with_model_error(length):
    steps, noise = 6, 0.3 * torch.eye(K, dtype=torch.double)
    values = torch.cat([VALUES, -VALUES[:2]])
    mean, P = moments(ENSEMBLE)
    means, covariances = [mean], [P]
    for i in range(steps):
        mean, P = MODEL @ mean, MODEL @ P @ MODEL.mT + noise @ noise.mT
        gain = P @ H.mT @ torch.linalg.inv(H @ P @ H.mT + torch.diag(STD**2))
        mean, P = mean + gain @ (values[i] - H @ mean), P - gain @ H @ P
        means, covariances = [*means, mean], [*covariances, P]
    roots = iter([torch.linalg.cholesky(P) for P in covariances[::length]])

    def solve(E, predict, obs, g):
        see = lambda path: (path[1:] @ H.mT).movedim(0, -2).flatten(-2)  # noqa: E731
        path = fourdvar.weak(
            E, length, lambda x, i: x @ MODEL.mT, see, obs, g, root=next(roots), error_root=noise, iterations=300,
            tolerance=0,
        )  # fmt: skip
        return path[0], path[-1]

    def refuse(*_):
        raise AssertionError("the model runs within `solve`")

    times = torch.arange(1, steps + 1, dtype=torch.double)
    course = drivers.smooth(
        ENSEMBLE.mean(0, keepdim=True), range(0, steps + 1, length), observations(times, values), predict=refuse,
        solve=solve, forecast=refuse, rng=torch.Generator().manual_seed(2),
    )  # fmt: skip
    torch.testing.assert_close(course.mean, torch.stack(means[length::length]), **CLOSE)
    assert course.start_mean.shape == course.mean.shape and not torch.equal(course.start_mean, course.mean)


def test_given_covariances_make_3dvar_and_optimal_interpolation():
    mean, P = moments(ENSEMBLE)
    obs = observations(TIMES[:1], VALUES[:1])
    gain = P @ H.mT @ torch.linalg.inv(H @ P @ H.mT + torch.diag(STD**2))
    expected = ENSEMBLE + (VALUES[0] - ENSEMBLE @ H.mT) @ gain.mT
    for more in ({}, {"linear": False, "iterations": 3}):
        analyze = gaussian.Given(P, observe, **more)
        for _ in range(2):  # the second time with the gain of the first
            torch.testing.assert_close(analyze(ENSEMBLE, observe(ENSEMBLE, obs), obs, G), expected, **CLOSE)
    fixed = gaussian.Given(P, observe, mean=mean)(ENSEMBLE, observe(ENSEMBLE, obs), obs, G)
    torch.testing.assert_close(fixed, (mean + gain @ (VALUES[0] - H @ mean)).expand(M, K), **CLOSE)


def test_runs_side_by_side_are_runs_alone():
    stack = torch.stack([ENSEMBLE, ENSEMBLE.flip(1) * 2])
    values = torch.stack([VALUES, -VALUES])
    for analyze in (etkf, enkf.serial, Local(torch.rand(K, SEEN, generator=G, dtype=torch.double), 1.0)):
        together = filtered(analyze, stack, observations(values=values))
        for i in range(2):
            alone = filtered(analyze, stack[i], observations(values=values[i]))
            torch.testing.assert_close(together.mean[:, i], alone.mean, **CLOSE)
            torch.testing.assert_close(together.ensemble[i], alone.ensemble, **CLOSE)


def test_a_parameter_is_estimated_as_one_more_column():
    # x' = x + a, with a unknown: observing x says what a is.
    g = torch.Generator().manual_seed(0)
    E = torch.randn(200, 2, generator=g, dtype=torch.double) * torch.tensor([1.0, 0.5], dtype=torch.double)
    times = torch.arange(1.0, 11.0, dtype=torch.double)
    obs = Observations(times, times[:, None] * 0, times.long() * 0, 0.7 * times, torch.full_like(times, 0.1))
    for analyze in (etkf, enkf.serial, enkf.perturbed, Local(torch.zeros(2, 1, dtype=torch.double), 1.0)):
        course = drivers.cycle(
            E, [0, *times.tolist()], obs, forecast=lambda E, a, b: torch.stack([E[:, 0] + E[:, 1], E[:, 1]], 1),
            observe=lambda E, obs: E[:, :1], analyze=analyze, rng=g,
        )  # fmt: skip
        assert abs(course.mean[-1, 1] - 0.7) < 0.05 and course.spread[-1, 1] < 0.05


def test_the_score_filter_keeps_the_prior_where_nothing_is_known():
    g = torch.Generator().manual_seed(0)
    E = 0.3 * torch.randn(400, 2, generator=g) + torch.tensor([1.0, -1.0])
    obs = Observations(torch.ones(2), torch.zeros(2, 1), torch.arange(2), torch.zeros(2), torch.full((2,), 1e4))
    for score in ensf.SCORES:
        made = ensf.EnSF(lambda E, obs: E, steps=200, eps_alpha=0.01, eps_beta=0.001, score=score)(E, E, obs, g)
        assert (made.mean(0) - E.mean(0)).abs().max() < 0.06
        assert (made.std(0) / E.std(0) - 1).abs().max() < 0.15
    near = ensf.EnSF(lambda E, obs: E, steps=500)(E, E, obs._replace(std=torch.full((2,), 0.2)), g)
    assert near.mean(0).abs().max() < 0.7, "an observation draws it from 1 towards 0"


def test_localization_modes_are_a_root_of_the_correlation():
    points = torch.linspace(0, 1, 9, dtype=torch.double)[:, None]
    C = torch.exp(-torch.cdist(points, points).square() * 4)
    at, seen = localization_modes(C, 6, share=0.9999)
    L = torch.cat([at, seen])
    torch.testing.assert_close(L @ L.mT, C, atol=1e-3, rtol=0)
    assert L.shape[1] < 9
