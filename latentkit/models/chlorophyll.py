"""Downscaling of chlorophyll: the data of `testbeds.chlorophyll` made ready, what needs no network, and trainings.

What a method is given is one of two: `proxies` (light and temperature of the same interval, coarse), or `all` (coarse
chlorophyll besides). Fields are log10 chlorophyll less its mean by latitude in training, over one deviation.
"""

import functools
import math
import re
from typing import NamedTuple

import torch
from torch import Tensor, nn

from latentkit.models import weights
from latentkit.models.downscaling import GrowthLLAAE, UNet, enlarged, neighbors
from latentkit.models.train import Shuffled, fit, generator
from latentkit.testbeds.chlorophyll import Records

CLIP = 1e3  # of gradients, whose losses are sums over points
GIVEN = {"proxies": 2, "all": 3}  # and so many coarse fields


class Scale(NamedTuple):
    """Hold what standardizes: mean (y, 1) by latitude and deviation of fields, and of coarse fields (c) each."""

    mean: Tensor
    deviation: Tensor
    coarse_mean: Tensor
    coarse_deviation: Tensor

    def fields(self, records: Records) -> Tensor:  # (n, y, x)
        """Return the standardized fields of records, one after the other."""
        return ((records.fine - self.mean) / self.deviation).flatten(0, 1)

    def proxies(self, records: Records, given: str) -> Tensor:  # (n, c, y, x)
        """Return the coarse fields that `given` names: light and temperature as they are, chlorophyll standardized."""
        if given not in GIVEN:
            raise ValueError(f"a method is given {given!r}; expected one of {', '.join(GIVEN)}")
        chlorophyll = (records.chlorophyll - self.coarse_mean[2]) / self.coarse_deviation[2]
        stack = [records.light, records.temperature, chlorophyll][: GIVEN[given]]
        return torch.stack(stack, 2).flatten(0, 1)

    def back(self, fields: Tensor) -> Tensor:
        """Return log10 chlorophyll of standardized fields."""
        return fields * self.deviation + self.mean


def scaled(records: Records) -> Scale:
    """Return the standardization by training records."""
    mean = records.fine.mean((0, 1, 3))[:, None]
    coarse = torch.stack([records.light, records.temperature, records.chlorophyll], 0).flatten(1)
    return Scale(mean, (records.fine - mean).std(), coarse.mean(1), coarse.std(1))


def climatology(records: Records) -> Tensor:  # (t, y, x)
    """Return the mean by date and latitude, over members and around the channel."""
    return records.fine.mean((0, 3), keepdim=True)[0].expand_as(records.fine[0])


def bicubic(records: Records) -> Tensor:  # (m, t, y, x)
    """Return coarse chlorophyll interpolated by cubic splines."""
    factor = records.fine.shape[-1] // records.light.shape[-1]
    return enlarged(records.chlorophyll, factor, "bicubic")


class Linear:
    """Regress each fine cell on coarse fields of its coarse cell and the eight around it, alike around the channel."""

    def __init__(self, fields: Tensor, proxies: Tensor):  # (n, y, x), (n, c, y, x)
        rows, columns = proxies.shape[-2:]
        self.mean, self.deviation = (getattr(proxies, f)((0, 2, 3), keepdim=True) for f in ("mean", "std"))
        y, x = fields.shape[-2] // rows, fields.shape[-1] // columns
        blocks = fields.unflatten(-1, (columns, x)).unflatten(-3, (rows, y)).permute(1, 0, 3, 2, 4)
        inputs, wanted = self._inputs(proxies), blocks.flatten(3).flatten(1, 2).double()
        ridge = (
            1e-6 * inputs.shape[1] * torch.eye(inputs.shape[2], dtype=inputs.dtype)
        )  # at the walls neighbors are twice the same
        self.weight = torch.linalg.solve(inputs.mT @ inputs + ridge, inputs.mT @ wanted)
        self.block = y, x

    def __call__(self, proxies: Tensor) -> Tensor:  # (n, c, y, x) -> (n, y, x)
        """Return standardized fields."""
        found = (self._inputs(proxies) @ self.weight).float()  # (Y, n X, y x)
        found = found.unflatten(1, (len(proxies), -1)).unflatten(-1, self.block)
        return found.permute(1, 0, 3, 2, 4).flatten(3).flatten(1, 2)

    def _inputs(self, proxies: Tensor) -> Tensor:
        x = neighbors((proxies - self.mean) / self.deviation).permute(2, 0, 3, 1).flatten(1, 2).double()
        return torch.cat([x, torch.ones_like(x[..., :1])], -1)


# name: kind of network, what it is given, how growth enters, function of light
NETWORKS = {
    "LLAAE": ("llaae", "proxies", "separate", "eilers-peeters"),
    "LLAAE, quadratic": ("llaae", "proxies", "separate", "quadratic"),
    "U-Net": ("unet", "proxies", "", ""),
    "LLAAE + chlorophyll": ("llaae", "all", "separate", "eilers-peeters"),
    "U-Net + chlorophyll": ("unet", "all", "", ""),
}


def built(name: str, P, scale: Scale, seeds) -> nn.Module:
    """Return a stack of untrained networks, one a seed, as the preset has them."""
    kind, given, how, light = NETWORKS[name]
    factor = P.chlorophyll_factor
    rng, more = [generator(s, "init") for s in seeds], GIVEN[given] - 2
    if kind == "unet":
        means, deviations = scale.coarse_mean[:2].tolist(), scale.coarse_deviation[:2].tolist()
        return UNet(factor, P.chlorophyll_unet, rng, means=means, deviations=deviations, more=more)
    how = {"light": light, "how": how, "more": more, "alpha": P.alpha, "beta": P.beta}
    return GrowthLLAAE(P.chlorophyll_cells[0] // factor, factor, P.chlorophyll_width, rng, **how)


def trained(name: str, P, records: Records, scale: Scale, seeds, data: dict, rate: float, *, retrain: bool = False):
    """Return a stack of networks, shipped or trained on records, and its history; rate: of learning."""
    settings = ("cells", "factor", "members", "interval", "spin_up", "records", "batch")
    settings += ("unet", "unet_steps") if NETWORKS[name][0] == "unet" else ("width", "steps")
    only = ["alpha", "beta", *[f"chlorophyll_{field}" for field in settings]]
    identity = weights.identity(P, seeds, data, only=only, model=name, rate=rate)
    model = built(name, P, scale, seeds)
    file = "llaae_chlorophyll_" + "_".join(re.findall("[a-z]+", name.lower()))
    train = functools.partial(_train, name=name, P=P, records=records, scale=scale, seeds=seeds, rate=rate)
    return model, weights.obtain(model, file, identity, train, retrain=retrain, bits=8)


def trial(name: str, P, records: Records, scale: Scale, seeds, rate: float) -> tuple[nn.Module, float]:
    """Return networks trained for half of the U-Net's steps, a quarter of the LLAAE's, and the seconds; not kept."""
    model = built(name, P, scale, seeds)
    history = _train(model, None, name=name, P=P, records=records, scale=scale, seeds=seeds, rate=rate, part=0.5)
    return model, history.seconds


def _train(model: nn.Module, checkpoint, *, name, P, records, scale, seeds, rate, part=None):
    kind, given, *_ = NETWORKS[name]
    fields, proxies = scale.fields(records), scale.proxies(records, given)
    steps = P.chlorophyll_unet_steps if kind == "unet" else P.chlorophyll_steps * (1 if part else 2)  # of each loss
    steps = 2 * math.ceil((part or 1.0) * steps / 2)
    batches = Shuffled([fields, proxies], P.chlorophyll_batch, seeds, [False, False])
    history = fit(model, batches, steps=steps, seeds=seeds, learning_rate=rate, clip=CLIP, checkpoint=checkpoint)
    if kind == "llaae":
        model.refit(fields, proxies)
    return history


@torch.no_grad()
def predicted(model: nn.Module, proxies: Tensor, scale: Scale, like: Tensor, *, batch: int = 64) -> Tensor:
    """Return log10 chlorophyll (s, m, t, y, x) that networks say of proxies (n, c, y, x); like (m, t, ...)."""
    s = len(next(model.parameters()))
    parts = [model.predict(some.expand(s, *some.shape)) for some in proxies.split(batch)]
    return scale.back(torch.cat(parts, 1)).unflatten(1, like.shape[:2])
