r"""What a field is told from a proxy without a network, in stacks: least squares, ridge, and analogues.

With proxies X (n, k) and fields Y (n, p) of training, and 1 for the mean, least squares with a penalty r is

    B = (X^T X + r I)^-1 X^T Y,   the mean not penalized                                                           (1)

and analogues of x are the means of Y over the c days whose X are nearest (E. Lorenz 1969, Atmospheric predictability as
revealed by naturally occurring analogues).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def ridge(X: Tensor, Y: Tensor, T: Tensor, penalty: float = 0.0) -> Tensor:  # (s, n, k), (s, n, p), (s, m, k)
    """Return the fields (s, m, p) that equation 1 tells from proxies T.

    Raises ValueError for a penalty below 0, and for fewer samples than proxies without one.
    """
    n, k = X.shape[1:]
    if not penalty >= 0 or (n <= k and not penalty):
        raise ValueError(f"penalty {penalty:g} with {n} samples of {k} proxies; expected 0 or more, and more samples")
    x, y = X.double(), Y.double()
    means = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
    x, y = x - means[0], y - means[1]
    normal = x.mT @ x + penalty * torch.eye(k, dtype=x.dtype)
    return ((T - means[0]) @ torch.linalg.solve(normal, x.mT @ y) + means[1]).float()


def analogues(X: Tensor, Y: Tensor, T: Tensor, count: int) -> Tensor:  # (s, m, p)
    """Return the mean fields of the `count` days whose proxies are nearest."""
    nearest = torch.cdist(T, X).topk(count, largest=False).indices  # (s, m, c)
    return torch.stack([y[rows].mean(1) for y, rows in zip(Y, nearest, strict=True)])


def chosen(
    method: Callable[[Tensor, Tensor, Tensor, float], Tensor],
    settings: Sequence[float],
    X: Tensor,
    Y: Tensor,
    weights: Tensor,  # (p)
) -> list[float]:
    """Return each model's setting with the least weighted error on the last fifth of its own training samples."""
    cut = X.shape[1] - max(1, X.shape[1] // 5)
    truth = Y[:, cut:]
    errors = []
    for setting in settings:
        told = method(X[:, :cut], Y[:, :cut], X[:, cut:], setting).clamp_min(0)
        errors.append((told - truth).square().mul(weights).mean((1, 2)))
    return [settings[i] for i in torch.stack(errors).argmin(0).tolist()]
