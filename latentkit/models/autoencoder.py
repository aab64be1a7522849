r"""A joint autoencoder of a state and what else is seen of it, with masks of what is missing, in stacks.

Y. Qu, J. Nathaniel, S. Li and P. Gentine (2024), Deep generative data assimilation in multimodal setting, section 2.1:
an encoder f takes the state and each modality side by side as channels, a decoder g leads back,

    z = f(v, seen),    v ~ g(z),    loss = sum_c w_c mean_area (g(z + e) - v)^2 + penalty |z|^2,   e ~ N(0, noise^2) (1)

The paper's decoder tells the state alone; this one tells every channel, so that what is seen of a modality is compared
with what the latents say of it. A point that is missing is 0 in v and in `seen`, its mask; some are hidden in training
(`hidden`). Latents are fields on a grid that is halved `halvings` times; they are standardized, channel by channel,
once trained (`standardize`). The noise e makes decoding smooth: a sampler's latents are never exactly an encoder's.

`Published` is the reference's: five convolutions of 5 x 5 with stride 1, batch normalization and rectifiers, padded
with zeros, so that latents lie on the grid of the state, and neither masks, noise nor standardized latents.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import interpolate, silu

from latentkit.models.nets import normal
from latentkit.models.stencils import Stencil

PENALTY = 1e-3


class Block(nn.Module):
    """Add two convolutions to fields (n, s c, y, x), after a map of its own that tells places apart."""

    def __init__(self, channels: int, grid: Sequence[int], rng: Sequence[Generator], *, circular: bool):
        super().__init__()
        self.first, self.second = (Stencil(channels, channels, rng, circular=circular) for _ in range(2))
        self.place = nn.Parameter(torch.zeros(len(rng), channels, *grid))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(silu(self.first(silu(x + self.place.flatten(0, 1)))))


class Autoencoder(nn.Module):
    """A stack of s joint autoencoders.

    shape: (c, y, x); widths: channels on the grid and after each halving; latent: channels of the latents; rng: one
    generator a model; there (c, y, x): where channels have values at all; area (y, x): of mean 1; levels: channels of
    the state, the first ones; weight: of a modality beside a level in the loss; noise: of latents in training; hidden:
    share of days of which something is hidden in training.

    Raises ValueError for a grid that cannot be halved so often.
    """

    def __init__(
        self,
        shape: Sequence[int],
        widths: Sequence[int],
        latent: int,
        rng: Sequence[Generator],
        *,
        there: Tensor,
        area: Tensor,
        levels: int,
        circular: bool,
        weight: float = 1.0,
        noise: float = 0.1,
        hidden: float = 0.25,
    ):
        super().__init__()
        c, halvings = shape[0], len(widths) - 1
        if any(n % 2**halvings for n in shape[1:]):
            raise ValueError(
                f"a grid of {shape[1]} x {shape[2]} cannot be halved {halvings} times; expected sides that are "
                f"multiples of {2**halvings}: select such a region, or give fewer widths"
            )
        grids = [tuple(n >> i for n in shape[1:]) for i in range(halvings + 1)]
        conv = lambda a, b, stride=1: Stencil(a, b, rng, circular=circular, stride=stride)  # noqa: E731
        block = lambda i: Block(widths[i], grids[i], rng, circular=circular)  # noqa: E731
        self.shape, self.latents, self.levels = tuple(shape), (latent, *grids[-1]), levels
        self.noise, self.hidden = noise, hidden
        self.inward = nn.ModuleList([conv(2 * c, widths[0]), block(0)])
        for i in range(halvings):
            self.inward.extend([conv(widths[i], widths[i + 1], 2), block(i + 1)])
        self.inward.append(conv(widths[-1], latent))
        self.outward = nn.ModuleList([conv(latent, widths[-1]), block(halvings)])
        for i in reversed(range(halvings)):
            self.outward.extend([conv(widths[i + 1], widths[i]), block(i)])
        self.outward.append(conv(widths[0], c))
        self.register_buffer("mean", torch.zeros(len(rng), latent, 1, 1))
        self.register_buffer("deviation", torch.ones(len(rng), latent, 1, 1))
        share = torch.tensor([1.0] * levels + [weight] * (c - levels))[:, None, None] * area * there
        share = share / there.float().mean((1, 2), keepdim=True)
        self.register_buffer("share", share.repeat(len(rng), 1, 1, 1), persistent=False)
        self.register_buffer("there", there.float().repeat(len(rng), 1, 1, 1), persistent=False)

    def encode(self, fields: Tensor, seen: Tensor | None = None) -> Tensor:  # (s, n, c, y, x) -> (s, n, k, y, x)
        """Return the latents of fields; seen, of the fields' shape or broadcast to it: whether a value is there."""
        return (self._encode(fields, seen) - self.mean[:, None]) / self.deviation[:, None]

    def _encode(self, fields: Tensor, seen: Tensor | None) -> Tensor:
        there = self.there[:, None]
        seen = there if seen is None else seen * there
        x = torch.cat([fields * seen, seen.expand_as(fields)], 2).transpose(0, 1).flatten(1, 2)
        for layer in self.inward:
            x = layer(x)
        return x.unflatten(1, (len(fields), -1)).transpose(0, 1)

    def decode(self, z: Tensor) -> Tensor:  # (s, n, k, y, x) -> (s, n, c, y, x)
        """Return the fields of latents, 0 where there is nothing."""
        x = (z * self.deviation[:, None] + self.mean[:, None]).transpose(0, 1).flatten(1, 2)
        *stages, last = self.outward
        for i, (conv, block) in enumerate(zip(stages[::2], stages[1::2], strict=True)):  # one a grid
            x = block(conv(interpolate(x, scale_factor=2, mode="nearest") if i else x))
        x = last(x)
        return x.unflatten(1, (len(z), -1)).transpose(0, 1) * self.there[:, None]

    def loss(self, batch, step: int, rng: Sequence[Generator]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return equation 1 (s) for days (s, n, c, y, x)."""
        (fields,) = batch
        z = self._encode(fields, self._seen(fields, rng))
        found = self.decode(z + self.noise * normal(z.shape[1:], rng, z))
        error = ((found - fields).square() * self.share[:, None]).mean((1, 3, 4))  # (s, c)
        size = PENALTY * z.square().mean((1, 2, 3, 4))
        parts = {"state": error[:, : self.levels].mean(1), "modalities": error[:, self.levels :].mean(1)}
        return error.mean(1) + size, parts

    def _seen(self, fields: Tensor, rng: Sequence[Generator]) -> Tensor:
        """Draw what is hidden: of a share of days the modalities, of as many a share of the state's points."""
        n, c, rows, columns = fields.shape[1:]
        masks = []
        for g in rng:
            mask = torch.ones(n, c, rows, columns)
            gone = torch.rand(n, c - self.levels, generator=g) < self.hidden
            mask[:, self.levels :] = (~gone).float()[:, :, None, None]
            part = torch.rand(n, 1, 1, 1, generator=g) * (torch.rand(n, 1, 1, 1, generator=g) < self.hidden)
            mask[:, : self.levels] *= torch.rand(n, 1, rows, columns, generator=g) >= part
            masks.append(mask)
        return torch.stack(masks).to(fields.device)

    @torch.no_grad()
    def standardize(self, fields: Tensor, *, batch: int = 128) -> None:  # (n, c, y, x)
        """Give latents of these days mean 0 and variance 1, channel by channel."""
        self.mean.zero_(), self.deviation.fill_(1)
        s = len(self.mean)
        z = torch.cat([self.encode(some.expand(s, *some.shape)) for some in fields.split(batch)], 1)
        self.mean.copy_(z.mean((1, 3, 4))[..., None, None])
        self.deviation.copy_(z.std((1, 3, 4))[..., None, None])


class Norm(nn.Module):
    """Normalize channels of fields (n, s w, y, x) over a batch, or by running means, as `torch.nn.BatchNorm2d` does."""

    def __init__(self, models: int, width: int):
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(models, width)), nn.Parameter(torch.zeros(models, width))
        self.register_buffer("mean", torch.zeros(models, width))
        self.register_buffer("variance", torch.ones(models, width))

    def forward(self, x: Tensor) -> Tensor:
        mean, variance, scale, shift = (v.flatten() for v in (self.mean, self.variance, self.scale, self.shift))
        return nn.functional.batch_norm(x, mean, variance, scale, shift, training=self.training)


class Published(nn.Module):
    """A stack of s autoencoders as in the reference code: shape (c, y, x) to latents (latent, y, x) and back.

    widths: channels of the four inner layers of the encoder, mirrored in the decoder; there (c, y, x): where
    channels have values; the loss is a mean over points, not by area. `encode`, `decode` and `loss` are as in
    `Autoencoder`; masks are not known to it. Batch normalization counts in each model apart, with running means
    after training.
    """

    def __init__(
        self, shape: Sequence[int], widths: Sequence[int], latent: int, rng: Sequence[Generator], *, there: Tensor,
        levels: int,
    ):  # fmt: skip
        super().__init__()
        sizes = [shape[0], *widths, latent]
        layer = lambda a, b: Stencil(a, b, rng, circular=False, kernel=5, zeros=True)  # noqa: E731
        pairs = list(zip(sizes[:-1], sizes[1:], strict=True))
        self.inward = nn.ModuleList(layer(a, b) for a, b in pairs)
        self.outward = nn.ModuleList(layer(b, a) for a, b in reversed(pairs))
        self.norms = nn.ModuleList(Norm(len(rng), w) for w in [*widths, *reversed(widths)])
        self.latents, self.levels = (latent, *shape[1:]), levels
        self.register_buffer("there", there.float().repeat(len(rng), 1, 1, 1), persistent=False)

    def encode(self, fields: Tensor, seen: Tensor | None = None) -> Tensor:  # (s, n, c, y, x) -> (s, n, k, y, x)
        """Return the latents of fields."""
        return self._through(fields * self.there[:, None], self.inward, self.norms[: len(self.inward) - 1])

    def decode(self, z: Tensor) -> Tensor:  # (s, n, k, y, x) -> (s, n, c, y, x)
        """Return the fields of latents."""
        return self._through(z, self.outward, self.norms[len(self.inward) - 1 :]) * self.there[:, None]

    def loss(self, batch, step: int, rng: Sequence[Generator]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean squared error (s) for days (s, n, c, y, x)."""
        (fields,) = batch
        error = (self.decode(self.encode(fields)) - fields).square().mean((1, 3, 4))
        parts = {"state": error[:, : self.levels].mean(1), "modalities": error[:, self.levels :].mean(1)}
        return error.mean(1), parts

    def _through(self, fields: Tensor, layers, norms) -> Tensor:
        x = fields.transpose(0, 1).flatten(1, 2)
        for i, layer in enumerate(layers):
            x = layer(x)
            x = torch.relu(norms[i](x)) if i < len(layers) - 1 else x
        return x.unflatten(1, (len(fields), -1)).transpose(0, 1)
