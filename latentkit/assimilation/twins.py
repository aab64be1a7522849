r"""Twin experiments: truths that are known, what is measured of them, what is believed before, and scores afterwards.

LEVDA, section 4.1 and appendix B. One experiment has R truths side by side, each with observations and a background
ensemble of its own. The truth is never among the members: its parameters are drawn from a stream of their own. Errors
of observations are Gaussian, a share of each channel's standard deviation in the library. Scores are of fields, of the
ensemble's mean, with channels by their deviations and points by area:

    error_t = |mean_t - x_t| / |x_t|                                                                              (1)
    spread-error ratio_t = sqrt(sum_i |x_i - mean|^2 / (m - 1)) / |mean_t - x_t|                                  (2)
    energy score_t = mean_i |x_i - x| - sum_ij |x_i - x_j| / (2 m (m - 1)), each | | by |x_t|                      (3)

    crps_t = mean of  mean_i |x_i - x| - sum_ij |x_i - x_j| / (2 m (m - 1)),  | | of one point by its deviation    (4)

(3) is the fair energy score of the whole field, (4) the fair continuous ranked probability score, over channels and
points by area; the paper's CRPS may be another number.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from latentkit.assimilation.interpolation import around
from latentkit.assimilation.observations import Network, Observations, alike, measure
from latentkit.testbeds.cases import Case

AT = 1e-4  # of an interval between outputs: what a time, in single precision, may be off one and is still at it


@dataclass(frozen=True)
class Twin:
    """Hold an experiment: parameters of truths (R, q), truths (t, R, c, y, x), background parameters (R, m, q).

    deviation (c, 1, 1) of the channels, by which errors are measured.
    """

    case: Case
    deviation: Tensor
    parameters: Tensor
    truth: Tensor
    background: Tensor

    def first(self, truths: int) -> "Twin":
        """Return the experiment with its first truths alone."""
        parts = self.parameters[:truths], self.truth[:, :truths], self.background[:truths]
        return Twin(self.case, self.deviation, *parts)

    def weights(self) -> Tensor:  # (c, y, x)
        """Return the weights of squared errors."""
        return self.case.weights / self.deviation.square()

    def observed(self, network: Network, noise: float, rng: Generator) -> Observations:
        """Return what a network measures of each truth, values (R, o), with errors of `noise` deviations.

        Where it looks between two outputs, the testbed runs again, so that what is seen is what was there.

        Raises ValueError for times outside the truth's.
        """
        joint, times = self.case.joint, self.case.times
        off = (network.time.to(times)[:, None] - times).abs().amin(1) if len(network.time) else times[:0]
        if (off <= AT * self.case.interval).all():
            values = observed_fields(self.case, self.truth, network)
        else:
            states = joint.pack(self.case.begin(self.parameters), self.parameters[:, : len(joint.parameters)])
            values = joint.predict(states, network, 0.0, float(times[-1]))
        std = (noise * self.deviation.flatten().to(values))[network.channel]
        return measure(network, values, std, rng)

    def scores(self, ensembles: Iterable[Tensor], crps: bool = False) -> dict[str, Tensor]:
        """Return error, ratio and energy (t, R) of equations 1 to 3, and the deviation of members' errors.

        ensembles: fields (R, m, c, y, x) of each time, one after the other; of one member there is the error alone;
        crps: whether to return that of equation 4, too, which takes as long as all others.
        """
        w, rows = self.weights(), []
        for truth, E in zip(self.truth, ensembles, strict=True):
            mean = E.mean(1)
            size, off = norm(truth, w), norm(mean - truth, w)
            row, m = {"error": off / size}, E.shape[1]
            if m > 1:
                # All distances follow from products of what members are off their mean: one pass through the fields.
                X = ((E - mean[:, None]) * w.sqrt()).flatten(2)  # (R, m, p)
                gram, along = X @ X.mT, (X @ ((mean - truth) * w.sqrt()).flatten(1)[..., None])[..., 0]
                square = gram.diagonal(dim1=1, dim2=2)  # (R, m)
                each = (off.square()[:, None] + 2 * along + square).clamp_min(0).sqrt()
                apart = (square[:, :, None] + square[:, None] - 2 * gram).clamp_min(0).sqrt().sum((1, 2))
                row["members"] = each.std(1, correction=0) / size
                row["ratio"] = (square.sum(1) / (m - 1)).sqrt() / off
                row["energy"] = (each.mean(1) - apart / (2 * m * (m - 1))) / size
            if m > 1 and crps:
                i = torch.arange(m, dtype=E.dtype, device=E.device).reshape(-1, 1, 1, 1)
                apart = (E.sort(1).values * (2 * i - m + 1)).sum(1) / (m * (m - 1))  # of all pairs
                point = ((E - truth[:, None]).abs().mean(1) - apart) / self.deviation
                row["crps"] = (point * self.case.weights).mean((1, 2, 3))  # (4)
            rows.append(row)
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def twin(
    case: Case,
    deviation: Tensor,  # (c, 1, 1)
    truths: int,
    members: int,
    stream: Callable[[str], Generator],
) -> Twin:
    """Draw an experiment; `stream` gives a generator for a purpose, such as `Run.stream`.

    Truths and members come from different streams of the same prior. The first truths of more are the same.
    """
    parameters = torch.cat([case.draw(1, stream(f"{case.name}, truth {i}")) for i in range(truths)])
    background = torch.stack([case.draw(members, stream(f"{case.name}, members {i}")) for i in range(truths)])
    return Twin(case, deviation, parameters, case.trajectories(parameters), background)


def observed_fields(
    case: Case,
    fields: Tensor,  # (t, n, c, y, x) at the outputs
    network: Network | Observations,
) -> Tensor:  # (n, o)
    """Return what a network sees of fields that are known at a case's outputs: between two of them by a line."""
    later, share = around(case.times.double().cpu(), network.time.double().cpu())
    found, known, look = fields.new_zeros(fields.shape[1], len(network.time)), None, None
    for i in torch.cat([later - 1, later]).unique().tolist():
        weight = torch.where(later == i, share, 0) + torch.where(later == i + 1, 1 - share, 0)
        rows = (weight > 0).nonzero()[:, 0]
        if len(rows):
            here = network.rows(rows)
            if known is None or not alike(known, here):  # a grid is the same at each output
                known, look = here, case.points(here)
            values = look(fields[i])
            found = found.index_add(1, rows.to(values.device), values * weight[rows].to(values))
    return found


def norm(fields: Tensor, weights: Tensor) -> Tensor:  # (..., c, y, x) -> (...)
    """Return the root of the weighted sum of squares."""
    return (fields.square() * weights).sum((-3, -2, -1)).sqrt()


def along(
    starts: Tensor,  # (w, ..., m, k) analyses where windows begin
    borders: Sequence[float],  # (w + 1)
    times: Sequence[float],
    forecast: Callable[[Tensor, float, float], Tensor],
) -> Iterable[Tensor]:  # (..., m, k) at each time
    """Give the analysis at each time, carried from the start of the window that the time is in.

    A time on a border belongs to the window before it, but for the first.

    Raises ValueError where windows lack an analysis, as after a divergence.
    """
    if starts is None or len(starts) != len(borders) - 1:
        found = 0 if starts is None else len(starts)
        raise ValueError(f"{found} windows have an analysis, of {len(borders) - 1}: see what the course says of it")
    window, E, now = 0, starts[0], borders[0]
    for time in times:
        while time > borders[window + 1] * (1 + 1e-9) and window + 2 < len(borders):
            window += 1
            E, now = starts[window], borders[window]
        if time > now:
            E, now = forecast(E, now, time), time
        yield E
