r"""Observations as latents: the filters that see the world through an encoder of observations.

LD-EnSF (`models.observers`) and Latent-EnSF (`models.coupled`) do not hold observations against what decoded members
show. An encoder makes latents of them, and the filter takes these for observations of the *whole* latent vector:

    z_i = encode(y_1, ..., y_i),   z_i = z + std e,   e ~ N(0, I)                                                   (1)

so that the operator is the identity. What an encoder does not know, it does not say: std is the same at all times and
for all observations, and chosen. Each filter is a row of arguments of `drivers.cycle`, LD-EnSF with `latent.Latent`,
Latent-EnSF with `full_space.FullSpace`:

    cycle(latent.start(parameters), times, encoded(observer, obs, model), forecast=latent.forecast, observe=whole,
          analyze=EnSF(whole, scale=observer.scale[model]), rng=rng)

The published code of LD-EnSF multiplies latents by 100, and filters them with std 0.1 and the settings PUBLISHED, but
eps_alpha 0.5 on the tsunami. Here latents are by their deviations first:

    unit = observer.scale[model] / 100,   encoded(..., std=0.1 * unit),   EnSF(whole, scale=unit, **PUBLISHED)

With these, an analysis is 0.63 of the member and 0.37 of the encoder, whatever the spread of the members and the units.
It is the size of a step, beside an eps_beta of 0, that sets this weight: with 500 steps it is 0.13.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from latentkit.assimilation.observations import Network, Observations
from latentkit.models.observers import Observer

PUBLISHED = {"score": "paired", "steps": 100, "eps_alpha": 0.01, "eps_beta": 1e-6}  # of EnSF, which refuses a 0


def encoded(
    encoder: Observer,
    obs: Observations,
    model: int = 0,
    *,
    std: Tensor | None = None,  # (k)
) -> Observations:
    """Return observations of the whole latent vector, one row a variable and time, that an encoder makes of others.

    encoder: or a `coupled.Coupled`; obs: of its network, at its times from the first on, values (..., o); model: of the
    stack; std: of equation 1, in units of the latents, by default 0.1 of their deviations in training.

    Raises ValueError for observations that the encoder was not trained for.
    """
    values, times = encoder.sensors.series(obs, encoder.times)
    runs = values.shape[:-2]
    latents = encoder.read(values.reshape(-1, *values.shape[-2:]), model)
    std = 0.1 * encoder.scale[model] if std is None else std
    return rows(latents.unflatten(0, runs) if runs else latents[0], times, std)


def rows(
    latents: Tensor,  # (..., t, k)
    times: Sequence[float],
    std: Tensor,  # (k)
) -> Observations:
    """Return latents as observations: point and channel of each are its number among the k."""
    t, k = latents.shape[-2:]
    time = torch.as_tensor(times, dtype=torch.double, device=latents.device).repeat_interleave(k)
    channel = torch.arange(k, device=latents.device).repeat(t)
    return Observations(time, channel[:, None].double(), channel, latents.flatten(-2), std.repeat(t))


def spread_out(Y: Tensor, obs: Network | Observations, E: Tensor) -> Tensor:  # (..., m, o) -> (..., m, k)
    """Return the sums of what is observed of each variable: the adjoint of `whole`, the same at any ensemble."""
    return torch.zeros_like(E).index_add(-1, obs.channel.to(Y.device), Y)


def whole(E: Tensor, obs: Network | Observations) -> Tensor:  # (..., m, k) -> (..., m, o)
    """Return what is observed of latents: the variables that the observations name, all of them as a rule."""
    return E[..., obs.channel]
