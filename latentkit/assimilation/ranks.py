r"""Rank histograms: where among the members of an ensemble the truth lies.

The rank of a truth x at a point is how many of the m members are below it there, from 0 to m, and a draw among what is
possible where some are equal to it. If the truth is one of them as far as anyone can tell, all m + 1 ranks are as
likely: too small a spread fills the first and the last, too large a one the middle (T. M. Hamill 2001, Interpretation
of rank histograms for verifying ensemble forecasts). What lies outside of all members is expected in 2 / (m + 1).
"""

from collections.abc import Collection, Iterable

import torch
from torch import Generator, Tensor


def counts(
    truth: Tensor,  # (t, R, c, y, x)
    ensembles: Iterable[Tensor],  # t of (R, m, c, y, x)
    where: Tensor,  # (p) numbers of points of the grid
    moments: Collection[int],  # numbers of outputs
    rng: Generator,
) -> Tensor:  # (R, m + 1) how often each rank was found, of p points, c channels and the moments
    """Count ranks of each truth among its members.

    Raises ValueError where a member is not a number, as after a divergence: it has no rank.
    """
    found = []
    for i, (x, E) in enumerate(zip(truth, ensembles, strict=True)):
        if i in moments:
            E, x = E.flatten(-2)[..., where], x.flatten(-2)[..., where][:, None]
            if not E.isfinite().all():
                raise ValueError(f"members at output {i} are not finite: a truth has no rank there; leave them out")
            ties = (E == x).sum(1)
            drawn = torch.rand(ties.shape, generator=rng, dtype=torch.float64).to(ties.device)
            found.append((E < x).sum(1) + (drawn * (ties + 1)).long())
    below = torch.stack(found, 1).flatten(1)  # (R, moments c p)
    return torch.nn.functional.one_hot(below, E.shape[1] + 1).sum(1)
