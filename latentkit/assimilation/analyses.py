r"""Analyses of windows of columns by all that can make them, from the same observations.

Each method takes what a `View` sees of w windows, (w, days, c, y', x') with NaN where nothing is, and returns draws
(s, w, m, days, c, y, x) [standard deviations], s models and m draws of each; s and m are 1 where there is one answer.
Where a view sees nothing they are draws of the prior, with a warning; where what it sees is missing they raise.

`pixel` and `latent` sample by the priors of notebook 40 under the guidance of Y. Qu et al. (2024), equation 9, the one
from fields, the other from latents through the decoder. `gaussian` draws from the prior of `models.zonal` in the latent
space, through a linear decoder, or from that of fields themselves (`of_fields`), which needs neither decoder nor
training. What a decoder misses is an error of the observations too, as seen on days of the validation year, since the
linear decoder was fitted to those of training:

    R = diag(std^2 + mean over days and blocks (A(g(f(v))) - A(v))^2), a channel each                               (1)

The reference code observes f(v) in place of v for its latent method, so that errors mean one thing there and another in
fields (`reference`): its own definition, for which nobody has the observations.

Draws of latents do not vary what a decoder misses, though where all is seen well it is most of what is left. `residual`
draws it besides, as if it were independent from point to point, with the variance D that it has on the same days:

    v + e + D A^T (A D A^T + diag(std^2))^-1 (y + noise - A(v + e)),   e ~ N(0, D)                                  (2)

where A D A^T is diagonal, since blocks do not overlap. Its mean follows from e = 0 and noise = 0.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Generator, Tensor

from latentkit.assimilation import plain
from latentkit.assimilation.views import View, view
from latentkit.models import conditioned, diffusion, slams
from latentkit.models.nets import normal
from latentkit.models.readout import Plain, Readout
from latentkit.models.zonal import Zonal

EVERY = 3  # which days of validation tell what a decoder misses
ROUNDS = 3  # of conjugate gradients, for equation 13 of `diffusion`


@dataclass(frozen=True)
class Ground:
    """Hold what methods stand on: columns, preset, lat (y), lon (x), trained stacks, and fits to training days.

    told: days of validation, every third; kept, read: the same from latents, by the network and by the linear decoder.
    """

    columns: object
    preset: object
    lat: Tensor
    lon: Tensor
    coder: object
    latent: object
    pixel: object
    readout: Readout
    gaussian: Zonal
    told: Tensor
    kept: Tensor
    read: Tensor


def ground(
    columns, preset, lat: Tensor, lon: Tensor, seeds: Sequence[int], data: dict, *, retrain: bool = False
) -> Ground:
    """Return what methods stand on, trained where weights are not shipped."""
    coder, _ = slams.coder(columns, preset, seeds, data, retrain=retrain)
    z = slams.encoded(coder, columns.train)
    latent, _ = slams.prior(z, preset, seeds, data, kind="latent", circular=columns.circular, retrain=retrain)
    pixel, _ = slams.prior(columns.train, preset, seeds, data, kind="pixel", circular=columns.circular, retrain=retrain)
    linear = Readout(z, columns.train, there=columns.there, ridge=preset.ridge, circular=columns.circular)
    gaussian = Zonal(z, preset.window, *slams.places(lat, lon, z), radius=preset.zonal_radius)
    told = columns.valid[::EVERY]
    some = slams.encoded(coder, told)
    read = torch.cat([linear.decode(part) for part in some.split(16, 1)], 1)
    kept = slams.decoded(coder, some)
    return Ground(columns, preset, lat, lon, coder, latent, pixel, linear, gaussian, told, kept, read)


def single(g: Ground, model: int) -> Ground:
    """Return the ground with one model of the stack in what `gaussian` uses."""
    return replace(
        g, readout=g.readout.model(model), gaussian=g.gaussian.model(model), read=g.read[model : model + 1]
    )


def longer(g: Ground, seeds: Sequence[int], data: dict) -> Ground:
    """Return the ground with the pixel prior that was trained for longer; where its weights do not fit, in hours."""
    pixel, _ = slams.prior(g.columns.train, g.preset, seeds, data, kind="long", circular=g.columns.circular)
    return replace(g, pixel=pixel)


def of_fields(g: Ground) -> Ground:
    """Return the ground with a Gaussian of fields in place of that of latents, in what `gaussian` uses.

    It takes minutes and gigabytes: twelve times as many covariances as of latents twice as coarse.
    """
    prior = Zonal(g.columns.train[None], g.preset.window, g.lat, g.lon, radius=g.preset.zonal_radius)
    return replace(g, readout=Plain(g.columns.there), gaussian=prior, read=g.told[None])


def channels(columns, sees: str) -> list[int]:
    """Return the channels of variables, such as "ta; rlut".

    Raises ValueError for one that columns do not have.
    """
    of = {"ta": list(range(columns.levels)), "pr": [columns.levels], "rlut": [columns.levels + 1]}
    names = [name.strip() for name in sees.split(";")]
    unknown = sorted(set(names) - set(of))
    if unknown:
        raise ValueError(f"variables {unknown} in {sees!r}; expected some of ta, pr and rlut, with semicolons between")
    return [channel for name in names for channel in of[name]]


def windows(days: Tensor, length: int, count: int) -> tuple[Tensor, Tensor]:  # (n, ...) -> (w, length, ...), (w, ...)
    """Return windows that lie evenly over days, and the day before each.

    Raises ValueError for fewer days than a window and the day before it have, and for more windows than there are.
    """
    if len(days) <= length:
        raise ValueError(f"{len(days)} days, windows of {length}; expected one day more, or more")
    if not 1 <= count <= len(days) - length:
        raise ValueError(f"{count} windows of {length} in {len(days)} days; expected 1 to {len(days) - length}")
    first = torch.linspace(1, len(days) - length, count, dtype=torch.double).long()
    return torch.stack([days[f : f + length] for f in first.tolist()]), days[first - 1]


def climatology(g: Ground, view: View, seen: Tensor) -> Tensor:
    """Return the cycle of the seasons, which is 0."""
    return g.told.new_zeros(1, len(seen), 1, seen.shape[1], *g.told.shape[1:])


def persistence(g: Ground, view: View, seen: Tensor, last: Tensor) -> Tensor:  # last (w, c, y, x): true days before
    """Return the true day before each window, on all its days."""
    return plain.persistence(last, seen.shape[1])[None, :, None]


def interpolated(g: Ground, view: View, seen: Tensor) -> Tensor:
    """Return observations, interpolated."""
    return plain.interpolated(view, seen, circular=g.columns.circular)[None, :, None]


def optimal(g: Ground, view: View, radius: float) -> plain.Climatological:
    """Return ensemble optimal interpolation over training days: called with what is seen (w, days, ...)."""
    return plain.Climatological(g.columns.train, g.lat, g.lon, view, radius=radius, lags=g.preset.oi_lags)


def pixel(
    g: Ground, view: View, seen: Tensor, draws: int, rng: Sequence[Generator], gamma: float | None, **how
) -> Tensor:
    """Return draws of the pixel prior, guided by equation 9 of `diffusion`, or 13 where gamma is None.

    how: checkpoint, every and progress of `diffusion.sample`.
    """
    return _sampled(g, g.pixel, view, view, view.std, seen, draws, rng, gamma, **how) * g.columns.there


def latent(
    g: Ground, view: View, seen: Tensor, draws: int, rng: Sequence[Generator], gamma: float | None, **how
) -> Tensor:
    """Return draws of the latent prior, guided as those of `pixel`, but through the decoder."""

    def observe(z: Tensor) -> Tensor:  # (s, n, days, k, y, x)
        return view(g.coder.decode(z.flatten(1, 2)).unflatten(1, z.shape[1:3]))

    z = _sampled(g, g.latent, view, observe, _error(view, g.kept, g.told), seen, draws, rng, gamma, **how)
    return slams.decoded(g.coder, z.flatten(1, 3)).unflatten(1, z.shape[1:4])


def reference(
    g: Ground, truth: Tensor, channels: Sequence[int], draws: int, rng: Sequence[Generator], gamma: float,
    errors: Sequence[Generator], *, coarse: int, gap: int, noise: float,
) -> Tensor:  # fmt: skip
    """Return draws of the latent prior from observations of the truth's latents: the reference's definition.

    truth (w, days, c, y, x), of which the encoder sees channels; errors: of observations, one generator a model, with a
    deviation of `noise` in units of latents; coarse, gap: in cells of fields, at least one cell of latents.
    """
    block = g.readout.block
    mask = torch.zeros(len(g.columns.there), 1, 1).index_fill(0, torch.tensor(list(channels)), 1)
    z = slams.encoded(g.coder, truth.flatten(0, 1), mask).unflatten(1, truth.shape[:2])
    area = g.columns.area.unflatten(1, (-1, block[1])).unflatten(0, (-1, block[0])).mean((1, 3))
    cells = {"coarse": max(1, coarse // block[0]), "gap": max(1, gap // block[0])}
    eyes = view(area, torch.ones(z.shape[-3:], dtype=torch.bool), noise, **cells)
    seen = torch.stack([eyes.observed(one, e) for one, e in zip(z, errors, strict=True)])
    z = _sampled(g, g.latent, eyes, eyes, eyes.std, seen, draws, rng, gamma)
    return slams.decoded(g.coder, z.flatten(1, 3)).unflatten(1, z.shape[1:4])


def gaussian(g: Ground, view: View, seen: Tensor, draws: int, rng: Sequence[Generator]) -> Tensor:
    """Return draws of `conditioned.posterior`; draws 0 for the mean that many of them would have.

    Where nothing is observed a warning says so, and draws are those of the prior.

    Raises ValueError for windows of another length than the prior's.
    """
    seen = view.fitting(seen)
    days, k, y, x = g.gaussian.shape
    if seen.shape[1] != days:
        raise ValueError(f"windows of {seen.shape[1]} days; expected {days}, the length of the prior's")
    count = len(seen) * max(draws, 1)
    if _nothing(view):
        z = g.gaussian.sample(count, rng) if draws else g.gaussian.center.expand(-1, count, -1, -1, -1)
    else:
        operator = g.readout.seen(view, days)
        std = operator.flat(_error(view, g.read, g.told).expand(view.seen.shape))
        repeated = operator.flat(seen).repeat_interleave(max(draws, 1), 0)[None]
        make = partial(conditioned.posterior, rng=rng) if draws else conditioned.mean
        z = make(g.gaussian, operator, repeated, std, rounds=g.preset.rounds)
    fields = g.readout.decode(z.unflatten(2, (days, k)).flatten(1, 2))
    return fields.unflatten(1, (len(seen), max(draws, 1), days))


def residual(
    g: Ground,
    view: View,
    seen: Tensor,  # (w, days, c, y', x')
    draws: Tensor,  # (s, w, m, days, c, y, x) through a decoder
    read: Tensor,  # (s, n, c, y, x): `told` through the same decoder
    rng: Sequence[Generator] | None,
) -> Tensor:
    """Return draws with what their decoder misses: equation 2; without rng their mean, given the latents."""
    D = torch.stack([(one - g.told).square().mean(0) for one in read])[:, None, None, None]  # (s, 1, 1, 1, c, y, x)
    seen = view.fitting(seen)
    y, there = seen[None, :, None], torch.isfinite(seen)[None, :, None]
    if rng is not None:
        draws = draws + D.sqrt() * normal(draws.shape[1:], rng, draws)
    gap = y - view(draws)
    if rng is not None:
        gap = gap + view.std * normal(gap.shape[1:], rng, gap)
    total = view.rows.square() @ D @ view.columns.square().mT + view.std.square()
    scaled = torch.where(there, gap / total, 0)
    return draws + D * (view.rows.mT @ scaled @ view.columns)


def _error(view: View, kept: Tensor, told: Tensor) -> Tensor:  # (c, 1, 1)
    """Return the root of equation 1: kept (s, n, c, y, x), told (n, c, y, x)."""
    gap = torch.stack([view(one - told).square().mean(0) for one in kept]).mean(0)
    missed = (gap * view.seen).sum((1, 2)) / view.seen.sum((1, 2)).clamp_min(1)
    return (view.std.square() + missed[:, None, None]).sqrt()


def _nothing(view: View) -> bool:
    """Return whether a view sees nothing, with a warning."""
    if view.seen.any():
        return False
    warnings.warn("nothing is observed: draws are those of the prior", stacklevel=3)
    return True


def _sampled(
    g: Ground, model, view: View, observe: Callable, std: Tensor, seen: Tensor, draws: int, rng: Sequence[Generator],
    gamma: float | None, **how,
) -> Tensor:  # fmt: skip
    """Return guided series (s, w, draws, days, c, y, x) of a prior; seen (w, days, ...), or (s, w, days, ...)."""
    _nothing(view)
    seen = view.fitting(seen)
    length, *shape = model.shape
    w, days = seen.shape[-5:-3]
    start = torch.stack([torch.randn(w * draws, days, *shape, generator=one) for one in rng])
    y = seen.repeat_interleave(draws, -5)
    prior, p = diffusion.blankets(model, length), g.preset
    if gamma is None:
        noise = diffusion.moments(prior, observe, y, std, rounds=ROUNDS)
    else:
        noise = diffusion.guided(prior, observe, y, std, gamma=gamma)
    # Of first order: what the second extrapolates is what observations pull, and it swings where they are many.
    x = diffusion.sample(noise, start, steps=p.guided_steps, corrections=p.corrections, tau=p.tau, rng=rng[0], **how)
    return x.unflatten(1, (w, draws))
