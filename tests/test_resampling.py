"""Blocks of days: within their runs, of their length, of every row, and the same from the same generator."""

import numpy as np
import pytest
import torch

from latentkit.models import resampling
from latentkit.models.train import generator

DAYS = np.array(["2001-01-01", "2001-01-02", "2001-01-03", "2001-12-01", "2001-12-02"], "M8[D]").astype(int)


def test_a_run_ends_where_days_are_missing_or_a_member_ends():
    assert resampling.runs(DAYS, 2) == [(0, 3), (3, 5), (5, 8), (8, 10)]


def test_blocks_stay_in_their_runs():
    rows = resampling.runs(DAYS, 2)
    found = resampling.blocks(rows, 401, 2, generator(0, "blocks"))
    assert len(found) == 401 and set(found.tolist()) == set(range(10))
    first = found[:400:2]
    assert torch.equal(found[1:400:2], first + 1)
    assert not set(first.tolist()) & {2, 4, 7, 9}  # the last rows of runs
    assert torch.equal(found, resampling.blocks(rows, 401, 2, generator(0, "blocks")))


def test_blocks_longer_than_any_run_are_refused():
    with pytest.raises(ValueError, match="10 days in blocks of 4; expected blocks of 1 to 3"):
        resampling.blocks(resampling.runs(DAYS), 10, 4, generator(0, "blocks"))
