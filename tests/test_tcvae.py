"""The three parts of a divergence, against closed forms and exact sums, and beta-TCVAE beside the VAE that it is."""

import itertools

import pytest
import torch

from latentkit.models.llaae import LLAAE, Code
from latentkit.models.smooth import dense
from latentkit.models.tcvae import TCVAE, log_densities, parts
from latentkit.models.train import generator


def rng(*seeds):
    return [generator(s, "init") for s in seeds]


def coded(n, k=3, seed=0, scale=0.5, dtype=torch.float64):
    g = generator(seed, "code")
    location = torch.randn(1, n, k, generator=g, dtype=dtype)
    code = Code(location, torch.full_like(location, scale), torch.zeros(1, 1, k, dtype=dtype))
    return location + scale * torch.randn(1, n, k, generator=g, dtype=dtype), code


@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_a_gaussian_aggregate_has_the_parts_of_its_closed_form(rho):
    """Locations N(0, S), scales s: q(z) = N(0, C), C = S + s^2."""
    n, s = 3000, torch.tensor([0.5, 0.8], dtype=torch.float64)
    z, code = coded(n, 2)
    S = torch.tensor([[1.0, rho], [rho, 1.0]], dtype=torch.float64)
    location = code.location @ torch.linalg.cholesky(S).mT
    code = Code(location, s.expand(1, n, 2), code.shape)
    z = location + s * torch.randn(1, n, 2, generator=generator(1, "z"), dtype=torch.float64)
    C = S + torch.diag(s.square())
    wanted = (
        0.5 * (C.logdet() - s.square().log().sum()),  # information
        0.5 * (C.diag().log().sum() - C.logdet()),  # correlation
        0.5 * (C.diag() - 1 - C.diag().log()).sum(),  # dimensions
    )
    for part, value in zip(
        parts(z, code, n), wanted, strict=True
    ):  # the batch is all there is: exact but for the draws
        assert float(part) == pytest.approx(float(value), abs=0.05)


def test_of_all_samples_the_weighted_estimate_is_low_by_log_n_in_each_density():
    z, code = coded(12, 3)
    one, two = (parts(z, code, 12, sampling=how) for how in ("weighted", "stratified"))
    for a, b, times in zip(one, two, (1, 3 - 1, -3), strict=True):  # log q(z), and log q(z_j) of three latents
        torch.testing.assert_close(a - b, times * torch.full_like(a, 12.0).log())


def test_the_stratified_density_has_the_right_mean_over_all_batches():
    """Of six samples, all batches of three that hold the first: the density at its draw is that of all six."""
    z, code = coded(6, 2)
    each = torch.distributions.Normal(code.location[0], code.scale[0]).log_prob(z[0, 0]).exp()  # (6, k)
    joint, alone = [], []
    for others in itertools.combinations(range(1, 6), 2):
        rows = [0, *others]
        found = log_densities(z[:, rows], Code(code.location[:, rows], code.scale[:, rows], code.shape), 6)
        joint.append(found[0][0, 0].exp())
        alone.append(found[1][0, 0].exp())
    torch.testing.assert_close(torch.stack(joint).mean(), each.prod(1).mean())
    torch.testing.assert_close(torch.stack(alone).mean(0), each.mean(0))


def test_the_sum_of_parts_is_the_divergence_of_the_draws():
    z, code = coded(10)
    told = sum(parts(z, code, 500))
    normal = torch.distributions.Normal
    direct = normal(code.location, code.scale).log_prob(z) - normal(0.0, 1.0).log_prob(z)
    torch.testing.assert_close(told, direct.sum(-1).mean(1))


def test_latents_of_equal_codes_have_no_information_and_no_correlation():
    z, code = coded(200)
    flat = Code(torch.zeros_like(z), torch.ones_like(z), code.shape)
    found = parts((z - code.location) / code.scale, flat, 10_000)
    for part in found:
        assert float(part) == pytest.approx(0, abs=1e-9)


FIELDS, PROXIES = (
    torch.randn(2, 6, 8, 16, generator=generator(0, "y")),
    torch.randn(2, 6, 4, generator=generator(0, "x")),
)


def made(cls, *seeds, **more):
    return dense(cls((8, 16), 4, 3, (1, 1, 1), rng(*seeds), **more), 12, rng(*seeds))


def test_a_stack_is_its_models():
    both, two = made(TCVAE, 0, 1, count=100, beta=[2.0, 5.0]), made(TCVAE, 1, count=100, beta=5.0)
    for step in (0, 1):
        stacked, told = both.loss([FIELDS, PROXIES], step, rng(0, 1))
        alone, own = two.loss([FIELDS[1:], PROXIES[1:]], step, rng(1))
        torch.testing.assert_close(stacked[1:], alone)
        for name in told:
            torch.testing.assert_close(told[name][1:], own[name])


def test_at_beta_1_it_is_the_vae_whose_divergence_is_drawn():
    """Same weights, same draws: the same reconstruction, and KL equal in the mean over draws."""
    vae, other = made(LLAAE, 0, alpha=0.0), made(TCVAE, 0, alpha=0.0, count=100)
    batch = [FIELDS[:1], PROXIES[:1]]
    rows = [[m.loss(batch, 0, [generator(0, "step", i)]) for m in (vae, other)] for i in range(400)]
    for (_, a), (_, b) in rows[:3]:
        torch.testing.assert_close(a["reconstruction"], b["reconstruction"])
    mean = lambda i: torch.stack([row[i][1]["kl"].detach() for row in rows]).mean()  # noqa: E731
    assert float(mean(1)) == pytest.approx(float(mean(0)), rel=0.05)
    total, told = rows[0][1]
    torch.testing.assert_close(2 * total, told["reconstruction"] + told["kl"])


def test_llaae_without_alpha_is_a_beta_vae():
    """Its loss over encoder and decoder is |Y - d(z)|^2 + beta KL, and h moves neither."""
    model = made(LLAAE, 0, alpha=0.0, beta=4.0)
    batch = [FIELDS[:1], PROXIES[:1]]
    total, told = model.loss(batch, 0, [generator(0, "step")])
    code = model.code(FIELDS[:1])
    z = model.sample(code, [generator(0, "step")])
    plain = (model.decode(z) - FIELDS[:1]).square().sum((2, 3)).mean(1) + 4 * model.divergence(code).mean(1)
    torch.testing.assert_close(total, plain)
    other = made(LLAAE, 0, alpha=0.0, beta=4.0)
    with torch.no_grad():
        other.h.weight.add_(1)
    torch.testing.assert_close(other.loss(batch, 0, [generator(0, "step")])[0], total)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: made(TCVAE, 0, count=9, posterior="gev"), "the posterior is 'gev'; expected normal"),
        (lambda: parts(*coded(5), 4), "a batch of 5 out of 4 samples"),
        (lambda: parts(*coded(1), 4), "a batch of 1 out of 4"),
        (lambda: parts(*coded(5), 9, sampling="plain"), "sampling is 'plain'; expected one of weighted, stratified"),
    ],
)
def test_what_cannot_be_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
