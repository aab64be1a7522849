"""What is seen of maps: means by area, gaps, masks, errors."""

import pytest
import torch

from latentkit.assimilation import plain
from latentkit.assimilation.views import LEAST, joined, view

AREA = torch.cos(torch.linspace(-1.3, 1.3, 6, dtype=torch.double))[:, None].expand(6, 8)
THERE = torch.ones(3, 6, 8, dtype=torch.bool)


def fields(*lead):
    return torch.randn(*lead, 3, 6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.double)


def test_everything_is_seen_as_it_is():
    x = fields(2)
    v = view(AREA, THERE, 0.5)
    assert torch.allclose(v(x), x)
    assert v.seen.all()
    assert v.std.shape == (3, 1, 1)


def test_blocks_are_means_by_area():
    x = fields()
    found = view(AREA, THERE, 0.5, coarse=2)(x)
    assert found.shape == (3, 3, 4)
    share = AREA[2:4, 4:6]
    assert torch.allclose(found[1, 1, 2], (x[1, 2:4, 4:6] * share).sum() / share.sum())
    large, small = view(AREA, THERE, 0.5, coarse=6)(x)[:, 0].unbind(1)  # six columns, and the two that are left
    assert torch.allclose((large * 6 + small * 2) / 8, (x * AREA).sum((1, 2)) / AREA.sum())


def test_gaps_leave_every_other_block_from_the_middle_of_the_first():
    x = fields()
    found = view(AREA, THERE, 0.5, gap=3)(x)
    assert torch.allclose(found, x[:, 1::3, 1::3])
    assert view(AREA, THERE, 0.5, coarse=2, gap=2)(x).shape == (3, 2, 2)


def test_what_is_not_there_or_not_chosen_is_not_seen():
    there = THERE.clone()
    there[2, :, :3] = False
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask[0, 0] = False
    v = view(AREA, there, 0.5, coarse=2, channels=[0, 2], mask=mask)
    assert v.seen[0].sum() == 11
    assert not v.seen[1].any()
    assert v.seen[2].tolist() == [[False, False, True, True]] * 3  # a block of which a part is missing is not seen
    y = v.observed(fields(5), torch.Generator().manual_seed(0))
    assert torch.equal(torch.isnan(y), ~v.seen.expand(5, -1, -1, -1))


def test_errors_have_the_deviation_of_their_channel():
    v = view(AREA, THERE, [0.1, 1.0, 0.0])
    x = fields(4000)
    gap = (v.observed(x, torch.Generator().manual_seed(1)) - x).std((0, 2, 3))
    assert torch.allclose(gap, torch.tensor([0.1, 1.0, LEAST], dtype=torch.double), rtol=0.02)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"coarse": 0}, "coarse is 0"),
        ({"coarse": 7}, "a product of at most 6 cells"),
        ({"coarse": 2, "gap": 4}, "a product of at most 6 cells"),
        ({"coarse": 1.5}, "coarse is 1.5"),
        ({"coarse": float("nan")}, "coarse is nan"),
        ({"gap": 0}, "gap 0"),
        ({"std": -1.0}, "expected numbers from 0 on"),
        ({"std": float("nan")}, "expected numbers from 0 on"),
        ({"channels": [3]}, r"channels \[3\] are not there; expected some of 0 to 2"),
        ({"mask": torch.ones(2, 2)}, r"shape \(2, 2\); expected \(6, 8\)"),
    ],
)
def test_bad_input(options, words):
    with pytest.raises(ValueError, match=words):
        view(AREA, THERE, **{"std": 0.5, **options})


def test_instruments_of_their_own_are_one_view():
    coarse, fine = view(AREA, THERE, 0.5, coarse=2, channels=[0, 1]), view(AREA, THERE, 0.1, gap=3, channels=[2])
    both, x = joined([coarse, fine]), fields(4)
    assert both.std.flatten().tolist() == [0.5, 0.5, 0.1]
    for c, own in ((0, coarse), (1, coarse), (2, fine)):
        torch.testing.assert_close(both(x)[:, c, both.seen[c]], own(x)[:, c, own.seen[c]])
    y = both.observed(x, torch.Generator().manual_seed(0))
    assert torch.equal(torch.isfinite(y[0]), both.seen)
    with pytest.raises(ValueError, match=r"channels \[2\] are seen by more than one view"):
        joined([fine, view(AREA, THERE, 0.5)])
    with pytest.raises(ValueError, match="no view to join"):
        joined([])
    with pytest.raises(ValueError, match="joined of several; .* interpolate each view for itself"):
        plain.interpolated(both, y)
