"""Scores of analyses of columns, level by level, and the number of a method that days of validation prefer.

Answers are draws (s, w, m, days, c, y, x) [standard deviations] of s models, w windows and m draws of each, as in
`analyses`; columns are those of `columns.split`.
"""

import math
from collections.abc import Callable, Sequence

import scoringrules
import torch
from torch import Tensor


def tuned(columns, values: Sequence[float], truth: Tensor, make: Callable) -> dict[float, float]:
    """Return the CRPS [K], a mean over models and levels, that each value has on windows of the validation year.

    make: called with a value, returns draws, or an answer and the deviations that it believes; infinite where it fails.
    """
    found = {}
    for value in values:
        try:
            told = make(value)
        except FloatingPointError:
            found[value] = math.inf
            continue
        rows = scored(columns, *((told[0], truth, told[1]) if isinstance(told, tuple) else (told, truth)))
        found[value] = sum(row["crps"] for row in rows) / len(rows)
    return found


def scored(columns, draws: Tensor, truth: Tensor, deviation: Tensor | None = None) -> list[dict]:
    """Return rows of scores of temperature, one a model and level; `ta` [K] is what all of them are in, but `ratio`.

    draws (s, w, m, days, c, y, x); truth (w, days, c, y, x); deviation (days, c, y, x): that a single answer believes.

    rmse: of the mean of the draws; limit: of the mean of many, mse - variance / m; crps: fair, and the absolute error
    where there is one answer without deviation; ratio: of spread and error, as `scores.spread_error_ratio`;
    wasserstein: between all values of a draw and of the truth, wherever they are, as the paper has it, a mean over
    draws.
    """
    m = draws.shape[2]
    levels = slice(0, columns.levels)
    draws, truth = draws[..., levels, :, :], truth[..., levels, :, :]
    over = lambda v: (v * columns.area).mean((1, 2, 4, 5))  # (s, w, days, level, y, x) -> (s, level)  # noqa: E731
    error = draws.mean(2) - truth
    square = over(error.square())
    apart = (draws - truth[None, :, None]).abs().mean(2)
    variance, crps = torch.full_like(square, math.nan), over(apart)
    if m > 1:
        spread = draws.var(2)
        order = draws.sort(2).values
        weight = (2 * torch.arange(m).to(draws) - m + 1)[:, None, None, None, None]
        variance, crps = over(spread), over(apart - (weight * order).sum(2) / (m * (m - 1)))
    elif deviation is not None:
        width = deviation[:, levels].expand_as(error[0]).clamp_min(1e-6)
        told = scoringrules.crps_normal(torch.zeros_like(error), error, width, backend="torch")
        variance, crps = over(width.square()[None]).expand_as(square), over(told)
    pooled = lambda v: v.movedim(-3, 0).flatten(1).sort(1).values  # noqa: E731  (level, values)
    true = pooled(truth)
    far = torch.stack([torch.stack([(pooled(one) - true).abs().mean(1) for one in model.movedim(1, 0)]).mean(0)
                       for model in draws])  # fmt: skip
    values = {"rmse": square.sqrt(), "limit": (square - (variance / m).nan_to_num(0) * (m > 1)).clamp_min(0).sqrt()}
    values |= {"crps": crps, "wasserstein": far}
    ratio = ((m + 1) / m if m > 1 else 1) * variance / square
    rows = []
    for s in range(len(draws)):
        for level, (name, scale) in enumerate(zip(columns.names[levels], columns.scale.tolist(), strict=False)):
            row = {"model": s, "level": float(name.split()[1])}
            row |= {what: float(v[s, level]) * scale for what, v in values.items()}
            rows.append(row | {"ratio": math.sqrt(v) if (v := float(ratio[s, level])) == v else math.nan})
    return rows
