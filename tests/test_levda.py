"""LEVDA on a linear Gaussian system: one minimum as published, the posterior when calibrated."""

import pytest
import torch
from linear import CLOSE, ENSEMBLE, SEEN, STEPS, G, M, batch, observations, predict

from latentkit.assimilation.levda import levda


def test_levda_as_published_has_one_minimum_and_no_spread():
    obs, g = observations(), torch.Generator().manual_seed(2)
    E = levda(ENSEMBLE, lambda X: predict(X, obs, 0, STEPS), obs, g, iterations=300, tolerance=0)
    torch.testing.assert_close(E, batch()[0].expand_as(E), **CLOSE)


def test_levda_randomized_is_the_kalman_gain_on_perturbed_observations():
    obs, g = observations(), torch.Generator().manual_seed(2)
    more = {"variant": "randomized", "iterations": 300, "tolerance": 0}
    E = levda(ENSEMBLE, lambda X: predict(X, obs, 0, STEPS), obs, g, **more)
    noise = torch.randn(M, STEPS * SEEN, generator=torch.Generator().manual_seed(2), dtype=torch.double)
    seen = predict(ENSEMBLE, obs, 0, STEPS)
    X, S = ENSEMBLE - ENSEMBLE.mean(0), seen - seen.mean(0)
    gain = X.mT @ S @ torch.linalg.inv(S.mT @ S + (M - 1) * torch.diag(obs.std**2))
    torch.testing.assert_close(E, ENSEMBLE + (obs.value + obs.std * noise - seen) @ gain.mT, **CLOSE)


def test_levda_runs_side_by_side_are_runs_alone():
    obs, both = observations(), torch.stack([ENSEMBLE, 2 * ENSEMBLE - 1])
    solve = lambda E: levda(E, lambda X: predict(X, obs, 0, STEPS), obs, torch.Generator(), iterations=5)  # noqa: E731
    torch.testing.assert_close(solve(both), torch.stack([solve(one) for one in both]), **CLOSE)


def test_levda_says_what_is_wrong():
    obs = observations()
    with pytest.raises(ValueError, match="variant is 'best'; expected one of published, randomized, transformed"):
        levda(ENSEMBLE, lambda X: X, obs, G, variant="best")
    with pytest.raises(ValueError, match="1 member; two or more"):
        levda(ENSEMBLE[:1], lambda X: X, obs, G)
