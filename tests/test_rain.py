"""The testbed of rain: each driver does what its equation says, the proxy sees four of them, noise is as stated."""

import math

import pytest
import torch

from latentkit.models.train import generator
from latentkit.testbeds.rain import DRIVERS, SEEN, Rain


def rng(name="rain"):
    return generator(0, name)


def still(**values):
    """Return one row of drivers, 0 but for some."""
    return torch.tensor([[float(values.get(name, 0)) for name in DRIVERS]])


def test_drivers_are_independent_and_uniform():
    u = Rain().draw(20_000, rng())
    assert float(u.abs().max()) <= 1
    torch.testing.assert_close(u.std(0), torch.full((7,), 1 / math.sqrt(3)), atol=0.01, rtol=0)
    left = torch.corrcoef(u.mT) - torch.eye(7)
    assert float(left.abs().max()) < 0.03


def test_fields_are_batches_of_their_rows():
    system, u = Rain((16, 32)), Rain().draw(5, rng())
    assert system.rain(u).shape == (5, 16, 32) and (system.rain(u) >= 0).all()
    torch.testing.assert_close(system.rain(u[[3]])[0], system.rain(u)[3])
    torch.testing.assert_close(system.rain(u.flip(0)), system.rain(u).flip(0))


def test_strength_scales_the_track_and_nothing_else():
    system = Rain()
    weak, strong = system.track(still(strength=-0.5)), system.track(still(strength=0.5))
    torch.testing.assert_close(strong, weak * math.exp(0.6))
    other = [system.rain(still(strength=s)) - system.track(still(strength=s)) for s in (-0.5, 0.5)]
    torch.testing.assert_close(*other, atol=1e-5, rtol=1e-5)


def test_a_phase_is_a_shift_along_the_circle():
    system = Rain((16, 48))
    step = 2 * (2 * math.pi / 48) / 1.2  # of the driver, by which the wave moves one point
    torch.testing.assert_close(
        system.track(still(phase=step)), system.track(still()).roll(-1, -1), atol=1e-5, rtol=1e-4
    )


def test_the_center_and_width_of_the_track_are_those_of_its_equation():
    system = Rain((256, 16))
    for values in ({"latitude": 0.4}, {"width": -0.8}, {"amplitude": -1.0, "latitude": -0.5}):
        u = {name: float(v) for name, v in zip(DRIVERS, still(**values)[0], strict=True)}
        column = system.track(still(**values))[0, :, 2]  # where sin(2 l) = 1
        center = (column * system.height[:, 0]).sum() / column.sum()
        spread = (column * (system.height[:, 0] - center).square()).sum().div(column.sum()).sqrt()
        assert float(center) == pytest.approx(0.6 + 0.15 * u["latitude"] + 0.1 * (1 + 0.6 * u["amplitude"]), abs=0.01)
        assert float(spread) == pytest.approx(0.1 * math.exp(0.45 * u["width"]), rel=0.05)


@pytest.mark.parametrize("name", DRIVERS)
def test_each_driver_moves_fields_by_more_than_their_noise(name):
    system = Rain()
    low, high = (system.rain(still(**{name: v})).sqrt() for v in (-1, 1))
    assert float((high - low).square().sum().sqrt()) > 5 * system.noise


def test_the_proxy_sees_four_drivers_and_not_the_others():
    system, u = Rain(), Rain().draw(4000, rng())
    x = system.proxy(u, rng("e"))
    X = torch.cat([x, torch.ones(4000, 1)], 1)
    left = u - X @ torch.linalg.lstsq(X, u).solution
    explained = 1 - left.var(0) / u.var(0)
    torch.testing.assert_close(explained[:SEEN], torch.full((SEEN,), 1 / (1 + 0.3**2)), atol=0.01, rtol=0)
    assert float(explained[SEEN:].max()) < 0.01
    blind = u.clone()
    blind[:, SEEN:] = 0
    torch.testing.assert_close(system.proxy(blind, rng("e")), x, atol=0, rtol=0)


def test_noise_of_fields_is_as_stated():
    system, u = Rain(noise=0.2), Rain().draw(200, rng())
    left = system.fields(u, rng("n")) - system.rain(u).sqrt()
    assert float(left.std()) == pytest.approx(0.2, rel=0.01)
    torch.testing.assert_close(Rain(noise=0.0).fields(u, rng("n")), system.rain(u).sqrt())


def test_a_sample_is_a_function_of_its_generator():
    one, two, other = (Rain().sample(10, g) for g in (rng(), rng(), rng("other")))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one[2], other[2]) and [len(part) for part in one] == [10, 10, 10]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Rain((6, 32)), "a grid of 6 x 32; expected 8 points a side"),
        (lambda: Rain(proxies=3), "3 proxies; expected 4 or more"),
        (lambda: Rain(noise=-1.0), "noise of -1 and 0.3"),
        (lambda: Rain().rain(torch.zeros(2, 6)), r"drivers of shape \(2, 6\); expected 7: latitude, strength"),
        (lambda: Rain().rain(torch.full((2, 7), 1.5)), "drivers reach 1.5"),
    ],
)
def test_what_cannot_be_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
