r"""The bridge between a surrogate and an assimilation: ensembles of latents and parameters.

LEVDA, section 3.1. The augmented latent is z = (s, u): latents s of an LDNet, and parameters by their range, which do
not change. Its model and what is observed of it are

    z(t + theta h) = (s + theta (s' - s), u),   s' the latents one output later, 0 <= theta <= 1                  (1)
    seen(z) = decode(s) at the points of the observations                                                        (2)

so that observations at any time and place are compared where they were made, in physical space, and nothing has to map
them to latents. All is differentiable. Ensembles are (..., m, k + q), for the drivers `cycle` and `smooth`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from latentkit.assimilation.observations import Network, Observations, alike
from latentkit.models.started import Started
from latentkit.models.surrogates import Surrogate, check

NEAR = 1e-3  # of an interval between outputs: what a time may be off a multiple of it
SLACK = 0.05  # of the trained range: what members may scatter beyond it without a word


class Latent:
    """Hold how one model of a surrogate stands for the state; `forecast`, `observe` and `predict` are for the drivers.

    Times are the testbed's; the first output is at 0. surrogate: a stack, of which `model` is used.

    A surrogate knows parameters of a range. An ensemble that starts outside is warned of each time; one that analyses
    take there in `forecast` and `fields`: once, and again where it is twice as far. `predict`, which optimizers call
    many times, is silent: what they find goes through `forecast` next. What lies beyond by less than a twentieth of
    the range is let pass.
    """

    def __init__(self, surrogate: Surrogate | Started, model: int = 0):
        self.surrogate, self.model = surrogate, model
        self.net, self.case = surrogate.net, surrogate.case
        self.k, self.q = self.net.latent, self.net.unknowns
        self._networks: list[tuple[Network | Observations, Callable[[Tensor], Tensor]]] = []
        self._plan: tuple | None = None  # of `predict`: tensors asked for, their state and the times, and how
        self._told = 0.0  # how far beyond the range, of which half is 1, parameters were when it was last said

    def start(
        self,
        parameters: Tensor,  # (..., m, q) in their own units
        time: float = 0.0,
    ) -> Tensor:  # (..., m, k + q)
        """Return the ensemble at a time, by the surrogate's own trajectories of parameters; warns out of range.

        Raises TypeError for a surrogate that starts anywhere, of whose start parameters say nothing.
        """
        if hasattr(self.surrogate, "encode"):
            raise TypeError(
                f"a surrogate whose runs start anywhere ({type(self.surrogate).__name__}) does not know its start from "
                "parameters: take `encode`, with fields"
            )
        u = self.case.scaled(parameters)
        check(self.case, u)
        self._told = max(self._told, float(u.abs().max()) - 1)
        z = torch.cat([u.new_zeros(*u.shape[:-1], self.k), u], -1)
        with torch.no_grad():
            return self.forecast(z, -self.case.interval, time)

    def encode(
        self,
        fields: Tensor,  # (..., m, c, y, x)
        parameters: Tensor,  # (..., m, q) in their own units
    ) -> Tensor:  # (..., m, k + q)
        """Return the ensemble of fields and parameters, by a surrogate that starts anywhere; warns out of range.

        Raises TypeError for a surrogate whose latents are a function of parameters.
        """
        if not hasattr(self.surrogate, "encode"):
            raise TypeError(
                f"a surrogate whose runs start as their parameters say ({type(self.surrogate).__name__}) encodes no "
                "fields; take `start`, or one that starts anywhere (`models.started`)"
            )
        u = self.case.scaled(parameters)
        check(self.case, u)
        return torch.cat([self.surrogate.encode(fields), u], -1)

    def parameters(self, E: Tensor) -> Tensor:  # (..., k + q) -> (..., q)
        """Return parameters in their own units."""
        return self.case.unscaled(E[..., self.k :])

    def fields(self, E: Tensor) -> Tensor:  # (..., k + q) -> (..., c, y, x)
        """Return the fields that an ensemble stands for; warns out of range."""
        self._watch(E[..., self.k :])
        return self.surrogate.fields(E[..., : self.k], self.model)

    def forecast(self, E: Tensor, start: float, end: float) -> Tensor:
        """Return the ensemble at `end`: equation 1; warns out of range."""
        self._watch(E[..., self.k :])
        return self._path(E, start, [end])[0]

    def observe(self, E: Tensor, obs: Network | Observations) -> Tensor:  # (..., m, o)
        """Return what an ensemble shows at the points of observations, whatever their times."""
        return self._look(obs)(E[..., : self.k].reshape(-1, self.k)).reshape(*E.shape[:-1], -1)

    def predict(self, E: Tensor, obs: Network | Observations, start: float, end: float) -> Tensor:  # (..., m, o)
        """Return what an ensemble at `start` will show of observations up to `end`, at their own times.

        Raises ValueError for observations outside these times.
        """
        if not len(obs.time):
            return E.new_zeros(*E.shape[:-1], 0)
        times, groups, order = self._planned(obs, start, end)
        path = self._path(E, start, times)
        parts = []
        for moments, look in groups:
            z = torch.stack([path[i][..., : self.k] for i in moments])
            seen = look(z.reshape(-1, self.k)).reshape(*z.shape[:-1], -1)
            parts.append(torch.cat(list(seen), -1))
        return torch.cat(parts, -1)[..., order.to(E.device)]

    def _planned(self, obs: Network | Observations, start: float, end: float) -> tuple[list[float], list, Tensor]:
        """Return moments of observations, moments by what is looked through, and where each row's column is then.

        Optimizers ask for the same tensors many times over: the last plan is kept.
        """
        asked, state = tuple(obs[:3]), (start, end, *(part._version for part in obs[:3]))  # written into: another
        if self._plan is not None and self._plan[1] == state:
            if all(a is b for a, b in zip(self._plan[0], asked, strict=True)):
                return self._plan[2]
        slack = NEAR * self.case.interval
        own = obs.time.double().cpu()
        outside = (own < start - slack) | (own > end + slack)
        if outside.any():
            row = int(outside.nonzero()[0])
            raise ValueError(
                f"observation {row} is of time {float(own[row]):g}, outside {start:g} to {end:g}; lengthen the window "
                "or leave it out"
            )
        # Times of one moment are one decoding: those closer than rounding are taken together.
        _, moment = torch.unique((own / slack).round(), return_inverse=True)
        count = int(moment.max()) + 1
        times = torch.zeros(count, dtype=torch.double).index_add(0, moment, own) / moment.bincount()
        places: dict[int, list[int]] = {}  # moments by the network that is looked through, so as to decode them at once
        networks, rows = [], [(moment == i).nonzero()[:, 0].to(obs.where.device) for i in range(count)]
        for i, some in enumerate(rows):
            here = Network(obs.time[some], obs.where[some], obs.channel[some])
            place = next((j for j, known in enumerate(networks) if alike(known, here)), len(networks))
            networks += [here] * (place == len(networks))
            places.setdefault(place, []).append(i)
        order = torch.cat([rows[i] for moments in places.values() for i in moments]).argsort()
        groups = [(moments, self._look(networks[place])) for place, moments in places.items()]
        self._plan = asked, state, (times.clamp(start, end).tolist(), groups, order)
        return self._plan[2]

    def _watch(self, u: Tensor) -> None:  # (..., q) by their range
        """Warn of parameters that the surrogate was not trained with, unless of some half as far it was said before."""
        far = float(u.detach().abs().max()) - 1
        if far > max(2 * SLACK, 2 * self._told):
            self._told = far
            check(self.case, u.detach(), SLACK)

    def _path(self, E: Tensor, start: float, times: list[float]) -> list[Tensor]:
        """Return the ensemble at each of some times that ascend."""
        rows = E.reshape(-1, E.shape[-1])
        z, u = rows[..., : self.k], rows[..., self.k :]
        now, path, onward, interval = 0, [], self.net.onward(u, self.model), self.case.interval
        for time in times:
            steps = (time - start) / interval
            if steps < now - NEAR:
                raise ValueError(f"time {time:g} is before {start + now * interval:g}, where latents stand")
            whole = round(steps) if abs(steps - round(steps)) <= NEAR else int(steps // 1)
            for _ in range(whole - now):
                z = onward(z)
            now, share = whole, steps - whole
            here = z if abs(share) <= NEAR else z + share * (onward(z) - z)  # (1)
            path.append(torch.cat([here, u], -1).reshape(E.shape))
        return path

    def _look(self, network: Network | Observations) -> Callable[[Tensor], Tensor]:
        """Return the map of latents (n, k) to what a network sees, from the last time where it is known."""
        for known, look in self._networks:
            if alike(known, network):
                return look
        self._networks = [(network, self.surrogate.look(network, self.model)), *self._networks[:127]]
        return self._networks[0][1]
