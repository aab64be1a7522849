"""Upper quantiles and return levels: against scipy, closed forms of L-moments, and a case that pooling would hide."""

import numpy as np
import pytest
from scipy import stats

from latentkit import tails

SHAPES = [-0.5, -0.2, 0.0, 0.15, 0.4]
PERIODS = (2.0, 10.0, 50.0)


def sample(shape, n, seed=0, loc=3.0, scale=2.0):
    return stats.genextreme.rvs(-shape, loc=loc, scale=scale, size=n, random_state=seed)


@pytest.mark.parametrize("shape", SHAPES)
def test_levels_are_quantiles_of_scipys_distribution(shape):
    expected = stats.genextreme.ppf(1 - 1 / np.array(PERIODS), -shape, loc=3.0, scale=2.0)
    np.testing.assert_allclose(tails.level(PERIODS, 3.0, 2.0, shape), expected, rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_fit_finds_the_distribution_whose_l_moments_it_is_given(shape):
    u = (np.arange(400_000) + 0.5) / 400_000
    x = stats.genextreme.ppf(u, -shape, loc=3.0, scale=2.0)
    l1, l2 = x.mean(), (x * (2 * u - 1)).mean()
    t3 = (x * (6 * u**2 - 6 * u + 1)).mean() / l2  # integrals, not the estimates of equation 3
    np.testing.assert_allclose(tails.fit(l1, l2, t3), [3.0, 2.0, shape], atol=5e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_large_sample_gives_what_maximum_likelihood_gives(shape):
    x = sample(shape, 20_000)
    found = tails.fit(*tails.moments(x))
    c, loc, scale = stats.genextreme.fit(x, -shape, loc=3.0, scale=2.0)
    np.testing.assert_allclose(found, [loc, scale, -c], atol=0.06)
    np.testing.assert_allclose(tails.level([20.0], *found), np.quantile(x, 0.95), rtol=0.02)


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        (stats.uniform, (1 / 2, 1 / 6, 0)),
        (stats.expon, (1, 1 / 2, 1 / 3)),
        (stats.gumbel_r, (np.euler_gamma, np.log(2), 2 * np.log(3) / np.log(2) - 3)),
    ],
)
def test_moments_are_those_of_theory(distribution, expected):
    x = distribution.rvs(size=200_000, random_state=1)
    np.testing.assert_allclose(tails.moments(x), expected, atol=0.01)


def test_the_second_moment_is_half_the_mean_difference_of_pairs():
    x = sample(0.2, 13)
    pairs = np.abs(x[:, None] - x)[np.triu_indices(13, 1)]
    np.testing.assert_allclose(tails.moments(x)[1], pairs.mean() / 2, rtol=1e-12)


def test_moments_of_few_blocks_have_no_bias():
    x = sample(0.1, (9, 100_000))
    l1, l2, t3 = tails.moments(x)
    mean, half = tails.moments(sample(0.1, 400_000, seed=5))[:2]
    np.testing.assert_allclose([l1.mean(), l2.mean()], [mean, half], rtol=0.01)


def test_regional_levels_find_one_shape_over_places_of_unlike_size():
    size = np.linspace(1, 30, 400)
    x = sample(0.15, (14, 400), loc=4.0, scale=1.0) * size
    found = tails.regional(x, PERIODS, np.ones(400))
    expected = stats.genextreme.ppf(1 - 1 / np.array(PERIODS), -0.15, loc=4.0)[:, None] * size
    assert abs(found["shape"] - 0.15) < 0.05
    np.testing.assert_allclose((found["levels"] / expected).mean(1), 1, atol=0.03)


def test_a_place_without_rain_has_the_level_0_and_no_say():
    x = np.column_stack([sample(0.1, 30), np.zeros(30)])
    found = tails.regional(x, PERIODS, np.ones(2))
    assert (found["levels"][:, 1] == 0).all()
    np.testing.assert_allclose(found["levels"][:, 0], tails.level(PERIODS, *tails.fit(*tails.moments(x[:, 0]))))


def test_quantiles_are_those_of_numpy():
    x, levels = np.random.default_rng(4).gamma(1, size=(57, 6)), (0.03, 0.5, 0.95, 1 - 1 / 57)
    np.testing.assert_allclose(tails.quantiles(x, levels), np.quantile(x, levels, axis=0), rtol=1e-12)


def test_quantiles_are_compared_where_they_are():
    rng = np.random.default_rng(3)
    truth = tails.quantiles(rng.gamma(1, size=(900, 2)) * [1, 3], (0.95, 0.99))
    swapped = tails.quantile_errors(truth[:, ::-1], truth, np.ones(2))
    np.testing.assert_allclose(swapped["ratio"], 1)
    assert swapped["rms"] > 3
    assert tails.quantile_errors(truth, truth, np.ones(2))["rms"] == 0


def test_errors_of_quantiles_by_hand():
    truth = tails.quantiles(np.tile(np.arange(101.0)[:, None], (1, 3)), (0.5, 0.9))
    np.testing.assert_allclose(truth, [[50.0] * 3, [90.0] * 3])
    found = tails.quantile_errors(1.1 * truth, truth, np.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(found["ratio"], 1.1)
    np.testing.assert_allclose(found["rms"], (5 + 9) / 2)


def test_maxima_leave_out_days_of_no_block():
    values = np.arange(12.0).reshape(6, 2)
    np.testing.assert_array_equal(tails.maxima(values, np.array([0, 0, 2, 2, -1, -1])), [[2, 3], [6, 7]])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: tails.quantiles(x, (0.95, 0.999)), "0.999 of 40 days.*at most 0.975"),
        (lambda x: tails.quantiles(x[0], (0.9,)), "expected days by points"),
        (lambda x: tails.quantiles(x * np.nan, (0.9,)), "values have 80 numbers"),
        (lambda x: tails.quantile_errors(x, x[:, :1], np.ones(2)), r"\(40, 1\).*levels by points twice"),
        (lambda x: tails.quantile_errors(x, 0 * x, np.ones(2)), "is 0 on average.*take higher levels"),
        (lambda x: tails.maxima(x, np.zeros(3)), "40 days and 3 blocks"),
        (lambda x: tails.moments(x[:4]), "4 blocks; expected 5 or more"),
        (lambda x: tails.level([1.0], 0, 1, 0), "from 1 blocks on; expected more than 1"),
        (lambda x: tails.fit(0, 1, 0.99), "L-skewness from 0.99.*take more blocks"),
        (lambda x: tails.regional(x - 9, PERIODS, np.ones(2)), "expected none below 0"),
        (lambda x: tails.regional(x * 0, PERIODS, np.ones(2)), "no point has maxima that vary"),
    ],
)
def test_what_cannot_be_is_told(call, words):
    with pytest.raises(ValueError, match=words):
        call(np.random.default_rng(0).gamma(1, size=(40, 2)))
