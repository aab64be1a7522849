"""Designs: exact where all is linear and Gaussian, and the first sensor of a greedy choice is the best of all."""

import itertools

import pytest
import torch

from latentkit.assimilation import design
from latentkit.assimilation.etkf import etkf
from latentkit.assimilation.observations import Observations

G = torch.Generator().manual_seed(0)
H = torch.randn(12, 2, generator=G, dtype=torch.double)  # six sensors, of two observations each
PRIOR = torch.tensor([1.0, 0.5], dtype=torch.double)


def told(std=0.3):
    draws = torch.randn(4, 2, generator=G, dtype=torch.double)
    return design.expected(lambda u: u @ H.unflatten(0, (6, 2)).transpose(0, 1).flatten(0, 1).mT, draws, 0.1, 6, std)


def test_slopes_of_a_linear_map_are_its_matrix():
    found = design.sensitivity(lambda u: u @ H.mT, torch.zeros(3, 2, dtype=torch.double), torch.tensor([0.1, 2.0]))
    torch.testing.assert_close(found, H.mT.expand(3, 2, 12))


def test_what_is_left_is_the_posterior_of_an_ensemble_filter():
    rows = [2, 3, 8, 9]  # sensors 1 and 4
    expected = design.left(told()[:, [1, 4]].sum(1), PRIOR)
    E = torch.randn(40, 2, generator=G, dtype=torch.double)
    E = (E - E.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(E.mT))).mT * PRIOR  # covariance: the prior's
    value, std = torch.zeros(4, dtype=torch.double), torch.full((4,), 0.3, dtype=torch.double)
    obs = Observations(value, value[:, None], torch.zeros(4, dtype=torch.long), value, std)
    found = torch.cov(etkf(E, E @ H[rows].mT, obs, G).mT)
    torch.testing.assert_close(found.diagonal().sum().sqrt(), expected)


def test_the_first_is_the_best_of_all_and_each_more_leaves_less():
    chosen, left = design.greedy(told(), PRIOR, 6)
    alone = [float(design.left(told()[:, s], PRIOR)) for s in range(6)]
    assert chosen[0] == min(range(6), key=alone.__getitem__) and sorted(chosen) == list(range(6))
    assert (left[1:] < left[:-1]).all()
    pairs = {p: float(design.left(told()[:, list(p)].sum(1), PRIOR)) for p in itertools.combinations(range(6), 2)}
    assert float(left[1]) <= 1.2 * min(pairs.values())  # greedy is not exact, but near


def test_more_sensors_than_places():
    with pytest.raises(ValueError, match="7 of 6 places"):
        design.greedy(told(), PRIOR, 7)
