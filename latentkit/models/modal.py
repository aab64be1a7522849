r"""An encoder and a decoder of fields over their own principal components, for `llaae`: ours, beside the published one.

With E (k, p) the leading k components of the training fields, scaled to the deviation 1 (`components`), a standardized
field g has the latents and the decoder

    e(g) = g P,  P E = 1 on the components;   log scales one number a latent, learned                              (1)
    d(z) = z E + local(z E, maps(z), what is known of each place)                                                  (2)

where `local` are 3 x 3 convolutions with residual layers at the fields' own resolution, and `maps` spreads the latents
linearly over a grid four times as coarse. The means of (1) are never trained, and are the best that k numbers can say
of g linearly. With h solved for by least squares, d(h(X)) is therefore linear regression on the proxies before any
training, and what is trained is what a neighborhood adds to it: a published model has to learn the regression, too.
"""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from latentkit.models.components import leading
from latentkit.models.convolutions import Convolution
from latentkit.models.nets import Dense

COARSE = 4  # points to one of a map, along each side
STEP = 0.1  # of what the convolutions add, beside the components: a training starts near linear regression


class ModalEncoder(nn.Module):
    """Encode standardized fields (s, n, 1, y, x) as (s, n, 2 k), of equation 1."""

    settled = True

    def __init__(self, grid: Sequence[int], latent: int, rng: Sequence[Generator]):
        super().__init__()
        self.raw_scale = nn.Parameter(torch.full((len(rng), 1, latent), -1.0))
        self.register_buffer("project", torch.zeros(len(rng), math.prod(grid), latent), persistent=False)
        self.register_buffer("components", torch.zeros(len(rng), latent, math.prod(grid)), persistent=False)

    def learn(self, fields: Tensor, center: Tensor, scale: Tensor, weights: Tensor) -> None:
        """Find the components of training fields (s, n, y, x)."""
        found = _bases(fields, center, scale, weights, self.raw_scale.shape[-1])
        self.components, self.project = (torch.stack(part) for part in zip(*found, strict=True))

    def forward(self, standard: Tensor) -> Tensor:
        location = standard.flatten(2) @ self.project
        return torch.cat([location, self.raw_scale.expand_as(location)], -1)


class ModalDecoder(nn.Module):
    """Decode latents (s, n, k) to standardized fields (s, n, 1, y, x), by equation 2.

    encoder: whose components it adds up, and which learns first; channels, layers: of the convolutions; maps: how many,
    0 for none; circular: whether longitude is a circle.
    """

    def __init__(
        self,
        grid: Sequence[int],
        encoder: ModalEncoder,
        channels: int,
        layers: int,
        maps: int,
        rng: Sequence[Generator],
        *,
        circular: bool,
    ):
        super().__init__()
        latent = encoder.raw_scale.shape[-1]
        self._encoder = [encoder]  # in a list: no part of this module
        self.grid, self.coarse = tuple(grid), tuple(-(-n // COARSE) for n in grid)
        self.maps = Dense(latent, maps * math.prod(self.coarse), rng) if maps else None
        places = _places(self.grid, circular)
        known = 2 + len(places) + 1 + maps
        self.first = Convolution(known, channels, rng, circular=circular)
        self.middle = nn.ModuleList(Convolution(channels, channels, rng, circular=circular) for _ in range(layers))
        self.last = Convolution(channels, 1, rng, circular=circular)
        s = len(rng)
        self.register_buffer("components", torch.zeros(s, latent, math.prod(grid)), persistent=False)
        self.register_buffer(
            "known", torch.cat([torch.zeros(2, *grid), places]).expand(s, -1, -1, -1), persistent=False
        )

    def learn(self, fields: Tensor, center: Tensor, scale: Tensor, weights: Tensor) -> None:
        """Take the encoder's components, and keep what is known of each place."""
        self.components = self._encoder[0].components
        self.known = torch.cat([center, scale, self.known[:, 2:]], 1)

    def forward(self, z: Tensor) -> Tensor:
        s, n = z.shape[:2]
        linear = (z @ self.components).unflatten(-1, self.grid)[:, :, None]  # (s, n, 1, y, x)
        given = [linear, self.known[:, None].expand(-1, n, -1, -1, -1)]
        if self.maps is not None:
            coarse = self.maps(z).unflatten(-1, (-1, *self.coarse)).flatten(0, 1)
            given.append(nn.functional.interpolate(coarse, size=self.grid, mode="nearest").unflatten(0, (s, n)))
        x = self.first(torch.cat(given, 2).transpose(0, 1).flatten(1, 2))
        for layer in self.middle:
            x = x + layer(nn.functional.leaky_relu(x, 0.2))
        return linear + STEP * self.last(nn.functional.leaky_relu(x, 0.2)).transpose(0, 1)[:, :, None]  # (2)


def networks(
    grid: Sequence[int],
    latent: int,
    channels: int,
    layers: int,
    maps: int,
    rng: Sequence[Generator],
    *,
    circular: bool,
) -> tuple[ModalEncoder, ModalDecoder]:
    """Return the pair; `LLAAE.learn` gives both the components of the training fields."""
    encoder = ModalEncoder(grid, latent, rng)
    return encoder, ModalDecoder(grid, encoder, channels, layers, maps, rng, circular=circular)


def _bases(fields, center, scale, weights, latent) -> list[tuple[Tensor, Tensor]]:
    """Return E (k, p) and P (p, k) of equations 1 and 2 for each model; both are 0 where a point has no weight."""
    found = []
    for field, a, b in zip(fields, center, scale, strict=True):
        root = weights.sqrt().double()
        directions, deviations = leading(((field - a) * root).flatten(1), latent)
        there = (root * b).flatten().double()  # of a standardized field, in what the components are orthonormal in
        e = torch.where(there > 0, directions * deviations[:, None] / there.clamp_min(1e-30), 0.0)
        found.append((e.float(), (directions * there / deviations[:, None]).T.float()))
    return found


def _places(grid: tuple[int, int], circular: bool) -> Tensor:  # (c, y, x)
    """Return where each point is: latitude from -1 to 1, and longitude as a point of a circle, or from -1 to 1."""
    y, x = grid
    rows = torch.linspace(-1, 1, y)[:, None].expand(y, x)
    if not circular:
        return torch.stack([rows, torch.linspace(-1, 1, x).expand(y, x)])
    angle = 2 * math.pi * torch.arange(x) / x
    return torch.stack([rows, angle.sin().expand(y, x), angle.cos().expand(y, x)])
