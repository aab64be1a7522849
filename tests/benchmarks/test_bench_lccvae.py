"""How long LC-CVAE takes: ten realizations in a stack against ten in turn, completion by each method.

`make bench` prints the times; the ratio of the first two is what one batched model saves.
"""

import numpy as np
import pytest
import torch

from latentkit.models import interpolation, tied, train
from latentkit.models.latent_gp import LatentGP
from latentkit.models.place_codes import PlaceCodes
from latentkit.models.train import generator

N, T, STEPS = 2048, 96, 30  # places and months of the packaged ensemble
X = torch.nn.functional.normalize(torch.randn(N, 3, generator=generator(0, "x")), dim=1)
Y = torch.randn(10, N, T, generator=generator(0, "y"))


def members(rows):
    return [tied.Member(Y[i], "a", torch.arange(64), 10.0, 0.1) for i in rows]


def trained(groups):
    for rows in groups:
        seeds = list(rows)
        model, data = tied.build(X, members(rows), 3, (64, 64), [generator(i, "init") for i in rows])
        batches = train.Shuffled(data, 128, seeds, [True, True])
        train.fit(model, batches, steps=STEPS, seeds=seeds, learning_rate=1e-3, progress=False)


@pytest.mark.parametrize("groups", [[range(10)], [[i] for i in range(10)]], ids=["together", "in turn"])
def test_ten_realizations(benchmark, groups):
    benchmark.pedantic(trained, args=(groups,), rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("kind", ["exact", "independent", "mixed"])
def test_latent_gp(benchmark, kind):
    F = torch.randn(500 if kind == "exact" else 9 * N, 15, generator=generator(0, "F"))
    z = torch.tanh(F[:, :3])
    benchmark.pedantic(
        lambda: LatentGP(F, z, generator(0, "gp"), kind=kind, steps=20, inducing=64, batch=256).predict(F[:N]), rounds=3
    )


@pytest.mark.parametrize("method", ["kriging", "shared place codes"])
def test_completion(benchmark, method):
    rows = torch.arange(0, N, 10)
    if method == "kriging":
        kernel = interpolation.fit_kernel(X[rows], Y[0, rows], np.random.default_rng(0))
        benchmark.pedantic(lambda: interpolation.krige(kernel, X, X[rows], Y[0, rows]), rounds=3)
    else:
        codes = PlaceCodes(Y[1:], X, 16, 2.0)
        benchmark.pedantic(lambda: codes.complete(rows, Y[0, rows]), rounds=3)
