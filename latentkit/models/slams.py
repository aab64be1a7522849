"""Autoencoders and priors of columns: data in, trained stacks out, shipped where they fit."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from latentkit.models import weights
from latentkit.models.autoencoder import Autoencoder, Published
from latentkit.models.denoiser import Denoiser, Windows
from latentkit.models.train import History, Shuffled, fit, generator

CLIP = 1.0
CODER = ("coder_widths", "latent", "modality_weight", "latent_noise", "hidden", "coder_batch", "coder_passes",
         "coder_rate", "decay")  # fmt: skip
PUBLISHED = ("published_widths", "latent", "coder_batch", "coder_passes", "coder_rate", "decay")
PRIOR = ("window", "blocks", "prior_batch", "prior_rate", "prior_decay")


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

    series: consecutive training days, latents (s, n, k, y, x) or channels (n, c, y, x); kind: "latent" or "pixel".

    Raises ValueError for another kind, and for fewer days than a window has.
    """
    if kind not in ("latent", "pixel"):
        raise ValueError(f"kind is {kind!r}; expected 'latent' or 'pixel'")
    windows = series.shape[-4] - preset.window + 1
    if windows < 1:
        raise ValueError(f"{series.shape[-4]} days; expected {preset.window} or more, the length of a window")
    widths, passes = (
        (preset.prior_widths, preset.prior_passes) if kind == "latent" else (preset.pixel_widths, preset.pixel_passes)
    )
    rng = [generator(s, "init") for s in seeds]
    model = Denoiser((preset.window, *series.shape[-3:]), widths, preset.blocks, rng, circular=circular)

    def train(_, checkpoint: Path) -> History:
        batches = Windows(series, preset.window, Shuffled([torch.arange(windows)], preset.prior_batch, seeds, [False]))
        return fit(
            model, batches, steps=passes * batches.steps, seeds=seeds, learning_rate=preset.prior_rate,
            weight_decay=preset.prior_decay, clip=CLIP, checkpoint=checkpoint,
        )  # fmt: skip

    more = {"widths": list(widths), "passes": passes, "shape": list(series.shape[-3:]), "days": series.shape[-4]}
    only = PRIOR + (CODER if kind == "latent" else ())
    identity = weights.identity(preset, seeds, data, only=only, kind=kind, **more)
    history = weights.obtain(model, f"slams_{kind}", identity, train, retrain=retrain, bits=8)
    return model.requires_grad_(False), history


def encoded(model: nn.Module, days: Tensor, *, batch: int = 64) -> Tensor:  # (n, c, y, x) -> (s, n, k, y, x)
    """Return the latents of days by each model of a stack, some at a time."""
    s = len(next(model.parameters()))
    with torch.no_grad():
        return torch.cat([model.encode(some.expand(s, *some.shape)) for some in days.split(batch)], 1)


def decoded(model: nn.Module, z: Tensor, *, batch: int = 64) -> Tensor:  # (s, n, k, y, x) -> (s, n, c, y, x)
    """Return the channels of latents, some at a time."""
    with torch.no_grad():
        return torch.cat([model.decode(some) for some in z.split(batch, 1)], 1)
