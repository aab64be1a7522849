"""Growth functions: parameters within bounds, recovered from growth itself; profiles have their least at the truth."""

import pytest
import torch

from latentkit.models.growth import BOUNDS, WARM, Growth, fitted, profiles
from latentkit.models.train import generator
from latentkit.testbeds.plankton import RATES, light_growth, warm_growth


def rng(*seeds):
    return [generator(s, "growth") for s in seeds]


LIGHT = 600 * torch.rand(400, generator=generator(0, "light"), dtype=torch.double)
WARMTH = 25 * torch.rand(400, generator=generator(0, "warm"), dtype=torch.double)
TRUE = light_growth(LIGHT, RATES.optimum, RATES.ratio) * warm_growth(WARMTH, RATES.amplitude, RATES.exponent)


def test_starts_differ_and_say_nothing_of_the_truth():
    values = Growth(rng(*range(200))).values()
    for name, found in values.items():
        low, high = BOUNDS[name]
        share = (found / low).log() / torch.tensor(high / low).log()
        assert 0.2 <= share.min() < 0.25 and 0.75 < share.max() <= 0.8


def test_values_that_are_set_come_back_and_growth_has_them():
    growth = Growth(rng(0, 1)).double().set(**RATES._asdict())
    for name, value in growth.values().items():
        torch.testing.assert_close(value, torch.full((2,), getattr(RATES, name), dtype=torch.double))
    torch.testing.assert_close(growth(LIGHT[None], WARMTH[None]), TRUE.expand(2, -1))


def test_without_amplitude_warmth_is_one_at_its_reference():
    growth = Growth(rng(0, 1), amplitude=False)
    assert "amplitude" not in growth.values()
    torch.testing.assert_close(growth.warm(torch.full((1, 3), WARM)), torch.ones(2, 3))


def test_the_quadratic_has_its_maximum_at_the_optimum():
    growth = Growth(rng(0), light="quadratic").set(optimum=300.0, curvature=1.0)
    found = growth.light(torch.tensor([[0.0, 150.0, 300.0, 450.0]]))
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.75, 1.0, 0.75]]), atol=1e-6, rtol=0)


def test_parameters_are_recovered_from_growth_itself_from_any_start():
    growth = Growth(rng(0, 1, 2))
    left = fitted(growth, lambda g: g(LIGHT[None], WARMTH[None]) - TRUE)
    assert (left < 1e-10).all()
    for name, value in growth.values().items():
        torch.testing.assert_close(value, torch.full_like(value, getattr(RATES, name)), rtol=1e-3, atol=0)


def test_profiles_are_least_at_the_truth_and_are_those_of_a_dense_search():
    axes = {"optimum": [150.0, 250.0, 400.0], "ratio": [50.0, 100.0]}
    score = lambda g: (g(LIGHT[None], WARMTH[None]) - TRUE).square().mean(1)  # noqa: E731
    growth = Growth(rng(0, 1)).double().set(**RATES._asdict())
    found = profiles(score, growth, axes)
    assert {k: v.shape for k, v in found.items()} == {"optimum": (2, 3), "ratio": (2, 2)}
    assert (found["optimum"].argmin(1) == 1).all() and (found["ratio"].argmin(1) == 1).all()
    by_hand = min(float(score(growth.set(optimum=400.0, ratio=r))[0].detach()) for r in axes["ratio"])
    assert float(found["optimum"][0, 2]) == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Growth(rng(0), light="linear"), "'linear'; expected one of eilers-peeters, quadratic"),
        (lambda: Growth(rng(0)).set(optimum=1e4), "optimum is 10000; expected .* between 60 and 1200"),
        (lambda: Growth(rng(0)).set(curvature=1.0), "curvature is 1; expected one of amplitude, exponent"),
    ],
)
def test_what_does_not_fit_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
