"""A linear Gaussian system, whose filter and smoother are known: what methods of Kalman's kind are held against."""

import torch

from latentkit.assimilation.observations import Observations

K, SEEN, STEPS, M = 5, 3, 4, 12
G = torch.Generator().manual_seed(0)
draw = lambda *shape: torch.randn(*shape, generator=G, dtype=torch.double)  # noqa: E731
MODEL = torch.linalg.qr(draw(K, K))[0] * 0.98
H = draw(SEEN, K)
ENSEMBLE = draw(M, K) @ draw(K, K) + 3
STD = torch.tensor([0.5, 1.0, 2.0], dtype=torch.double)
TIMES = torch.arange(1, STEPS + 1, dtype=torch.double)
VALUES = draw(STEPS, SEEN)
CLOSE = {"atol": 1e-8, "rtol": 1e-8}


def observations(times=TIMES, values=VALUES):
    n = len(times)
    return Observations(
        times.repeat_interleave(SEEN),
        torch.zeros(n * SEEN, 1, dtype=torch.double),
        torch.arange(SEEN).repeat(n),
        values.reshape(*values.shape[:-2], -1),
        STD.repeat(n),
    )


def forecast(E, start, end):
    return E @ torch.linalg.matrix_power(MODEL, round(end - start)).mT


def observe(E, obs):
    return E @ H.mT


def predict(E, obs, start, end):
    return torch.cat([observe(forecast(E, start, t), obs) for t in obs.time.unique().tolist()], -1)


def moments(E):
    return E.mean(-2), torch.cov(E.mT)


def kalman(steps=STEPS):
    """Return mean and covariance after each analysis, from the ensemble's own moments."""
    mean, P = moments(ENSEMBLE)
    found = []
    for i in range(steps):
        mean, P = MODEL @ mean, MODEL @ P @ MODEL.mT
        gain = P @ H.mT @ torch.linalg.inv(H @ P @ H.mT + torch.diag(STD**2))
        mean, P = mean + gain @ (VALUES[i] - H @ mean), P - gain @ H @ P
        found.append((mean, P))
    return found


def batch():
    """Return the posterior of the state at time 0 given all observations: one linear regression."""
    mean, P = moments(ENSEMBLE)
    rows = torch.cat([H @ torch.linalg.matrix_power(MODEL, i + 1) for i in range(STEPS)])
    R = torch.diag(STD.repeat(STEPS) ** 2)
    gain = P @ rows.mT @ torch.linalg.inv(rows @ P @ rows.mT + R)
    return mean + gain @ (VALUES.flatten() - rows @ mean), P - gain @ rows @ P
