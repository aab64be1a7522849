"""The loss is the evidence lower bound: its pieces against torch's, the bound against a closed form."""

import math

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from latentkit.models.cvae import CVAE, gaussian_kl
from latentkit.models.train import Shuffled, fit, generator


def make(seeds=(0,), series=6, condition=3, **more):
    return CVAE(series, condition, 2, (8, 8), [generator(s, "init") for s in seeds], **more)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed, "data"))


def test_kl_is_that_of_torch():
    m, v, pm, pv = (draw(50, seed=i) for i in range(4))
    expected = kl_divergence(Normal(m, (0.5 * v).exp()), Normal(pm, (0.5 * pv).exp()))
    torch.testing.assert_close(gaussian_kl(m, v, pm, pv), expected)


@pytest.mark.parametrize("noise", ["learned", "unit"])
def test_loss_is_minus_equation_3(noise):
    model = make(noise=noise)
    x, y = draw(1, 40, 3), draw(1, 40, 6, seed=1)
    total, parts = model.loss((x, y), 0, [generator(5)])
    mean, log_variance = model.encode(x, y)
    eps = torch.randn(40, 2, generator=generator(5))
    q = Independent(Normal(mean, (0.5 * log_variance).exp()), 1)
    prior_mean, prior_log_variance = model.prior(x)
    p = Independent(Normal(prior_mean, (0.5 * prior_log_variance).exp()), 1)
    z = mean + (0.5 * log_variance).exp() * eps
    likelihood = Independent(Normal(model.decode(x, z), model.noise), 1).log_prob(y)
    torch.testing.assert_close(total, (kl_divergence(q, p) - likelihood).mean(-1))
    torch.testing.assert_close(parts["kl"], kl_divergence(q, p).mean(-1))


def test_bound_touches_the_likelihood_of_a_linear_gaussian_model():
    # y = W z + noise with z ~ N(0, I): log p(y) is Gaussian, and the bound is tight for the exact posterior.
    model = CVAE(6, 0, 2, (8,), [generator(0)], prior="standard", noise="unit").double()
    y = draw(1, 30, 6, seed=1).double()
    # Orthogonal rows, since a diagonal encoder cannot hold a correlated posterior.
    weight = torch.linalg.qr(draw(6, 2).double()).Q.T * torch.tensor([[1.5], [0.7]], dtype=torch.double)
    covariance = torch.linalg.inv(torch.eye(2, dtype=torch.double) + weight @ weight.T)
    model.decode = lambda x, z: z @ weight
    log_variance = covariance.diagonal().log().expand(1, 30, 2)
    model.encode = lambda x, y: (y @ weight.T @ covariance, log_variance)
    x = y[..., :0]
    draws = [-model.loss((x, y), 0, [generator(i, "draw")])[0] for i in range(4000)]
    eye = torch.eye(6, dtype=torch.double)
    exact = MultivariateNormal(torch.zeros(6, dtype=torch.double), weight.T @ weight + eye).log_prob(y).mean()
    draws = torch.cat(draws)
    assert abs(draws.mean() - exact) < 4 * draws.std() / math.sqrt(len(draws))


def test_stack_trains_as_its_models_alone():
    x, y = draw(64, 3), draw(64, 6, seed=1)
    settings = dict(steps=8, learning_rate=1e-2, clip=1.0, progress=False)

    def trained(seeds):
        model = make(seeds)
        fit(model, Shuffled([x, y], 16, seeds, [False, False]), seeds=seeds, **settings)
        return model

    stack = trained([0, 1])
    for i in range(2):
        alone = trained([i]).reconstruct(x[None], y[None])[0]
        both = stack.reconstruct(x.expand(2, -1, -1), y.expand(2, -1, -1))[i]
        torch.testing.assert_close(alone, both, atol=1e-5, rtol=1e-4)


def test_learned_noise_finds_the_noise():
    # Series of pure noise of size 0.3: nothing to encode, and the decoder's noise must become 0.3.
    model = make(noise="learned")
    x, y = draw(2000, 3), 0.3 * draw(2000, 6, seed=1)
    fit(model, Shuffled([x, y], 200, [0], [False, False]), steps=600, seeds=[0], learning_rate=1e-2, progress=False)
    assert abs(model.noise.item() - 0.3) < 0.02


def test_samples_follow_the_prior():
    model = make(prior="standard", condition=0)
    model.decode = lambda x, z: z
    z = model.sample(torch.zeros(1, 20_000, 0), [generator(3)])
    torch.testing.assert_close(z.mean(1), torch.zeros(1, 2), atol=0.03, rtol=0)
    torch.testing.assert_close(z.std(1), torch.ones(1, 2), atol=0.03, rtol=0)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"prior": "flat"}, "expected 'conditional' or 'standard'"),
        ({"noise": "loud"}, "expected 'learned' or 'unit'"),
        ({"condition": 0}, "needs a condition"),
    ],
)
def test_bad_settings_are_named(more, words):
    with pytest.raises(ValueError, match=words):
        make(**more)
