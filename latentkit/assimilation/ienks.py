r"""The iterative ensemble Kalman smoother.

M. Bocquet and P. Sakov (2014), An iterative ensemble Kalman smoother. It minimizes the cost of `envar` by the same
steps, but at each the anomalies are those of the posterior found so far, so that the derivative is taken over the
region that matters. With E = x_0 + (w + T) X, the prediction's anomalies S and C of `etkf`,

    S <- T^-1 S,   C = S S^T + (m - 1) I                                                          (1)
    w <- w + C^-1 (S d - (m - 1) w),   T = sqrt(m - 1) C^-1/2                                     (2)
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from latentkit.assimilation.ensemble import factors, finish, standardized
from latentkit.assimilation.observations import Observations


def ienks(
    E: Tensor,  # (..., m, k) at the window's start
    predict: Callable[[Tensor], Tensor],
    obs: Observations,
    rng: Generator,
    *,
    iterations: int = 10,
    tolerance: float = 1e-5,
    inflation: float = 1.0,
    rotate: bool = False,
) -> Tensor:  # (..., m, k)
    """Analyze an ensemble at a window's start, with all observations of the window.

    predict: ensemble to what its members predict (..., m, o); iterations: of equation 2 at most; tolerance: where the
    squared step |w|^2 of all runs is below so many times m, it ends.

    Raises ValueError for fewer than one iteration.
    """
    if iterations < 1:
        raise ValueError(f"{iterations} iterations; expected 1 or more")
    m = E.shape[-2]
    mean = E.mean(-2, keepdim=True)
    X = E - mean
    eye = torch.eye(m, dtype=E.dtype, device=E.device)
    w, T, inverse = torch.zeros_like(E[..., :1, :1]).expand(*E.shape[:-2], 1, m), eye, eye
    for _ in range(iterations):
        S, d = standardized(predict(mean + (w + T) @ X), obs)
        S = inverse @ S  # (1)
        C = S @ S.mT + (m - 1) * eye
        left, right = factors(C, m - 1)
        root = left @ right.mT
        T, inverse = (m - 1) ** 0.5 * root, C @ root / (m - 1) ** 0.5
        step = (root @ (root @ (S @ d.unsqueeze(-1) - (m - 1) * w.mT))).mT  # (2)
        w = w + step
        if (step.square().sum((-2, -1)) < tolerance * m).all():
            break
    return finish(mean + (w + T) @ X, rng, inflation=inflation, rotate=rotate)
