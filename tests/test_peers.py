"""One analysis of ours is one of DAPPER's (extra `peers`), member by member; skipped where it is not installed."""

import numpy as np
import pytest
import torch

from latentkit.assimilation import enkf, etkf
from latentkit.assimilation.observations import Observations
from latentkit.localization import periodic
from latentkit.testbeds.lorenz import Lorenz96

pytest.importorskip("dapper", reason="DAPPER is not here: pip install latentkit[peers]")
RNG = np.random.default_rng(0)
E, VALUES, STD = RNG.normal(size=(7, 12)), RNG.normal(size=5), RNG.uniform(0.5, 2, 5)
Y = E @ RNG.normal(size=(12, 5))  # linear, so that the order of observations does not matter


def ours(analyze):
    value, std = torch.from_numpy(VALUES), torch.from_numpy(STD)
    obs = Observations(torch.zeros(5), torch.zeros(5, 1), torch.zeros(5), value, std)
    return analyze(torch.from_numpy(E), torch.from_numpy(Y), obs, torch.Generator()).numpy()


def error():
    from dapper.tools.randvars import GaussRV

    return GaussRV(C=STD**2, M=5)


def test_a_square_root():
    from dapper.da_methods.ensemble import EnKF_analysis

    theirs = EnKF_analysis(E.copy(), Y.copy(), error(), VALUES, "Sqrt")
    np.testing.assert_allclose(ours(etkf.etkf), theirs, atol=1e-10)
    np.testing.assert_allclose(ours(enkf.serial).mean(0), theirs.mean(0), atol=1e-10)  # another root, the same mean


def test_local_analyses():
    from dapper.da_methods.ensemble import local_analyses
    from dapper.tools.localization import nd_Id_localization

    places = np.array([0, 2, 5, 7, 9])
    localizer = nd_Id_localization((12,), obs_inds=places)(radius=2.0, direction="x2y", tag="GC")
    theirs, _ = local_analyses(E.copy(), Y, error().C, VALUES, *localizer)
    ring = torch.arange(12.0, dtype=torch.double)[:, None]
    local = etkf.Local(periodic(ring, ring[places], 12.0), 2.0)
    np.testing.assert_allclose(ours(local), theirs, atol=2e-3)  # they leave out weights below 1e-3, as we do


def test_the_model():
    from dapper.mods.Lorenz96 import step

    theirs = step(E + 3, 0.0, 0.05)
    found = Lorenz96(12).advance(torch.from_numpy(E + 3)).numpy()
    np.testing.assert_allclose(found, theirs, atol=1e-12)
