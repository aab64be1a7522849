"""The planet on 32 x 64 in single precision: a day of 1, 5 and 20 members, and the gradient of 8 hours through it."""

import pytest
import torch

from latentkit.models.train import generator
from latentkit.testbeds.harmonics import Harmonics
from latentkit.testbeds.planet import DAY, HOUR, Planet

PLANET = Planet(32, 64)


def start(members):
    return PLANET.start(members, generator(0, "start"))


@pytest.mark.benchmark(group="a day of the planet")
@pytest.mark.parametrize("members", [1, 5, 20])
def test_a_day(benchmark, members):
    benchmark.pedantic(PLANET.advance, (start(members), round(DAY / PLANET.step), 0.0, 10.0, 2.0), rounds=3)


@pytest.mark.benchmark(group="8 hours of the planet")
@pytest.mark.parametrize("gradient", [False, True], ids=["forward", "with gradient"])
def test_8_hours(benchmark, gradient):
    def work():
        height = torch.full((20,), 10.0, requires_grad=gradient)
        end = PLANET.advance(start(20), round(8 * HOUR / PLANET.step), 0.0, height, 2.0)
        if gradient:
            end.square().mean().backward()

    benchmark.pedantic(work, rounds=3)


@pytest.mark.benchmark(group="100 fields to the spectrum and back")
@pytest.mark.parametrize("lat", [32, 64, 128])
def test_transform(benchmark, lat):
    sphere = Harmonics(lat, 2 * lat)
    field = torch.randn(100, lat, 2 * lat, generator=generator(0))
    benchmark.pedantic(lambda: sphere.synthesize(sphere.analyze(field)), rounds=5, warmup_rounds=1)
