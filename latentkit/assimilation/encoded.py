r"""Observations as latents: the filters that see the world through an encoder of observations.

LD-EnSF (`models.observers`) and Latent-EnSF (`models.coupled`) do not hold observations against what decoded members
show. An encoder makes latents of them, and the filter takes these for observations of the *whole* latent vector:

    z_i = encode(y_1, ..., y_i),   z_i = z + sigma scale e,   e ~ N(0, I)                                           (1)

so that the operator is the identity. What an encoder does not know, it does not say: sigma is the same for all
observations and times, and chosen (0.1 in LD-EnSF), with scales those of the latents in training. Each filter is a row
of arguments of `drivers.cycle`:

    cycle(latent.start(parameters), times, encoded(observer, obs, model), forecast=latent.forecast, observe=whole,
          analyze=EnSF(whole, score="paired", eps_alpha=0.01, scale=observer.scale[model]), rng=rng)

with `latent.Latent` for LD-EnSF and `full_space.FullSpace` for Latent-EnSF. The shipped code of LD-EnSF is paired, with
100 steps, and eps_alpha 0.01 (flow), 0.5 (tsunami), 0.01 (planet). Paired, and with sigma 0.1, an analysis is nearly a
blend of member and encoder with fixed weights, whatever the spread; the mixture of the EnSF paper is `score="mixture"`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from latentkit.assimilation.observations import Network, Observations
from latentkit.models.observers import Observer


def encoded(
    encoder: Observer,
    obs: Observations,
    model: int = 0,
    *,
    sigma: float | Tensor = 0.1,
) -> Observations:
    """Return observations of the whole latent vector, one row a variable and time, that an encoder makes of others.

    encoder: or a `coupled.Coupled`; obs: of its network, at its times from the first on, values (..., o); model: of the
    stack; sigma: of equation 1, one number or one a variable (k).

    Raises ValueError for observations that the encoder was not trained for.
    """
    values, times = encoder.sensors.series(obs, encoder.times)
    runs = values.shape[:-2]
    latents = encoder.read(values.reshape(-1, *values.shape[-2:]), model)
    return rows(latents.unflatten(0, runs) if runs else latents[0], times, sigma * encoder.scale[model])


def rows(
    latents: Tensor,  # (..., t, k)
    times: Sequence[float],
    std: Tensor,  # (k)
) -> Observations:
    """Return latents as observations: point and channel of each are its number among the k."""
    t, k = latents.shape[-2:]
    time = torch.as_tensor(times, dtype=torch.double).repeat_interleave(k)
    channel = torch.arange(k).repeat(t)
    return Observations(time, channel[:, None].double(), channel, latents.flatten(-2), std.repeat(t))


def whole(E: Tensor, obs: Network | Observations) -> Tensor:  # (..., m, k) -> (..., m, o)
    """Return what is observed of latents: the variables that the observations name, all of them as a rule."""
    return E[..., obs.channel]
