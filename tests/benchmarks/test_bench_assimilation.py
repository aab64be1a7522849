"""How long an analysis takes: ours, one run and sixteen in a batch, beside DAPPER's on the same case (extra `peers`).

Lorenz-96, everything observed at every step; and one analysis of fields. `make bench` prints the times; those of a
batch are for all its runs, set-up included. With 4,000 variables it is most of ours: there are only ten cycles, since
DAPPER takes seconds for each.
"""

import contextlib
import io
import math
from functools import partial

import numpy as np
import pytest
import torch

from latentkit.assimilation import drivers, etkf, ienks
from latentkit.assimilation.observations import Observations
from latentkit.localization import Places, periodic
from latentkit.testbeds.lorenz import Lorenz96

CYCLES = {40: 100, 400: 100, 4000: 10}
CASES = {"LETKF, 7": (7, 4.0, 1.04), "iEnKS, 40": (40, None, 1.01)}


def case(runs, size):
    g = torch.Generator().manual_seed(0)
    ring = Lorenz96(size)
    x = ring.advance(torch.randn(runs, size, generator=g, dtype=torch.double) + 2, 200)
    truth = ring.trajectory(x, CYCLES[size])
    noise = torch.randn(truth.shape, generator=g, dtype=torch.double)
    return ring, truth, truth + noise, g


def ours(ring, truth, values, g, m, radius, inflation):
    k = ring.size
    where, std = torch.arange(k, dtype=torch.double)[:, None], torch.ones(k, dtype=torch.double)
    channel = torch.zeros(k, dtype=torch.long)
    here = lambda i: Observations(i * std, where, channel, values[i], std)  # noqa: E731
    E = truth[0][:, None] + 0.5 * torch.randn(truth.shape[1], m, k, generator=g, dtype=torch.double)
    step, times = (lambda E, a, b: ring.advance(E)), range(CYCLES[k] + 1)
    if radius is None:
        solve = lambda E, p, obs, g: ienks.ienks(E, p, obs, g, inflation=inflation, rotate=True)  # noqa: E731
        predict = lambda E, obs, a, b: step(E, a, b)  # noqa: E731
        return drivers.smooth(E, times, lambda i: here(i + 1), predict=predict, solve=solve, forecast=step, rng=g)
    local = etkf.Local(periodic(where, where, float(k)), radius, inflation=inflation, rotate=True)
    return drivers.cycle(E, times, here, forecast=step, observe=lambda E, obs: E, analyze=local, rng=g)


def error(course, truth):
    return float((course.mean - truth[1:]).square().mean(-1).sqrt()[len(truth) // 2 :].mean())


@pytest.mark.parametrize("name, runs, size", [
    ("LETKF, 7", 1, 40), ("LETKF, 7", 16, 40), ("LETKF, 7", 1, 400), ("LETKF, 7", 1, 4000),
    ("iEnKS, 40", 1, 40), ("iEnKS, 40", 16, 40),
])  # fmt: skip
def test_ours(benchmark, name, runs, size):
    made = case(runs, size)
    course = benchmark.pedantic(ours, args=(*made, *CASES[name]), rounds=2, warmup_rounds=1)
    assert error(course, made[1]) < 0.5


@pytest.mark.parametrize("radius", [0.3, 1.0, math.inf])
@pytest.mark.parametrize("shared", [True, False], ids=["once a place", "once a variable"])
def test_fields(benchmark, shared, radius):
    g = torch.Generator().manual_seed(0)
    axis = torch.arange(64) * 2 * math.pi / 64
    where = torch.rand(200, 2, generator=g) * 2 * math.pi
    obs = Observations(where[:, 0] * 0, where, where[:, 0].long() * 0, where[:, 0], torch.ones(200))
    places = Places(torch.cartesian_prod(axis, axis), partial(periodic, lengths=2 * math.pi), channels=3)
    E, Y = torch.randn(20, 3 * 64**2, generator=g), torch.randn(20, 200, generator=g)
    distance = places(obs)
    local = etkf.Local(distance, radius, place=places.of) if shared else etkf.Local(distance[places.of], radius)
    benchmark.pedantic(local, args=(E, Y, obs, g), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("name, size", [("LETKF, 7", 40), ("LETKF, 7", 400), ("LETKF, 7", 4000), ("iEnKS, 40", 40)])
def test_dapper(benchmark, name, size):
    dpr = pytest.importorskip("dapper", reason="DAPPER is not here: pip install latentkit[peers]")
    import dapper.da_methods as da
    from dapper.mods.Lorenz96 import LPs, dxdt, step, x0  # noqa: F401
    from dapper.tools.localization import nd_Id_localization

    m, radius, inflation = CASES[name]
    observe = dpr.mods.partial_Id_Obs(size, np.arange(size))
    observe["noise"] = 1
    observe["localizer"] = nd_Id_localization((size,), (2,))
    start = dpr.mods.GaussRV(mu=np.random.default_rng(0).normal(size=size) + 2, C=0.25)
    dynamics = {"M": size, "model": step, "noise": 0}
    model = dpr.mods.HiddenMarkovModel(dynamics, observe, dpr.mods.Chronology(0.05, dko=1, Ko=CYCLES[size] - 1), start)
    more = {"infl": inflation, "rot": True}
    method = (
        da.LETKF(N=m, loc_rad=radius, **more) if radius else da.iEnKS("Sqrt", N=m, Lag=1, nIter=10, wtol=1e-5, **more)
    )
    truth, values = model.simulate()

    def run():
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            method.assimilate(model, truth, values, liveplots=False)

    benchmark.pedantic(run, rounds=2)
