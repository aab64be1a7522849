"""Measures of disentanglement: what theory gives for permuted, rotated and unrelated latents, and clear words."""

import numpy as np
import pytest

from latentkit import disentanglement as dis

N = 4000
FACTORS = np.random.default_rng(1).uniform(-1, 1, (N, 3))
NOISE = np.random.default_rng(2).standard_normal((N, 4))
MEASURES = ("mig", "disentanglement", "completeness", "informativeness", "sap")


def rng():
    return np.random.default_rng(0)


def turned(v, angle):
    """Return two factors turned by an angle."""
    c, s = np.cos(angle), np.sin(angle)
    return v[:, :2] @ np.array([[c, -s], [s, c]])


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.7, 0.9])
def test_information_of_gaussians_is_that_of_theory_within_what_bins_lose(rho):
    x, e = np.random.default_rng(3).standard_normal((2, 100_000))
    y = rho * x + np.sqrt(1 - rho**2) * e
    found = dis.mutual_information(x[:, None], y[:, None], bins=30)[0, 0]
    bias = 29**2 / (2 * 100_000)
    assert abs(found - bias + 0.5 * np.log(1 - rho**2)) < 0.002 + 0.05 * -0.5 * np.log(1 - rho**2)


def test_information_of_noise_is_the_bias_that_is_stated():
    found = dis.mutual_information(NOISE, FACTORS, bins=20).mean()
    np.testing.assert_allclose(found, 19**2 / (2 * N), rtol=0.1)
    assert dis.mutual_information(FACTORS, FACTORS, bins=20)[0, 0] == pytest.approx(np.log(20))


def test_factors_permuted_scaled_and_reflected_have_all_measures_1():
    z = FACTORS[:, [2, 0, 1]] * [3, -0.1, 20] + [0, 5, 1]
    found = dis.scores(z, FACTORS, rng())
    for name in MEASURES:
        assert 0.96 < found[name] <= 1 + 1e-9, f"{name}: {found[name]}"
    bias = 19**2 / (2 * N) / np.log(20)  # of the second latent: the largest of two is a little more
    assert bias < 1 - found["mig"] < 2 * bias
    assert found["linear"] == pytest.approx(1) and found["used"] == 3


def test_a_monotonic_function_of_each_factor_has_the_same_gap():
    plain, bent = dis.mig(FACTORS, FACTORS, rng()), dis.mig(np.exp(3 * FACTORS), FACTORS, rng())
    np.testing.assert_array_equal(plain["each"], bent["each"])


def test_two_factors_turned_by_45_degrees_are_informative_and_in_no_latent():
    v = FACTORS[:, :2]
    found = dis.scores(turned(v, np.pi / 4), v, rng())
    assert found["informativeness"] > 0.95 and found["linear"] == pytest.approx(1)
    for name in ("mig", "disentanglement", "completeness", "sap"):
        assert found[name] < 0.04, f"{name}: {found[name]}"


@pytest.mark.parametrize("angle", [0.2, 0.5])
def test_predictability_of_turned_factors_is_the_cosine_of_twice_the_angle(angle):
    found = dis.sap(turned(FACTORS, angle), FACTORS[:, :2])["sap"]  # cos^2 - sin^2
    assert found == pytest.approx(np.cos(2 * angle), abs=0.03)


@pytest.mark.parametrize("regressor", dis.REGRESSORS)
def test_either_regressor_finds_which_latent_it_is(regressor):
    found = dis.dci(FACTORS[:, [1, 0, 2]], FACTORS, rng(), regressor=regressor)
    assert found["importance"].argmax(0).tolist() == [1, 0, 2]
    assert found["disentanglement"] > 0.95 and found["explained"].min() > 0.99


def test_noise_says_nothing():
    found = dis.scores(NOISE, FACTORS, rng())
    assert found["mig"] < 0.01 and found["sap"] < 0.005 and found["informativeness"] < 0.01
    assert found["mig"] == pytest.approx(found["null"], abs=0.003)


def test_a_factor_said_twice_is_complete_in_neither():
    z = np.column_stack([FACTORS, FACTORS])
    found = dis.scores(z, FACTORS, rng())
    assert found["mig"] < 1e-9 and found["sap"] < 1e-9
    assert found["disentanglement"] > 0.95 > 0.8 > found["completeness"]


def test_order_and_sign_of_latents_do_not_matter():
    z = FACTORS @ np.random.default_rng(4).standard_normal((3, 3)) + 0.1 * NOISE[:, :3]
    other = -z[:, [2, 0, 1]]
    for measure in (lambda z: dis.mig(z, FACTORS, rng())["each"], lambda z: dis.sap(z, FACTORS)["each"]):
        np.testing.assert_allclose(measure(z), measure(other), atol=1e-9)
    one, two = (dis.dci(x, FACTORS, rng(), regressor="lasso")["disentanglement"] for x in (z, other))
    assert one == pytest.approx(two, abs=1e-3)
    one, two = (dis.dci(x, FACTORS, rng(), trees=60)["disentanglement"] for x in (z, other))
    assert one == pytest.approx(two, abs=0.03)  # trees draw their cuts


def test_collapsed_latents_are_silent():
    z = np.column_stack([FACTORS[:, :2], 1e-4 * FACTORS[:, 2], np.zeros(N)])
    found = dis.scores(z, FACTORS, rng(), least=0.01)
    assert found["used"] == 2 and found["informativeness"] == pytest.approx(2 / 3, abs=0.03)
    assert found["mig"] == pytest.approx(dis.mig(FACTORS[:, :2], FACTORS, rng())["mig"])
    nothing = dis.scores(1e-4 * z, FACTORS, rng(), least=0.01)
    assert nothing.pop("used") == 0 and set(nothing.values()) == {0.0} and nothing.keys() == found.keys() - {"used"}


def test_one_latent_has_a_gap_to_none():
    found = dis.scores(FACTORS[:, :1], FACTORS[:, :2], rng())
    assert found["mig"] == pytest.approx(0.5, abs=0.02) and found["sap"] == pytest.approx(0.5, abs=0.01)


def test_latents_are_matched_to_factors_once_each():
    assert dis.match(np.array([[0.9, 0.8], [0.1, 0.7], [0.0, 0.0]])).tolist() == [0, 1]
    with pytest.raises(ValueError, match="1 latents for 2 factors"):
        dis.match(np.ones((1, 2)))


def test_baselines_find_what_they_are_made_for():
    v, other = (np.random.default_rng(i).uniform(-1, 1, (2000, 2)) for i in (5, 6))
    patterns = np.linalg.qr(np.random.default_rng(7).standard_normal((20, 2)))[0].T
    fields = [x @ np.array([[1.0, 0.4], [-0.4, 1.0]]) @ patterns for x in (v, other)]
    found = dis.baselines(fields, (v, other), 2, rng())
    sap = {name: dis.sap(z, other)["sap"] for name, z in found.items()}
    assert sap["ICA"] > 0.97  # uniform factors, mixed linearly
    np.testing.assert_allclose(found["OLS from the proxy"], found["PCA"], atol=1e-6)  # the proxy is the factors
    assert all(z.shape == (2000, 2) for z in found.values())
    with pytest.raises(ValueError, match="3 latents of 20 points and 2 proxies; expected 2 at most"):
        dis.baselines(fields, (v, other), 3, rng())


def test_what_was_mixed_is_unmixed_where_it_is_not_gaussian():
    mixed = FACTORS @ np.random.default_rng(8).standard_normal((3, 3))
    silent = np.column_stack([mixed, 1e-6 * NOISE[:, 0]])
    assert dis.sap(mixed, FACTORS)["sap"] < 0.6 < 0.97 < dis.sap(dis.unmixed(mixed, mixed, rng()), FACTORS)["sap"]
    assert dis.unmixed(silent, silent, rng(), least=0.01).shape == (N, 3)
    single = mixed.astype(np.float32)
    assert np.linalg.cond(np.cov(dis.unmixed(single, single, rng()).T)) < 1.1  # nothing is lost
    assert dis.unmixed(silent[:, 3:], silent[:, 3:], rng(), least=0.01) is not None


BAD = np.where(np.arange(N)[:, None] == 7, np.nan, FACTORS[:, :1])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: dis.sap(np.column_stack([FACTORS, BAD]), FACTORS), "latents 3 have values that are not finite"),
        (lambda: dis.mig(FACTORS, BAD, rng()), "factors 0 have values that are not finite"),
        (lambda: dis.scores(FACTORS[:-1], FACTORS, rng()), "3999 samples of latents and 4000 of factors"),
        (lambda: dis.sap(FACTORS, FACTORS * [1, 0, 1]), "factors 1 are constant and say nothing; leave them out"),
        (lambda: dis.dci(FACTORS * [0, 1, 1], FACTORS, rng()), "latents 0 are constant"),
        (lambda: dis.sap(FACTORS[:, 0], FACTORS), r"latents have the shape \(4000,\)"),
        (lambda: dis.mutual_information(FACTORS[:50], FACTORS[:50]), "20 bins for 50 samples"),
        (lambda: dis.dci(FACTORS, FACTORS[:, :1], rng()), "one factor"),
        (lambda: dis.dci(FACTORS, FACTORS, rng(), regressor="ridge"), "regressor is 'ridge'; expected one of forest"),
        (lambda: dis.linear(FACTORS, FACTORS, rng(), folds=1), "1 folds of 4000 samples"),
    ],
)
def test_what_cannot_be_measured_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
