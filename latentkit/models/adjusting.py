r"""Latent linear adjustment of a field to a proxy: data in, a trained stack of models out.

A model a split of the data, side by side: each standardizes its own training days, and takes components of its own
proxies. The final least squares for h (`LLAAE.refit`) are solved anew from the data, so that weights are those of the
encoder and the decoder alone. Losses on days held out are looked at along the way and never used.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from latentkit.models import modal, weights
from latentkit.models.components import Components
from latentkit.models.llaae import LLAAE
from latentkit.models.train import History, Shuffled, fit, generator

KINDS = ("convolutional", "modal")
LOOKS = 20  # at the losses of days held out
LOOKED = 64  # such days


class Watched:
    """Serve batches, and keep losses of a model on days held out, at every `every`-th step, in `rows`."""

    def __init__(self, batches: Shuffled, model: LLAAE, held: tuple[Tensor, Tensor], every: int, seeds: Sequence[int]):
        self.batches, self.model, self.held, self.every, self.seeds = batches, model, held, every, seeds
        self.size, self.count, self.steps, self.rows = batches.size, batches.count, batches.steps, {}

    def __call__(self, step: int) -> list[Tensor]:
        if step % self.every == 0:
            self.rows[step] = self.losses()
        return self.batches(step)

    def losses(self) -> dict[str, np.ndarray]:
        """Return the parts of the model's losses on days held out."""
        return {f"tested {part}": value for part, value in losses(self.model, *self.held, self.seeds).items()}


@torch.no_grad()
def losses(
    model: LLAAE, field: Tensor, proxy: Tensor, seeds: Sequence[int], *, batch: int = 512
) -> dict[str, np.ndarray]:
    """Return the parts of equations 1 and 2 of `llaae` over days (s, n, y, x), (s, n, k), each part (s).

    Latents are drawn by generators of their own, the same ones at every call, one a seed.
    """
    device, sums, rng = next(model.parameters()).device, {}, [generator(s, "looked") for s in seeds]
    for days in zip(field.split(batch, 1), proxy.split(batch, 1), strict=True):
        days = [some.to(device) for some in days]
        for step in (0,) if model.settled else (0, 1):
            for part, value in model.loss(days, step, rng)[1].items():
                share = days[0].shape[1] / field.shape[1] / (1 if model.settled else 2)
                sums[part] = sums.get(part, 0) + share * value.cpu().numpy()
    return sums


def obtain(
    split,
    name: str,
    kind: str,
    *,
    components: int,
    latent: int,
    widths: Sequence[int],
    maps: int = 0,
    alpha: float,
    beta: float,
    posterior: str = "normal",
    shape: float | None = None,
    batch: int,
    passes: int,
    learning_rate: float,
    decay: float = 0.0,
    seeds: Sequence[int],
    circular: bool,
    data: Sequence[dict],
    retrain: bool = False,
    says: Components | None = None,
) -> tuple[LLAAE, Components, History]:
    """Load a shipped stack, or train one; return it, what makes components of proxies, and the training's history.

    split: of `pairs`; kind: "convolutional", as published, or "modal" (`models.modal`); components: of the proxy;
    widths: channels of the three layers, or channels and layers of the modal decoder, with `maps`; passes: over the
    training days with equation 1 of `llaae`; decay: of weights, decoupled from the loss (AdamW); data: what both fields
    are made of, for the weights' identity; says: the components of the split's own training proxies, where another
    model has found them already.

    Raises ValueError for another kind, for other components than asked for, and for settings that do not fit the data.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; expected one of {', '.join(KINDS)}")
    grid, rng = split.field.shape[2:], [generator(s, "init") for s in seeds]
    networks = None
    if kind == "modal":
        channels, layers = widths
        networks = modal.networks(grid, latent, channels, layers, maps, rng, circular=circular)
    model = LLAAE(
        grid, components, latent, widths, rng, alpha=alpha, beta=beta, weights=split.area, posterior=posterior,
        shape=shape, circular=circular, positive=kind == "modal", networks=networks,
    )  # fmt: skip
    model.learn(split.field)
    says = says or Components(split.proxy, components)
    if says.deviations.shape != (len(seeds), components):
        found = " x ".join(map(str, says.deviations.shape))
        raise ValueError(f"components of {found} (splits x count); expected {len(seeds)} x {components}")
    proxies = says(split.proxy)
    kept = nn.ModuleDict({"encoder": model.encoder, "decoder": model.decoder})
    if hasattr(model, "raw_shape"):
        kept.register_parameter("raw_shape", model.raw_shape)
    sizes = {"kind": kind, "components": components, "latent": latent, "widths": list(widths), "maps": maps}
    sizes |= {"alpha": alpha, "beta": beta, "posterior": posterior, "shape": shape, "batch": batch, "passes": passes}
    identity = {**sizes, "learning_rate": learning_rate, "seeds": list(seeds), "held_out": list(split.held_out)}
    identity |= {"decay": decay} if decay else {}  # of weights trained without any, nothing is said
    identity["days"] = split.field.shape[1]
    identity["data"] = [{k: one.get(k) for k in ("name", "period", "sha256")} for one in data]

    def train(_, checkpoint: Path) -> History:
        if model.settled:
            model.refit(split.field, proxies)
        batches = Shuffled([split.field, proxies], batch, seeds, [True, True])
        steps = (1 if model.settled else 2) * passes * batches.steps
        some = slice(None, None, max(1, split.tested_field.shape[1] // LOOKED))
        held = split.tested_field[:, some], says(split.tested_proxy[:, some])
        batches = Watched(batches, model, held, max(1, steps // LOOKS), seeds)
        history = fit(
            model, batches, steps=steps, seeds=seeds, learning_rate=learning_rate, weight_decay=decay, clip=100.0,
            checkpoint=checkpoint,
        )  # fmt: skip
        batches.rows[steps] = batches.losses()
        none = {k: np.full_like(v, np.nan) for k, v in batches.rows[steps].items()}  # before a training was resumed
        rows = [batches.rows.get(i * batches.every, none) for i in range(1, LOOKS)] + [batches.rows[steps]]
        history.values |= {k: np.stack([row[k] for row in rows]).astype(np.float32) for k in rows[0]}
        return history

    history = weights.obtain(kept, name, identity, train, retrain=retrain, bits=8)
    model.requires_grad_(False)
    model.refit(split.field, proxies)
    return model, says, history


def told(decode, codes: Tensor, *, batch: int = 256) -> Tensor:  # (s, n, k) -> (s, n, y, x)
    """Return the fields of latents, as many at a time as stay in the processor's memory, none below 0."""
    with torch.no_grad():
        return torch.cat([decode(some).clamp_min(0) for some in codes.split(batch, 1)], 1)
