r"""Spread given back to an ensemble after an analysis, whichever method made it.

Sampling errors and the errors of a model leave too little of it. A wrapper takes a method, an `analyze` for `cycle` or
a `solve` for `smooth` that gives one ensemble, and returns one. With the spread s_b of the prior and s_a of the
analysis, standard deviations of one variable over the members,

    relaxation to prior spread:  X <- X (1 + share (s_b - s_a) / s_a)                              (1)
    additive inflation:  X <- X + L e,   e ~ N(0, I), mean over members 0                         (2)

(1), RTPS, and the use of (2) are those of J. S. Whitaker and T. M. Hamill (2012), Evaluating methods to account for
system errors in ensemble data assimilation. The mean stays. Multiplicative inflation is an argument of each method.
Wrappers nest: `relaxed(added(etkf, 0.1), 0.5)` adds first.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Method = Callable[..., Tensor]  # ensemble (..., m, k), more, and a generator last, to its analysis (..., m, k)


def relaxed(method: Method, share: float) -> Method:
    """Return a method whose analyses are relaxed to the prior spread: equation 1.

    share: 0 leaves the spread of the analysis, 1 brings back that of the forecast. A variable without spread after the
    analysis stays without.

    Raises ValueError for a share below 0.
    """
    if not share >= 0:
        raise ValueError(f"the share of the prior spread is {share}; expected 0 or more, about 0.5 to 1")

    def finished(E: Tensor, *more) -> Tensor:
        made = method(E, *more)
        before, after = E.std(-2, keepdim=True), made.std(-2, keepdim=True)
        more_of_it = 1 + share * (before - after) / after.clamp_min(torch.finfo(made.dtype).tiny)  # (1)
        mean = made.mean(-2, keepdim=True)
        return mean + (made - mean) * torch.where(after > 0, more_of_it, 1.0)

    return finished


def added(method: Method, root: float | Tensor) -> Method:
    """Return a method to whose analyses noise is added: equation 2.

    root: standard deviation of the noise, one number or one a variable (k), 0 for those that have none; or a root L
    (k, r) of its covariance, such as differences of states of a long run, for noise that is smooth in space.

    Raises ValueError for negative standard deviations, and a root of other dimensions or variables.
    """
    L = torch.as_tensor(root)
    if L.ndim > 2 or (L.ndim < 2 and not (L >= 0).all()):
        raise ValueError(f"noise has a root of shape {tuple(L.shape)}; expected (), (k), 0 or more, or (k, r)")

    def finished(E: Tensor, *more) -> Tensor:
        made, rng = method(E, *more), more[-1]
        k = made.shape[-1]
        if L.ndim and len(L) != k:
            raise ValueError(f"noise has a root of {len(L)} variables; the ensemble has {k}")
        columns = L.shape[1] if L.ndim == 2 else k
        draws = torch.randn(*made.shape[:-1], columns, generator=rng, dtype=made.dtype).to(made.device)
        draws = draws - draws.mean(-2, keepdim=True)
        return made + (draws @ L.to(made).mT if L.ndim == 2 else draws * L.to(made))  # (2)

    return finished
