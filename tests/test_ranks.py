"""Rank histograms: flat where truth and members have one law, and each departure where it belongs."""

import pytest
import torch
from scipy.stats import chisquare

from latentkit.assimilation.ranks import counts

WHERE = torch.arange(400)


def drawn(members=9, shift=0.0, scale=1.0):
    rng = torch.Generator().manual_seed(3)
    truth = torch.randn(5, 2, 3, 20, 20, generator=rng, dtype=torch.float64) + shift
    ensembles = scale * torch.randn(5, 2, members, 3, 20, 20, generator=rng, dtype=torch.float64)
    return truth, list(ensembles), torch.Generator().manual_seed(4)


def test_flat_where_the_truth_could_be_a_member():
    truth, members, rng = drawn()
    found = counts(truth, members, WHERE, range(1, 5), rng)
    assert found.shape == (2, 10)
    assert (found.sum(1) == 4 * 3 * 400).all()
    assert chisquare(found.sum(0)).pvalue > 0.01


def test_too_narrow_fills_the_ends_too_wide_the_middle_and_a_bias_one_end():
    cases = ({"scale": 0.2}, {"scale": 5}, {"shift": 6.0})
    narrow, wide, high = (counts(*drawn(**how)[:2], WHERE, [2], drawn()[2]).sum(0).double() for how in cases)
    assert (narrow[[0, -1]] > 3 * narrow[1:-1].max()).all()
    assert wide[4:6].sum() > 10 * wide[[0, -1]].sum()
    assert high[-1] > 0.9 * high.sum()


def test_equal_members_are_told_apart_by_a_draw():
    truth, members, rng = drawn()
    same = [x[:, None].expand_as(E) for x, E in zip(truth, members, strict=True)]
    found = counts(truth, same, WHERE, range(5), rng).sum(0)
    assert chisquare(found).pvalue > 0.01
    # Three members below and the others equal: no rank under three.
    same = [torch.cat([E[:, :3] - 1, E[:, 3:]], 1) for E in same]
    found = counts(truth, same, WHERE, range(5), rng).sum(0)
    assert found[:3].sum() == 0
    assert chisquare(found[3:]).pvalue > 0.01


def test_what_is_not_a_number_has_no_rank():
    truth, members, rng = drawn()
    members[2][0, 1] = torch.nan
    with pytest.raises(ValueError, match=r"output 2 are not finite.*leave them out"):
        counts(truth, members, WHERE, range(5), rng)
    assert counts(truth, members, WHERE, [1, 3], rng).sum() == 2 * 2 * 3 * 400
