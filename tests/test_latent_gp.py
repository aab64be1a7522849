"""Gaussian processes of codes: the exact one against a dense solution, the sparse ones against the exact one."""

import math

import pytest
import torch

from latentkit.models.latent_gp import LatentGP
from latentkit.models.train import generator


def pairs(n, seed=0, noise=0.1):
    g = generator(seed, "pairs")
    F = torch.randn(n, 4, generator=g)
    z = torch.stack([torch.sin(F[:, 0]) + F[:, 1], 2 * F[:, 2] + 5], 1)
    return F, z + noise * torch.randn(n, 2, generator=g)


def matern(a, b, lengths, size):
    r = math.sqrt(5) * torch.cdist(a.double() / lengths, b.double() / lengths)
    return size * (1 + r + r.square() / 3) * torch.exp(-r)


def test_exact_is_the_dense_solution():
    F, z = pairs(60)
    new = pairs(10, seed=1)[0]
    gp = LatentGP(F, z, generator(0, "gp"), steps=15)
    mean, variance = gp.predict(new)
    process = gp.process
    standard, target = (F - gp.shift) / gp.scale, (z - gp.z_shift) / gp.z_scale
    for j in range(2):
        lengths = process.kernel.base_kernel.lengthscale[j, 0].detach().double()
        size, noise = process.kernel.outputscale[j].item(), process.likelihood.noise[j].item()
        level = process.mean.constant[j].item()
        among = matern(standard, standard, lengths, size) + noise * torch.eye(60)
        cross = matern((new - gp.shift) / gp.scale, standard, lengths, size)
        expected = level + cross @ torch.linalg.solve(among, target[:, j].double() - level)
        spread = size + noise - (cross * torch.linalg.solve(among, cross.T).T).sum(1)
        scale, shift = gp.z_scale[0, j], gp.z_shift[0, j]
        torch.testing.assert_close(mean[:, j].double(), expected * scale + shift, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(variance[:, j].double(), spread * scale**2, atol=1e-3, rtol=2e-3)


def test_a_stack_equals_its_parts():
    sets = [pairs(50, seed=i) for i in range(2)]
    new = pairs(7, seed=9)[0]
    stack = LatentGP(*(torch.stack(part) for part in zip(*sets, strict=True)), generator(0, "gp"), steps=10)
    mean, variance = stack.predict(new.expand(2, -1, -1))
    for i, (F, z) in enumerate(sets):
        alone = LatentGP(F, z, generator(0, "gp"), steps=10).predict(new)
        torch.testing.assert_close(mean[i], alone[0], atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(variance[i], alone[1], atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize("kind", ["independent", "mixed"])
def test_sparse_comes_near_the_exact_one(kind):
    F, z = pairs(400)
    new, truth = pairs(200, seed=1, noise=0.0)
    exact = LatentGP(F, z, generator(0, "gp"), steps=60)
    sparse = LatentGP(F, z, generator(0, "gp"), kind=kind, steps=600, learning_rate=0.03, inducing=60, batch=128)
    error = [(gp.predict(new)[0] - truth).square().mean().item() for gp in (exact, sparse)]
    assert error[0] < 0.05 and error[1] < 1.5 * error[0]
    variance = sparse.predict(new)[1].mean().item()
    assert 0.5 * 0.01 < variance < 0.1


@pytest.mark.parametrize("kind", ["independent", "mixed"])
def test_equal_generators_give_equal_processes_whatever_else_was_drawn(kind):
    F, z = pairs(100)
    found = []
    for _ in range(2):
        torch.rand(3)  # of the global generator
        gp = LatentGP(F, z, generator(0, "gp"), kind=kind, steps=20, inducing=10, batch=50)
        found.append(gp.predict(F)[0])
    assert torch.equal(*found)


def test_mixed_learns_that_coordinates_go_together():
    g = generator(3, "pairs")
    F = torch.randn(300, 2, generator=g)
    both = torch.sin(2 * F[:, :1]) + 0.05 * torch.randn(300, 1, generator=g)
    settings = {"steps": 400, "learning_rate": 0.03, "inducing": 40, "batch": 128}
    gp = LatentGP(F, torch.cat([both, -both], 1), g, kind="mixed", **settings)
    mean, _ = gp.predict(F)
    assert torch.corrcoef(mean.T)[0, 1] < -0.98


def test_wrong_settings_are_named():
    F, z = pairs(30)
    with pytest.raises(ValueError, match="expected one of"):
        LatentGP(F, z, generator(0, "gp"), kind="sparse")
    with pytest.raises(ValueError, match="30 pairs are fewer than 128 inducing points"):
        LatentGP(F, z, generator(0, "gp"), kind="mixed")
    with pytest.raises(ValueError, match="one set of pairs"):
        LatentGP(F[None], z[None], generator(0, "gp"), kind="mixed", inducing=5)
