"""How long a step of a testbed takes, an ensemble at once and its members in turn, and its gradient."""

import pytest
import torch

from latentkit.testbeds.kolmogorov import Kolmogorov
from latentkit.testbeds.tsunami import Tsunami

M = 20
SIZES = pytest.mark.parametrize("size", [64, 150])


def rng():
    return torch.Generator().manual_seed(0)


def kolmogorov(size):
    system, reynolds = Kolmogorov(size), torch.linspace(500, 1500, M)
    return system.start(M, rng()), lambda state, rows: system.advance(state[rows], 5, reynolds[rows])


def tsunami(size):
    system = Tsunami(size)
    return system.start(0.5 * torch.rand(M, 2, generator=rng())), lambda state, rows: system.advance(state[rows], 40)


@SIZES
@pytest.mark.parametrize("system", [kolmogorov, tsunami])
@pytest.mark.benchmark(group="from one observation to the next, twenty members")
def test_together(benchmark, system, size):
    state, advance = system(size)
    benchmark.pedantic(advance, args=(state, slice(None)), rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("system", [kolmogorov, tsunami])
@pytest.mark.benchmark(group="from one observation to the next, twenty members")
def test_in_turn(benchmark, system):
    state, advance = system(64)
    benchmark.pedantic(
        lambda: [advance(state, slice(i, i + 1)) for i in range(M)],
        rounds=3,
        warmup_rounds=1,
    )


@pytest.mark.parametrize("system", [kolmogorov, tsunami])
@pytest.mark.benchmark(group="from one observation to the next, twenty members")
def test_gradient(benchmark, system):
    state, advance = system(64)

    def gradient():
        given = state.clone().requires_grad_()
        return torch.autograd.grad(advance(given, slice(None)).square().sum(), given)

    benchmark.pedantic(gradient, rounds=3, warmup_rounds=1)
