"""A stack of models against its models trained one after the other, on the same data for the same steps."""

import pytest
import torch

from latentkit.models.cvae import CVAE
from latentkit.models.train import Shuffled, fit, generator

STEPS, SEEDS = 40, [0, 1, 2]


def train(seeds):
    x, y = (torch.randn(4096, d, generator=generator(0, d)) for d in (3, 96))
    model = CVAE(96, 3, 3, (128, 128), [generator(s, "init") for s in seeds])
    batches = Shuffled([x, y], 256, seeds, [False, False])
    fit(model, batches, steps=STEPS, seeds=seeds, learning_rate=1e-3, progress=False)


@pytest.mark.benchmark(group="three conditional VAEs")
def test_as_a_stack(benchmark):
    benchmark(train, SEEDS)


@pytest.mark.benchmark(group="three conditional VAEs")
def test_one_after_the_other(benchmark):
    benchmark(lambda: [train([s]) for s in SEEDS])
