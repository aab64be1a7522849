r"""Fields made of observations alone: at each output, what sensors show is spread over the grid by a spline.

J. Duchon (1977), Splines minimizing rotation-invariant semi-norms in Sobolev spaces. The thin-plate spline is exact for
constants and for planes. A periodic coordinate is laid on a circle and the sphere stays one, distances being those of
chords, so that nothing ends but at walls. There is no model in it and nothing to tune; the errors of observations are
interpolated with the rest, and winds as if east were one direction, also about the poles.

Sensors that do not span the space (few of them, or all in a row) hold no plane: they get the spline of |x|, which
comes to a constant far away. Several at one point count by their mean.
"""

import math

import torch
from torch import Tensor

from latentkit import sphere
from latentkit.assimilation.observations import Observations
from latentkit.localization import great_circle
from latentkit.testbeds.cases import Case

FLAT = 0.05  # of the largest extent of sensors: what is thinner has no direction of its own


def gridded(case: Case, obs: Observations) -> Tensor:  # values (R, o) -> (t, R, c, y, x)
    """Return fields at all outputs of a case, interpolated in observations alone.

    An observation counts for the output nearest in time. Where a channel has none, it is interpolated between the
    outputs before and after that have some; before the first and after the last it is as there. A channel that is
    never observed is not a number: what stands there is for who asks to decide.

    Weights are made once for sensors that stand at the same points in the same order, of all outputs and channels.
    """
    outputs = (obs.time.double()[:, None] - case.times.to(obs.time.device).double()).abs().argmin(1)
    networks: list[tuple[Tensor, list[tuple[int, int, Tensor]]]] = []  # points, and who is seen there
    for output, channel in torch.stack([outputs, obs.channel], 1).unique(dim=0).tolist():
        rows = ((outputs == output) & (obs.channel == channel)).nonzero()[:, 0]
        where = obs.where[rows]
        jobs = next((jobs for points, jobs in networks if torch.equal(points, where)), None)
        if jobs is None:
            networks.append((where, jobs := []))
        jobs.append((output, channel, rows))
    c, *grid = case.shape
    fields = obs.value.new_full((len(case.times), c, len(obs.value), math.prod(grid)), torch.nan)
    for where, jobs in networks:
        output, channel, rows = zip(*jobs, strict=True)
        spread = weights(case, where).to(obs.value)
        fields[list(output), list(channel)] = (obs.value[:, torch.stack(rows)] @ spread).transpose(0, 1)
    for i in range(c):
        fields[:, i] = _between(fields[:, i], outputs[obs.channel == i].unique())
    return fields.transpose(1, 2).unflatten(-1, grid)


def weights(case: Case, where: Tensor) -> Tensor:  # (n, d) points of sensors -> (n, y * x)
    """Return what the value of each sensor counts for at each point of the grid, in double precision on the CPU."""
    from scipy.interpolate import RBFInterpolator

    points, which = where.cpu().unique(dim=0, return_inverse=True)
    shares = torch.nn.functional.one_hot(which).double()  # (n, points)
    shares = shares / shares.sum(0)
    x, grid = _laid(case, points), _laid(case, torch.cartesian_prod(*case.axes))
    spans = len(x) > x.shape[1] and torch.linalg.matrix_rank(x - x.mean(0), rtol=FLAT) == x.shape[1]
    kind = {"kernel": "thin_plate_spline", "degree": 1} if spans else {"kernel": "linear", "degree": 0}
    spread = RBFInterpolator(x.numpy(), shares.mT.numpy(), **kind)(grid.numpy())
    return torch.from_numpy(spread).mT


def _between(fields: Tensor, known: Tensor) -> Tensor:  # (t, ...), (s) ascending -> (t, ...)
    """Return fields at all outputs by lines between those that are known, which go on level beyond."""
    if not len(known):
        return fields
    known = known.to(fields.device)
    wanted = torch.arange(len(fields), device=fields.device)
    later = torch.searchsorted(known, wanted).clamp(max=len(known) - 1)
    first, second = known[(later - 1).clamp_min(0)], known[later]
    share = ((wanted - first) / (second - first).clamp_min(1)).clamp(0, 1).to(fields)
    share = torch.where(second == first, 1.0, share).reshape(-1, *[1] * (fields.ndim - 1))
    return torch.lerp(fields[first], fields[second], share)


def _laid(case: Case, points: Tensor) -> Tensor:  # (n, d) -> (n, 2 to 4)
    """Return points where distances are straight: on the sphere, and on a circle for each periodic coordinate."""
    points = points.double().cpu()
    if case.distance is great_circle:
        return torch.from_numpy(sphere.unit(*points.mT.numpy()))
    parts = []
    for x, period in zip(points.unbind(1), case.periods, strict=True):
        radius = 0.0 if period is None else period / (2 * math.pi)
        parts += [x] if period is None else [radius * (x / radius).cos(), radius * (x / radius).sin()]
    return torch.stack(parts, 1)
