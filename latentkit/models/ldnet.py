r"""Latent dynamics networks: a few latent variables that evolve by a learned law, and a decoder to fields.

F. Regazzoni, S. Pagani, M. Salvador, L. Dede' and A. Quarteroni (2024), Learning the intrinsic dynamics of
spatio-temporal processes through Latent Dynamics Networks; P. Xiao et al. (2026), LD-EnSF; LEVDA, section 2.4. With
latents s (k), parameters u (q), and points xi of a field,

    ds/dt = f(s, u),   s_{i+1} = s_i + h f(s_i, u),   s_{-1} = 0                                                   (1)
    x(xi, t_i) = decode(s_i, xi)                                                                                   (2)

One step of equation 1 goes from one time of output to the next, h is learned, and the start is 0 one step before the
first output, so that the first state may depend on u, and *a trajectory is a function of u alone*. Between two
outputs latents are joined by a line (LEVDA, equation 17). The loss is the mean square of the decoded error (15).

Two decoders. `Coordinates` is the published one: a residual network of the latents and Fourier features of a point,
evaluated at every point anew. `Coefficients` gives the coefficients of modes that were found beforehand (`modes`): what
depends on the point is then evaluated once, not once a time, member and step. Parameters are normalized to [-1, 1].
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor, nn

from latentkit.models.nets import MLP, Dense


class Coefficients(nn.Module):
    """Map latents (s, n, k) to scaled coefficients (s, n, j) of modes, by an MLP."""

    def __init__(self, latent: int, count: int, hidden: Sequence[int], rng: Sequence[Generator]):
        super().__init__()
        self.net = MLP([latent, *hidden, count], rng)

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z)

    def hidden(self, z: Tensor, model: int) -> Tensor:  # (n, k) -> (n, h)
        """Return what the last layer of one model, whose weights are constants here, is applied to, and a 1."""
        for layer in self.net.layers[:-1]:
            bias, weight = layer.constants(model)
            z = nn.functional.silu(z @ weight + bias)
        return torch.cat([z, torch.ones_like(z[:, :1])], 1)

    def last(self, model: int) -> Tensor:  # (h, j)
        """Return the last layer of one model, as a matrix that takes what `hidden` returns."""
        layer = self.net.layers[-1]
        return torch.cat([layer.weight[model], layer.bias[model]])

    def error(self, z: Tensor, values: Tensor, rng: Sequence[Generator]) -> Tensor:
        """Return the squared error (s) of values (s, n, j), summed over modes: that of the field, but for the rest."""
        return (self.net(z) - values).square().sum(-1).mean(-1)


class Coordinates(nn.Module):
    """Map latents (s, n, k) and points (p, d) to values (s, n, p, c) by a residual network of both.

    points (p, d): of the grid, scaled to the order of 1; channels c; features: random Fourier features of a point, 0 to
    take the point itself; blocks of `width`, each x + W2 relu(W1 x); sampled: points that a training step draws.
    """

    def __init__(
        self,
        latent: int,
        points: Tensor,
        channels: int,
        width: int,
        blocks: int,
        features: int,
        rng: Sequence[Generator],
        *,
        sampled: int = 256,
        reach: float = 2.0,
    ):
        super().__init__()
        d = points.shape[1]
        self.sampled, self.channels = sampled, channels
        self.register_buffer("points", points.expand(len(rng), -1, -1).clone())
        waves = [torch.randn(d, features, generator=g) * reach for g in rng]
        self.register_buffer("waves", torch.stack(waves))  # (s, d, features)
        self.first = Dense(latent + (2 * features or d), width, rng)
        self.blocks = nn.ModuleList(nn.ModuleList([Dense(width, width, rng) for _ in range(2)]) for _ in range(blocks))
        self.last = Dense(width, channels, rng)

    def forward(self, z: Tensor, points: Tensor | None = None) -> Tensor:
        """Return values (s, n, p, c) at points (s, p, d), those of the grid where none are given."""
        return self._at(z, self.points if points is None else points)

    def error(self, z: Tensor, values: Tensor, rng: Sequence[Generator]) -> Tensor:
        """Return the squared error (s) of fields (s, n, c p), from random points, summed as `Coefficients` does."""
        count = self.points.shape[1]
        take = torch.stack([torch.randint(count, (self.sampled,), generator=g) for g in rng]).to(z.device)  # (s, p)
        points = torch.gather(self.points, 1, take[..., None].expand(-1, -1, self.points.shape[2]))
        values = values.unflatten(-1, (self.channels, count))
        chosen = torch.gather(values, 3, take[:, None, None].expand(*values.shape[:3], -1)).movedim(2, 3)
        return (self._at(z, points) - chosen).square().mean((1, 2, 3)) * count * self.channels

    def _at(self, z: Tensor, points: Tensor) -> Tensor:
        angle = 2 * math.pi * points @ self.waves
        where = torch.cat([angle.sin(), angle.cos()], -1) if self.waves.shape[-1] else points  # (s, p, e)
        k = z.shape[-1]
        # The first layer is a sum of what the latents and what the point contribute.
        mine = z @ self.first.weight[:, :k]
        yours = torch.baddbmm(self.first.bias, where, self.first.weight[:, k:])
        x = mine[:, :, None] + yours[:, None]
        shape = x.shape
        x = x.flatten(1, 2)
        for one, two in self.blocks:
            x = x + two(torch.relu(one(x)))
        return self.last(x).reshape(*shape[:3], -1)


class LDNet(nn.Module):
    """A stack of s latent dynamics networks; all tensors have the axis s first.

    latent: k; unknowns: parameters q; hidden: widths of the dynamics f; decoder: of the latents, a module of this file;
    outputs: times t of a trajectory; rng: one generator a model; sampled: states that a training step decodes.
    """

    def __init__(
        self,
        latent: int,
        unknowns: int,
        hidden: Sequence[int],
        decoder: nn.Module,
        outputs: int,
        rng: Sequence[Generator],
        *,
        sampled: int = 512,
    ):
        super().__init__()
        self.latent, self.unknowns, self.outputs, self.sampled = latent, unknowns, outputs, sampled
        self.dynamics = MLP([latent + unknowns, *hidden, latent], rng)
        self.log_step = nn.Parameter(torch.full((len(rng), 1, 1), math.log(4 / outputs)))
        self.decoder = decoder

    def advance(
        self,
        z: Tensor,  # (s, n, k)
        u: Tensor,  # (s, n, q)
    ) -> Tensor:  # (s, n, k)
        """Return the latents at the next time of output: equation 1."""
        return z + self.log_step.exp() * self.dynamics(torch.cat([z, u], -1))

    def onward(self, u: Tensor, model: int) -> Callable[[Tensor], Tensor]:  # (n, q) -> (n, k) to (n, k)
        """Return the map of latents to those at the next output, by one model, whose weights are constants here."""
        layers = [layer.constants(model) for layer in self.dynamics.layers]
        step = self.log_step[model].detach().exp()
        layers[-1] = tuple(step * part for part in layers[-1])
        (bias, weight), *later = layers
        own, first = torch.addmm(bias, u, weight[self.latent :]), weight[: self.latent]  # what u says is said once

        def forward(z: Tensor) -> Tensor:
            x = torch.addmm(own, z, first)
            for bias, weight in later:
                x = torch.addmm(bias, nn.functional.silu(x), weight)
            return z + x

        return forward

    def trajectory(
        self,
        u: Tensor,  # (s, n, q)
        outputs: int | None = None,
    ) -> Tensor:  # (s, t, n, k)
        """Return the latents at the first times of output, from the start at 0."""
        z, path = u.new_zeros(*u.shape[:2], self.latent), []
        for _ in range(self.outputs if outputs is None else outputs):
            z = self.advance(z, u)
            path.append(z)
        return torch.stack(path, 1)

    def loss(self, batch, step: int, rng: Sequence[Generator]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss (s) of trajectories: parameters (s, n, q) and values (s, n, t, v), as the decoder takes them.

        Only `sampled` of the n t states, drawn at random, are decoded.
        """
        u, values = batch
        path = self.trajectory(u).transpose(1, 2).flatten(1, 2)  # (s, n t, k)
        count = path.shape[1]
        take = torch.stack([torch.randint(count, (self.sampled,), generator=g) for g in rng]).to(path.device)
        model = torch.arange(len(path), device=path.device)[:, None]
        error = self.decoder.error(path[model, take], values.flatten(1, 2)[model, take], rng)
        return error, {"error": error}
