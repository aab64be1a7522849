"""Autoencoders and priors of columns: data in, trained stacks out, shipped where they fit."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from latentkit.models import diffusion, weights
from latentkit.models.autoencoder import Autoencoder, Published
from latentkit.models.denoiser import Denoiser, Windows
from latentkit.models.nets import normal
from latentkit.models.train import History, Shuffled, fit, generator

CLIP = 1.0
CODER = ("coder_widths", "latent", "modality_weight", "latent_noise", "hidden", "coder_batch", "coder_passes",
         "coder_rate", "decay")  # fmt: skip
PUBLISHED = ("published_widths", "latent", "coder_batch", "coder_passes", "coder_rate", "decay")
PRIOR = ("window", "blocks", "prior_decay")
KINDS = {"latent": "prior", "pixel": "pixel", "long": "long"}  # of priors, and what their settings begin with


def coder(
    columns, preset, seeds: Sequence[int], data: dict, *, published: bool = False, retrain: bool = False
) -> tuple[nn.Module, History]:
    """Return a stack of autoencoders of columns, a model a seed, and their training's history.

    columns: of `columns.split`; preset: of slams; data: identity of the temperature; published: the
    reference's form.
    """
    rng = [generator(s, "init") for s in seeds]
    shape, there = columns.train.shape[1:], columns.there
    if published:
        name, only = "slams_published", PUBLISHED
        model = Published(shape, preset.published_widths, preset.latent, rng, there=there, levels=columns.levels)
    else:
        name, only = "slams_coder", CODER
        model = Autoencoder(
            shape, preset.coder_widths, preset.latent, rng, there=there, area=columns.area, levels=columns.levels,
            circular=columns.circular, weight=preset.modality_weight, noise=preset.latent_noise, hidden=preset.hidden,
        )  # fmt: skip

    def train(_, checkpoint: Path) -> History:
        batches = Shuffled([columns.train], preset.coder_batch, seeds, [False])
        history = fit(
            model, batches, steps=preset.coder_passes * batches.steps, seeds=seeds, learning_rate=preset.coder_rate,
            weight_decay=preset.decay, clip=CLIP, checkpoint=checkpoint,
        )  # fmt: skip
        if not published:
            model.standardize(columns.train)
        return history

    identity = weights.identity(preset, seeds, data, only=only, days=len(columns.train))
    history = weights.obtain(model, name, identity, train, retrain=retrain, bits=8)
    return model.requires_grad_(False), history


def prior(
    series: Tensor, preset, seeds: Sequence[int], data: dict, *, kind: str, circular: bool, retrain: bool = False
) -> tuple[Denoiser, History]:
    """Return a stack of networks that tell the noise of windows of series, and their training's history.

    series: consecutive training days, latents (s, n, k, y, x) or channels (n, c, y, x); kind: "latent", "pixel", or
    "long", a pixel prior without blocks, trained for longer (hours on two cores: what is shipped is of a GPU).

    Raises ValueError for another kind, and for fewer days than a window has.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; expected one of {', '.join(KINDS)}")
    windows = series.shape[-4] - preset.window + 1
    if windows < 1:
        raise ValueError(f"{series.shape[-4]} days; expected {preset.window} or more, the length of a window")
    of = KINDS[kind]
    widths, batch, passes, rate = (getattr(preset, f"{of}_{what}") for what in ("widths", "batch", "passes", "rate"))
    rng = [generator(s, "init") for s in seeds]
    block = preset.pixel_block if kind == "pixel" else 1
    shape = (preset.window, *series.shape[-3:])
    model = Denoiser(shape, widths, preset.blocks, rng, circular=circular, block=block)

    def train(_, checkpoint: Path) -> History:
        batches = Windows(series, preset.window, Shuffled([torch.arange(windows)], batch, seeds, [False]))
        return fit(
            model, batches, steps=passes * batches.steps, seeds=seeds, learning_rate=rate,
            weight_decay=preset.prior_decay, clip=CLIP, checkpoint=checkpoint,
        )  # fmt: skip

    more = {"widths": list(widths), "batch": batch, "passes": passes, "rate": rate}
    more |= {"shape": list(series.shape[-3:]), "days": series.shape[-4]}
    only = PRIOR + (CODER if kind == "latent" else ())
    more |= {"block": block} if block > 1 else {}
    told = "latent" if kind == "latent" else "pixel"  # what it is a prior of
    identity = weights.identity(preset, seeds, data, only=only, kind=told, **more)
    history = weights.obtain(model, f"slams_{kind}", identity, train, retrain=retrain, bits=8)
    return model.requires_grad_(False), history


def encoded(
    model: nn.Module, days: Tensor, seen: Tensor | None = None, *, batch: int = 16
) -> Tensor:  # (n, c, y, x) -> (s, n, k, y, x)
    """Return the latents of days by each model of a stack, some at a time; seen: as of `Autoencoder.encode`."""
    s = len(next(model.parameters()))
    with torch.no_grad():
        return torch.cat([model.encode(some.expand(s, *some.shape), seen) for some in days.split(batch)], 1)


def decoded(model: nn.Module, z: Tensor, *, batch: int = 16) -> Tensor:  # (s, n, k, y, x) -> (s, n, c, y, x)
    """Return the channels of latents, some at a time."""
    with torch.no_grad():
        return torch.cat([model.decode(some) for some in z.split(batch, 1)], 1)


def places(lat: Tensor, lon: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:  # (y), (x), (..., y', x') -> (y'), (x')
    """Return where latents are: the middles of the blocks of points that they stand for."""
    return tuple(x.unflatten(0, (n, -1)).mean(1) for x, n in zip((lat, lon), z.shape[-2:], strict=True))


def drawn(
    model: Denoiser, days: int, count: int, *, steps: int, rng: Sequence[torch.Generator], progress: bool = False
) -> Tensor:  # (s, count, days, c, y, x)
    """Return series that a prior draws by itself, by equation 12 of `diffusion`; rng: one generator a model."""
    length, *shape = model.shape
    start = torch.stack([torch.randn(count, days, *shape, generator=g) for g in rng])
    noise = diffusion.blankets(model, length)
    with torch.no_grad():
        return diffusion.sample(noise, start, steps=steps, corrections=0, order=2, rng=rng[0], progress=progress)


@torch.no_grad()
def missed(
    model: Denoiser, series: Tensor, times: Sequence[float], rng: Sequence[torch.Generator], *, every: int = 7
) -> Tensor:  # (s, times)
    """Return the mean squared error of x0, equation 8 of `diffusion`, as a share of the windows' mean square.

    series: days (s, n, c, y, x); every: how many-th window is looked at; rng: one generator a model, of the noise.
    """
    x = series.unfold(1, model.shape[0], every).movedim(-1, 2).flatten(2, 3)  # (s, n, days c, y, x)
    e = normal(x.shape[1:], rng, x)
    rows = []
    for t in times:
        told = []
        for some, noise in zip(x.split(16, 1), e.split(16, 1), strict=True):
            noisy = diffusion.mu(t) * some + diffusion.sigma(t) * noise
            told.append((diffusion.denoised(noisy, model(noisy, t), t) - some).square().sum((1, 2, 3, 4)))
        rows.append(torch.stack(told).sum(0) / x.square().sum((1, 2, 3, 4)))
    return torch.stack(rows, 1)
