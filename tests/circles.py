"""A small prior alike along circles of latitude, its covariance written out, and an eye that sees some of it."""

import math

import torch

from latentkit.models.zonal import Zonal

L, K, Y, X = 3, 2, 3, 6
D = L * K * Y * X
LAT = torch.tensor([-40.0, 0.0, 40.0], dtype=torch.double)
LON = torch.arange(X, dtype=torch.double) * 60
STD = torch.tensor(0.4, dtype=torch.double)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def series(n=60, seed=0, models=1):
    """Return days that depend on the day before and on neighbors."""
    noise = torch.randn(models, n, K, Y, X, generator=rng(seed), dtype=torch.double)
    noise = noise + 0.7 * noise.roll(1, -1) + 0.4 * noise.roll(1, -3)
    days = [noise[:, 0]]
    for t in range(1, n):
        days.append(0.6 * days[-1].roll(1, -1) + noise[:, t])
    return torch.stack(days, 1) + torch.linspace(-1, 1, X, dtype=torch.double)


def prior(radius=math.inf, **options):
    return Zonal(series(**options), L, LAT, LON, radius=radius)


def dense(p):
    """Return the covariance (D, D) that a prior applies."""
    unit = torch.eye(D, dtype=torch.double).view(1, D, L * K, Y, X)
    return p.turned(unit, lambda values: values).reshape(D, D).mT
