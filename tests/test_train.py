"""The loop finds a known minimum, a stack trains as its models alone, a killed training resumes to equal numbers."""

import math

import numpy as np
import pytest
import torch

from latentkit.models import train
from latentkit.models.nets import Dense
from latentkit.models.train import Shuffled, fit, generator

X = torch.randn(200, 4, generator=generator(0, "x"))
TRUTH = torch.tensor([[1.0], [-2.0], [0.5], [3.0]])
Y = X @ TRUTH + 0.7


class Line(torch.nn.Module):
    """Least squares by a stack of dense layers; `noise` perturbs the targets, `stop` kills the training."""

    def __init__(self, seeds, noise=0.0, stop=None):
        super().__init__()
        self.layer = Dense(4, 1, [generator(s, "init") for s in seeds])
        self.noise, self.stop = noise, stop

    def loss(self, batch, step, rng):
        if step == self.stop:
            raise KeyboardInterrupt
        x, y = batch
        noise = torch.stack([torch.randn(y.shape[1:], generator=g) for g in rng])
        mse = (self.layer(x) - y - self.noise * noise).square().mean((1, 2))
        return mse, {"mse": mse}


def batches(seeds, size=32):
    return Shuffled([X, Y], size, seeds, [False, False])


def test_finds_least_squares():
    model = Line([0])
    history = fit(model, batches([0]), steps=1050, seeds=[0], learning_rate=0.05, progress=False)
    torch.testing.assert_close(model.layer.weight[0], TRUTH, atol=1e-3, rtol=0)
    assert history.every == 11 and history.values["mse"].shape == (95, 1)
    assert history.values["mse"][-1, 0] < 1e-5


@pytest.mark.parametrize("clip", [math.inf, 0.5])
def test_stack_trains_as_its_models_alone(clip):
    seeds = [3, 4, 5]
    settings = dict(steps=21, learning_rate=0.02, clip=clip, progress=False)
    stack = Line(seeds, noise=0.1)
    fit(stack, batches(seeds), seeds=seeds, **settings)
    for i, seed in enumerate(seeds):
        alone = Line([seed], noise=0.1)
        fit(alone, batches([seed]), seeds=[seed], **settings)
        torch.testing.assert_close(alone.layer.weight[0], stack.layer.weight[i], atol=1e-6, rtol=1e-5)


def test_killed_training_resumes_to_equal_numbers(tmp_path):
    settings = dict(steps=28, seeds=[0], learning_rate=0.02, progress=False)
    whole = Line([0], noise=0.3)
    expected = fit(whole, batches([0]), **settings)
    file = tmp_path / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(Line([0], noise=0.3, stop=17), batches([0]), checkpoint=file, every=0.0, **settings)
    resumed = Line([9], noise=0.3)
    history = fit(resumed, batches([0]), checkpoint=file, **settings)
    assert torch.equal(resumed.layer.weight, whole.layer.weight)
    np.testing.assert_array_equal(history.values["mse"], expected.values["mse"])
    again = Line([7])
    fit(again, batches([0]), checkpoint=file, **settings)
    assert torch.equal(again.layer.weight, whole.layer.weight)


def test_checkpoint_of_another_training_is_refused(tmp_path):
    file = tmp_path / "state.pt"
    fit(Line([0]), batches([0]), steps=7, seeds=[0], learning_rate=0.02, checkpoint=file, progress=False)
    with pytest.raises(ValueError, match="another training"):
        fit(Line([0]), batches([0]), steps=14, seeds=[0], learning_rate=0.02, checkpoint=file, progress=False)


def test_divergence_stops_and_prints_the_parts():
    class Broken(Line):
        def loss(self, batch, step, rng):
            total, parts = super().loss(batch, step, rng)
            return total * (math.nan if step == 3 else 1), parts | {"kl": total.detach() * 0}

    with pytest.raises(train.DivergedError, match=r"step 3 .*'kl'.*lower the learning rate"):
        fit(Broken([0]), batches([0]), steps=7, seeds=[0], learning_rate=0.02, progress=False)


def test_every_sample_is_served_once_an_epoch():
    shuffled = batches([0, 1], size=48)
    for epoch in range(2):
        seen = torch.cat([shuffled(epoch * shuffled.steps + i)[0] for i in range(shuffled.steps)], 1)  # (2, 200, 4)
        for s in range(2):
            assert torch.equal(seen[s].sort(0).values, X.sort(0).values)
    assert not torch.equal(shuffled(0)[0][0], shuffled(0)[0][1])


def test_counts_that_differ_are_refused():
    with pytest.raises(ValueError, match="one number of samples"):
        Shuffled([X, Y[:50]], 8, [0], [False, False])
