"""What needs no network: ridge against scikit-learn, analogues by hand, settings chosen on training days alone."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from latentkit.models import linear
from latentkit.models.train import generator

X, T = (torch.randn(2, n, 5, generator=generator(n, "x")) for n in (40, 7))
Y = X @ torch.randn(2, 5, 3, generator=generator(0, "b")) + torch.randn(2, 40, 3, generator=generator(0, "e")) + 2


@pytest.mark.parametrize("penalty", [0.0, 3.0])
def test_ridge_is_that_of_an_external_package(penalty):
    found = linear.ridge(X, Y, T, penalty)
    for i in range(2):
        peer = Ridge(penalty).fit(X[i].double().numpy(), Y[i].double().numpy())
        np.testing.assert_allclose(found[i], peer.predict(T[i].double().numpy()), rtol=1e-4, atol=1e-5)


def test_many_settings_tell_what_each_does():
    for penalty, found in zip((0.0, 3.0), linear.ridges(X, Y, T, (0.0, 3.0)), strict=True):
        assert torch.equal(found, linear.ridge(X, Y, T, penalty))
    for count, found in zip((9, 2), linear.analogues_of(X, Y, T, (9, 2)), strict=True):
        torch.testing.assert_close(found, linear.analogues(X, Y, T, count))


def test_what_cannot_be_solved_for_is_refused():
    with pytest.raises(ValueError, match="penalty 0 with 4 samples of 5 proxies"):
        linear.ridge(X[:, :4], Y[:, :4], T)
    with pytest.raises(ValueError, match="penalty -1"):
        linear.ridge(X, Y, T, -1)


def test_the_nearest_day_is_its_own_analogue():
    torch.testing.assert_close(linear.analogues(X, Y, X, 1), Y)
    torch.testing.assert_close(linear.analogues(X, Y, T, 40), Y.mean(1, keepdim=True).expand(2, 7, 3))


def test_a_setting_is_chosen_on_the_last_fifth():
    weights = torch.ones(3)
    assert linear.chosen(linear.ridges, (1e6, 0.1), X, Y.clamp_min(0), weights) == [0.1, 0.1]
    spoiled = Y.clone()
    spoiled[0, :32] = 0
    spoiled[0, 32:] = 5
    assert len(linear.chosen(linear.ridges, (1e6, 0.1), X, spoiled, weights)) == 2


def test_what_is_told_of_a_part_comes_from_the_others():
    found = linear.crossed(X, Y, 4)
    torch.testing.assert_close(
        found[:, 10:20],
        linear.ridge(X[:, [*range(10), *range(20, 40)]], Y[:, [*range(10), *range(20, 40)]], X[:, 10:20]),
    )


def test_a_curve_is_found_at_each_point():
    told = torch.rand(2, 4000, 3, generator=generator(0, "t")) * 4 - 2
    truth = told.clamp_min(0) + 0.1 * torch.randn(2, 4000, 3, generator=generator(1, "t"))
    new = torch.linspace(-1.8, 1.8, 19)[None, :, None].expand(2, 19, 3)
    torch.testing.assert_close(linear.curved(told, truth, new, 40), new.clamp_min(0), atol=0.06, rtol=0)
    beyond = linear.curved(told, truth, torch.full((2, 1, 3), 9.0), 40)
    assert (beyond < 2.1).all() and (beyond > 1.8).all()


def test_a_group_is_told_by_the_others():
    groups, asked = torch.arange(40) % 3, torch.arange(7) % 4  # no sample is of group 3
    found = linear.left_out(X, Y, groups, T, asked)
    for group in range(4):
        rows, mine = groups != group, asked == group
        torch.testing.assert_close(found[:, mine], linear.ridge(X[:, rows], Y[:, rows], T[:, mine]))
    with pytest.raises(ValueError, match="4 samples for 5 proxies without group 0"):
        linear.left_out(X, Y, (torch.arange(40) < 4).long(), T, torch.zeros(7).long())
