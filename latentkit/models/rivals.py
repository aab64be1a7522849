"""The rivals of notebook 23: autoencoders of the rain testbed that differ in their losses and in nothing else.

All have the same two dense layers on the same waves, begin with the same weights, see the same batches in the same
order for the same number of steps, and have the same number of trials for their settings (alpha, beta). Fields are in
units in which their noise has the variance 1/2, so that a squared error is a negative logarithm of likelihood and
beta = 1 is the bound of a VAE.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from latentkit.models import weights
from latentkit.models.llaae import LLAAE
from latentkit.models.smooth import Waves, dense
from latentkit.models.tcvae import TCVAE
from latentkit.models.train import History, Shuffled, fit, generator
from latentkit.testbeds.rain import Rain

Setting = tuple[float, float]  # alpha, beta
# name: (name of the weights, posterior, whether beta weighs the total correlation alone)
METHODS = {
    "VAE": ("vae", "normal", False),
    "beta-VAE": ("beta_vae", "normal", False),
    "beta-TCVAE": ("beta_tcvae", "normal", True),
    "LLAAE": ("llaae", "normal", False),
    "LLAAE-GEV": ("llaae_gev", "gev", False),
    "LLAAE-GEV, published": ("llaae_gev_published", "moment", False),
}
SHAPE = -0.5  # of extreme values, the paper's
FIELDS = ("rain_grid", "rain_waves", "rain_noise", "rain_proxy_noise", "rain_days", "rain_proxies", "rain_latent")
FIELDS = (*FIELDS, "rain_hidden", "rain_batch", "rain_steps", "rain_rate")  # of the preset, which a training depends on


class Data(NamedTuple):
    """Hold samples for each of s seeds: coefficients of waves (s, n, b, a), proxies (s, n, x), drivers (s, n, f)."""

    waves: Tensor
    proxies: Tensor
    drivers: Tensor


class Bed:
    """The testbed as models see it: centered, in units of its noise, in waves.

    P: the preset of the LLAAE series.
    """

    def __init__(self, P):
        self.P = P
        self.rain = Rain(P.rain_grid, noise=P.rain_noise, proxies=P.rain_proxies, proxy_noise=P.rain_proxy_noise)
        self.waves = Waves(P.rain_grid, P.rain_waves)
        self.unit = math.sqrt(2) * P.rain_noise  # [mm^0.5 day^-0.5]
        self.center = self.rain.rain(self.rain.draw(4096, generator(0, "rain", "center"))).sqrt().mean(0)

    def data(self, seeds: Sequence[int], part: str, count: int) -> Data:
        """Return samples of one part, such as "train" or "test", anew for each seed."""
        drawn = [self.rain.sample(count, generator(seed, "rain", part)) for seed in seeds]
        fields, proxies, drivers = (torch.stack(some) for some in zip(*drawn, strict=True))
        return Data(self.waves.coefficients((fields - self.center) / self.unit), proxies, drivers)

    def fields(self, coefficients: Tensor) -> Tensor:  # (..., b, a) -> (..., y, x)
        """Return fields [mm^0.5 day^-0.5] of coefficients."""
        return self.waves.fields(coefficients) * self.unit + self.center

    def model(self, name: str, settings: Sequence[Setting], seeds: Sequence[int]) -> LLAAE:
        """Return a stack of one method's models, not trained: for each setting, one a seed.

        Raises ValueError for a method that is not known.
        """
        if name not in METHODS:
            raise ValueError(f"the method is {name!r}; expected one of {', '.join(METHODS)}")
        P, (_, posterior, correlation) = self.P, METHODS[name]
        init, last = ([generator(seed, word) for _ in settings for seed in seeds] for word in ("init", "dense"))
        alpha, beta = ([setting[i] for setting in settings for _ in seeds] for i in (0, 1))
        more = {"count": P.rain_days} if correlation else {"posterior": posterior}
        more |= {"shape": SHAPE} if posterior != "normal" else {}
        kind, size = TCVAE if correlation else LLAAE, (P.rain_waves, P.rain_proxies, P.rain_latent, (1, 1, 1))
        return dense(kind(*size, init, alpha=alpha, beta=beta, **more), P.rain_hidden, last)

    def train(self, model: LLAAE, seeds: Sequence[int], checkpoint: Path | None = None) -> History:
        """Train a stack that `model` made for some settings and these seeds; the history has 20 rows at most."""
        P, data, count = self.P, self.data(seeds, "train", self.P.rain_days), len(model.h.weight) // len(seeds)
        batches = _Repeated(Shuffled(data[:2], P.rain_batch, seeds, [True, True]), count)
        every = [seed for _ in range(count) for seed in seeds]
        rate = P.rain_rate
        return thinned(fit(model, batches, steps=P.rain_steps, seeds=every, learning_rate=rate, checkpoint=checkpoint))

    def codes(self, model: LLAAE, data: Data) -> Tensor:  # (settings seeds, n, k)
        """Return the mean latents of data by a stack that `model` made for some settings and the seeds of the data."""
        with torch.no_grad():
            return model.encode(data.waves.repeat(len(model.h.weight) // len(data.waves), 1, 1, 1))

    def obtain(self, name: str, setting: Setting, seeds: Sequence[int], retrain: bool) -> tuple[LLAAE, History]:
        """Load the shipped models of a method and setting, one a seed, or train them; print which."""
        model = self.model(name, [setting], seeds)
        made = {"name": "made: rain", "period": None, "sha256": None}
        known = weights.identity(self.P, seeds, made, only=FIELDS, method=name, setting=list(setting))
        fitting = lambda model, checkpoint: self.train(model, seeds, checkpoint)  # noqa: E731
        history = weights.obtain(model, f"llaae_23_{METHODS[name][0]}", known, fitting, retrain=retrain, bits=8)
        return model.eval(), history


def thinned(history: History, rows: int = 20) -> History:
    """Return a history in fewer rows, means of several: the room for shipped weights is limited."""
    length = len(next(iter(history.values.values())))
    each = max(1, length // rows)
    means = {k: v[: length // each * each].reshape(-1, each, v.shape[1]).mean(1) for k, v in history.values.items()}
    return History(means, history.every * each, history.seconds)


class _Repeated:
    """Serve batches (seeds, b, ...) to each setting of a stack alike: (settings seeds, b, ...)."""

    def __init__(self, batches: Shuffled, settings: int):
        self.batches, self.settings = batches, settings
        self.size, self.count = batches.size, batches.count

    def __call__(self, step: int) -> list[Tensor]:
        return [part.repeat(self.settings, *[1] * (part.ndim - 1)) for part in self.batches(step)]


def settings(P, name: str) -> tuple[Setting, ...]:
    """Return the settings (alpha, beta) that are tried for a method: as many for each that has any to choose."""
    if name == "VAE":
        return ((0.0, 1.0),)
    if name in ("beta-VAE", "beta-TCVAE"):
        return tuple((0.0, beta) for beta in P.rain_betas)
    return P.rain_pairs
