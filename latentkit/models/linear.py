r"""What a field is told from a proxy without a network, in stacks: least squares, ridge, and analogues.

With proxies X (n, k) and fields Y (n, p) of training, and 1 for the mean, least squares with a penalty r is

    B = (X^T X + r I)^-1 X^T Y,   the mean not penalized                                                           (1)

and analogues of x are the means of Y over the c days whose X are nearest (E. Lorenz 1969, Atmospheric predictability as
revealed by naturally occurring analogues). A **curve** at each point maps what was told there to the mean of what was:
told values of training days, from fits that did not see them, are cut into bins of equal counts, whose means of both
are joined by lines (a regressogram; beyond the outermost means it is constant).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor


def ridge(X: Tensor, Y: Tensor, T: Tensor, penalty: float = 0.0) -> Tensor:  # (s, n, k), (s, n, p), (s, m, k)
    """Return the fields (s, m, p) that equation 1 tells from proxies T.

    Raises ValueError for a penalty below 0, and for fewer samples than proxies without one.
    """
    return next(ridges(X, Y, T, [penalty]))


def ridges(X: Tensor, Y: Tensor, T: Tensor, penalties: Sequence[float]) -> Iterator[Tensor]:
    """Yield what `ridge` returns for each penalty, from products of the samples that are taken once."""
    n, k = X.shape[1:]
    for penalty in penalties:
        if not penalty >= 0 or (n <= k and not penalty):
            raise ValueError(
                f"penalty {penalty:g} with {n} samples of {k} proxies; expected 0 or more, and more samples"
            )
    x, y = X.double(), Y.double()
    means = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
    x, y = x - means[0], y - means[1]
    normal, right, new = x.mT @ x, x.mT @ y, T - means[0]
    for penalty in penalties:
        weight = torch.linalg.solve(normal + penalty * torch.eye(k, dtype=x.dtype), right)
        yield (new @ weight + means[1]).float()


def analogues(X: Tensor, Y: Tensor, T: Tensor, count: int) -> Tensor:  # (s, m, p)
    """Return the mean fields of the `count` days whose proxies are nearest."""
    return next(analogues_of(X, Y, T, [count]))


def analogues_of(X: Tensor, Y: Tensor, T: Tensor, counts: Sequence[int]) -> Iterator[Tensor]:
    """Yield what `analogues` returns for each count, from distances that are taken once."""
    distance = torch.cdist(T, X)
    nearest = distance.topk(max(counts), largest=False).indices  # (s, m, c), the nearest first
    for count in counts:  # a product, not a gather of whole fields
        yield torch.zeros_like(distance).scatter_(2, nearest[..., :count], 1 / count) @ Y


def left_out(
    X: Tensor,  # (s, n, k)
    Y: Tensor,  # (s, n, p)
    groups: Tensor,  # (n) whole numbers
    T: Tensor,  # (s, m, k)
    asked: Tensor,  # (m) likewise
) -> Tensor:  # (s, m, p)
    """Return what least squares tells from proxies T, each by a fit without the training samples of its own group.

    Raises ValueError where a fit is left with no more samples than proxies.
    """
    x, y, t = (torch.cat([a, torch.ones_like(a[..., :1])], -1).double() for a in (X, Y, T))
    normal, right = x.mT @ x, x.mT @ y[..., :-1]
    told = T.new_zeros(*T.shape[:2], Y.shape[-1])
    for group in asked.unique():
        own, mine = x[:, groups == group], y[:, groups == group, :-1]
        left = X.shape[1] - own.shape[1]
        if left < x.shape[2]:
            raise ValueError(
                f"{left} samples for {X.shape[2]} proxies without group {group}; expected more: fewer groups"
            )
        weight = torch.linalg.solve(normal - own.mT @ own, right - own.mT @ mine)
        told[:, asked == group] = (t[:, asked == group] @ weight).float()
    return told


def crossed(X: Tensor, Y: Tensor, parts: int) -> Tensor:  # (s, n, k), (s, n, p) -> (s, n, p)
    """Return what least squares tells of each training sample from the other parts; parts are consecutive samples."""
    part = torch.arange(X.shape[1]) * parts // X.shape[1]
    return left_out(X, Y, part, X, part)


def curved(told: Tensor, truth: Tensor, new: Tensor, bins: int) -> Tensor:  # (s, n, p), (s, n, p), (s, m, p)
    """Return new told values (s, m, p) by the curve of each point."""
    order = told.argsort(1)
    cut = told.shape[1] // bins * bins  # the few largest samples beyond it are left out
    x, y = (a.gather(1, order)[:, :cut].unflatten(1, (bins, -1)).mean(2) for a in (told, truth))  # (s, bins, p)
    x, y, at = (a.movedim(1, -1).contiguous() for a in (x, y, new))
    right = torch.searchsorted(x, at).clamp(1, bins - 1)
    x0, x1, y0, y1 = (a.gather(-1, i) for a in (x, y) for i in (right - 1, right))
    share = ((at - x0) / (x1 - x0).clamp_min(1e-12)).clamp(0, 1)
    return (y0 + share * (y1 - y0)).movedim(-1, 1)


def chosen(
    method: Callable[[Tensor, Tensor, Tensor, Sequence[float]], Iterable[Tensor]],  # `ridges` or `analogues_of`
    settings: Sequence[float],
    X: Tensor,
    Y: Tensor,
    weights: Tensor,  # (p)
) -> list[float]:
    """Return each model's setting with the least weighted error on the last fifth of its own training samples."""
    cut = X.shape[1] - max(1, X.shape[1] // 5)
    truth = Y[:, cut:]
    tried = method(X[:, :cut], Y[:, :cut], X[:, cut:], settings)
    errors = [(told.clamp_min(0) - truth).square().mul(weights).mean((1, 2)) for told in tried]
    return [settings[i] for i in torch.stack(errors).argmin(0).tolist()]
