"""Costs: memory that was taken and given back counts, what was there before does not."""

import time

import pytest
import torch

from latentkit.spent import spent


def test_a_tensor_that_is_gone_again_was_there():
    before = torch.ones(2**22)  # 16 MB, not of this computation
    with spent() as cost:
        held = torch.ones(2**25)  # 128 MB
        time.sleep(0.1)
        del held
    assert 120 <= cost.memory < 160 and 0.1 <= cost.seconds < 5
    assert before.sum() > 0


def test_it_ends_with_an_error_too():
    with pytest.raises(ZeroDivisionError), spent() as cost:
        1 / 0  # noqa: B018
    assert cost.seconds >= 0 and cost.memory >= 0
