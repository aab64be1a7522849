r"""Sensors in fixed places, as encoders of observations take them: always the same ones, each always there.

A network that was trained on what o sensors show has o inputs. Which sensor is which it has learned, so that it can do
without none of them and knows no other places (LEVDA, section 4.4 and table 3). What does not fit is an error here: the
encoder would answer, and its answer would be wrong.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from latentkit.assimilation.observations import Network, Observations, first_of

REMEDY = (
    "an encoder of observations is bound to the sensors that it was trained with; train one for these, or take a "
    "method that observes the decoded fields (`Latent.observe` with a filter, LEVDA)"
)
NEAR = 1e-5  # of the network's extent or of a time: what a place or a time may be off


class Sensors(nn.Module):
    """Hold the network of one moment, o observations, and the scales of what it shows.

    network: which moment does not matter. `mean` (o) is one a sensor; `deviation` (o) one a channel, so that an error
    of observation is of one size for all sensors of a channel.

    Raises ValueError for a network of several moments.
    """

    def __init__(self, network: Network | Observations):
        super().__init__()
        if len(network.time.unique()) != 1:
            raise ValueError(
                f"a network of {len(network.time.unique())} moments; expected one, whose sensors are there at all "
                "others too, such as everywhere(points, times[:1], channels)"
            )
        # Places are not stored: half precision, in which weights are shipped, does not hold them.
        self.register_buffer("where", network.where.clone(), persistent=False)
        self.register_buffer("channel", network.channel.clone(), persistent=False)
        self.register_buffer("mean", torch.zeros(len(self.channel)))
        self.register_buffer("deviation", torch.ones(len(self.channel)))

    def __len__(self) -> int:
        return len(self.channel)

    @property
    def identity(self) -> str:
        """Return what names the places and channels, in order, for the identity of weights."""
        places = self.where.double().cpu().numpy().tobytes() + self.channel.cpu().numpy().tobytes()
        return f"{len(self)} sensors {hashlib.sha256(places).hexdigest()[:16]}"

    def learn(self, values: Tensor) -> Tensor:  # (..., o) -> (..., o)
        """Find the scales of values, and return the values by these.

        Raises ValueError for a channel that shows the same always.
        """
        flat = values.reshape(-1, len(self))
        self.mean = flat.mean(0)
        variance = (flat - self.mean).square().mean(0)
        for channel in self.channel.unique():
            here = self.channel == channel
            deviation = variance[here].mean().sqrt()
            if not deviation > 0:
                raise ValueError(
                    f"sensors of channel {int(channel)} show {float(flat[0, here][0]):g} at all times; leave the "
                    "channel out of the network, or the start out of the times"
                )
            self.deviation[here] = deviation
        return self(values)

    def forward(self, values: Tensor) -> Tensor:  # (..., o) -> (..., o)
        """Return values in units of their deviations from the mean."""
        return (values - self.mean) / self.deviation

    def series(
        self,
        obs: Observations,
        times: Sequence[float] | None = None,
    ) -> tuple[Tensor, list[float]]:  # (..., t, o), (t)
        """Return what the sensors show at each time, and the times.

        times: at which one looks, in order; observations may end before the last, but leave none out.

        Raises ValueError, with the remedy, for other sensors or times than these, and for missing values.
        """
        order = torch.argsort(obs.time, stable=True)
        obs = obs.rows(order)
        found, counts = torch.unique_consecutive(obs.time, return_counts=True)
        wrong = counts != len(self)
        if wrong.any():
            i = int(wrong.nonzero()[0])
            raise ValueError(
                f"at time {float(found[i]):g} there are {int(counts[i])} observations; expected {len(self)}: {REMEDY}"
            )
        where = obs.where.unflatten(0, (len(found), len(self)))
        slack = NEAR * float(self.where.abs().max())
        moved = ((where - self.where.to(where)).abs() > slack).any(-1) | (
            obs.channel.view(-1, len(self)) != self.channel.to(obs.channel.device)
        )
        if moved.any():
            row = int(moved.flatten().nonzero()[0])
            there, here = (
                [round(float(v), 4) for v in places] for places in (obs.where[row], self.where[row % len(self)])
            )
            raise ValueError(
                f"{first_of(obs, moved.flatten())} is of channel {int(obs.channel[row])} at {there}; expected channel "
                f"{int(self.channel[row % len(self)])} at {here}: {REMEDY}"
            )
        gone = ~obs.value.isfinite().reshape(-1, obs.value.shape[-1]).all(0)
        if gone.any():
            raise ValueError(
                f"{first_of(obs, gone)} has no finite value, {int(gone.sum())} such; expected all {len(self)} sensors "
                f"at each time: {REMEDY}"
            )
        moments = found.tolist()
        if times is not None:
            self._in_step(moments, [float(t) for t in times])
        return obs.value.unflatten(-1, (len(found), len(self))), moments

    def _in_step(self, found: list[float], times: list[float]) -> None:
        slack = NEAR * max(map(abs, times), default=0.0)
        off = [i for i, t in enumerate(found) if i >= len(times) or abs(t - times[i]) > slack]
        if off:
            i = off[0]
            expected = f"{times[i]:g}" if i < len(times) else f"no more than {len(times)} times"
            raise ValueError(
                f"time {i} of the observations is {found[i]:g}; expected {expected}, since the encoder has a memory "
                "and was trained with the times in this order. Give all observations from the first time on, or train "
                "one for these times (`moments`)"
            )
