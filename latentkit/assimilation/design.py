r"""Where to measure: what sensors would tell of unknown parameters, before any of them is there.

K. Chaloner and I. Verdinelli (1995), Bayesian experimental design: a review. Linearized at parameters u with a Gaussian
prior of covariance B, a set A of sensors leaves

    C_A(u) = (B^-1 + sum over s in A of I_s(u))^-1,   I_s = sum over its observations of g g^T / std^2             (1)
    g = d seen / d u                                                                                              (2)

and the best set has the least mean over the prior of the trace of C_A, u in units that make its entries comparable.
`greedy` adds to a set the sensor that lowers this most, again and again. It is a plan, not a bound: (1) is not aware
that two sources far apart may look alike to few sensors, nor of errors of the model.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def sensitivity(
    see: Callable[[Tensor], Tensor],
    parameters: Tensor,  # (n, q)
    step: Tensor | float,
) -> Tensor:  # (n, q, o)
    """Return equation 2 at several parameters, by central differences.

    see: parameters (n, q) to what they show (n, o); step: (q) or one number, in units of the parameters, so large that
    rounding does not count and so small that curvature does not.
    """
    n, q = parameters.shape
    moves = torch.diag(torch.as_tensor(step, dtype=parameters.dtype, device=parameters.device).expand(q))  # (q, q)
    both = torch.stack([parameters[:, None] + moves, parameters[:, None] - moves])  # (2, n, q, q)
    seen = see(both.reshape(-1, q)).reshape(2, n, q, -1)
    return (seen[0] - seen[1]) / (2 * moves.diagonal()[:, None])


def information(
    slopes: Tensor,  # (n, q, s, r): of r observations of each of s sensors
    std: Tensor | float,  # (r), or one number
) -> Tensor:  # (n, s, q, q)
    """Return I_s of equation 1."""
    g = (slopes / std).transpose(1, 2)
    return g @ g.mT


def expected(
    see: Callable[[Tensor], Tensor],
    parameters: Tensor,  # (n, q)
    step: Tensor | float,
    sensors: int,
    std: float,
) -> Tensor:  # (n, s, q, q)
    """Return what each of so many sensors tells about each of several parameters.

    see: parameters (n, q) to what all sensors show at one time, then at the next, ... (n, t s), as
    `observations.everywhere` orders them.
    """
    slopes = sensitivity(see, parameters, step)
    return information(slopes.unflatten(-1, (-1, sensors)).mT, std)


def left(
    told: Tensor,  # (n, ..., q, q): sums of information
    prior: Tensor,  # (q): standard deviations
) -> Tensor:  # (...)
    """Return the root of the mean trace of C: how far parameters are expected to stay off [their unit]."""
    precision = told + torch.diag(prior.to(told) ** -2)
    return torch.linalg.inv(precision).diagonal(dim1=-2, dim2=-1).sum(-1).mean(0).sqrt()


def greedy(
    told: Tensor,  # (n, s, q, q) by `information`
    prior: Tensor,  # (q)
    count: int,
) -> tuple[list[int], Tensor]:  # sensors in the order of their choice; (count) what each leaves
    """Choose sensors one after the other, each the best beside those before it.

    Raises ValueError for more sensors than there are places.
    """
    if not 1 <= count <= told.shape[1]:
        raise ValueError(f"{count} of {told.shape[1]} places; expected from 1 to all of them")
    chosen, known, lefts = [], torch.zeros_like(told[:, :1]), []
    for _ in range(count):
        after = left(known + told, prior)
        after[chosen] = torch.inf
        chosen.append(int(after.argmin()))
        known = known + told[:, chosen[-1:]]
        lefts.append(after[chosen[-1]])
    return chosen, torch.stack(lefts)
