r"""Dense encoders and decoders in stacks, for smooth fields by their largest waves, where few channels convolve slowly.

A field (y, x) on a circle of longitudes is held by b rows of a cosine transform in y and a of a Fourier transform in x.
Both are orthonormal: a sum of squares over points is that over the a b numbers and over what they leave out, and white
noise on points is white noise of the same variance on numbers. A model of the numbers is then one of the fields.
"""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from latentkit.models.llaae import LLAAE
from latentkit.models.nets import MLP


class Waves:
    """Turn fields (..., y, x) to the coefficients (..., b, a) of their largest waves, and back.

    grid: (y, x); counts: (b, a). Raises ValueError for more waves than points.
    """

    def __init__(self, grid: Sequence[int], counts: Sequence[int]):
        if any(count > points for count, points in zip(counts, grid, strict=True)):
            told = f"{counts[0]} x {counts[1]} waves of {grid[0]} x {grid[1]} points"
            raise ValueError(f"{told}; expected no more waves than points")
        self.rows, self.columns = cosines(grid[0], counts[0]), fourier(grid[1], counts[1])

    def coefficients(self, fields: Tensor) -> Tensor:  # (..., y, x) -> (..., b, a)
        """Return the coefficients of fields."""
        return self.rows @ fields @ self.columns.mT

    def fields(self, coefficients: Tensor) -> Tensor:  # (..., b, a) -> (..., y, x)
        """Return the fields of coefficients."""
        return self.rows.mT @ coefficients @ self.columns


class Encoder(nn.Module):
    """Map coefficients (s, n, 1, b, a) to features (s, n, outputs) by two dense layers.

    counts: (b, a); hidden: width; rng: one generator a model.
    """

    def __init__(self, counts: Sequence[int], hidden: int, outputs: int, rng: Sequence[Generator]):
        super().__init__()
        self.layers = MLP([math.prod(counts), hidden, outputs], rng)

    def forward(self, coefficients: Tensor) -> Tensor:
        return self.layers(coefficients.flatten(2))


class Decoder(nn.Module):
    """Map latents (s, n, k) to coefficients (s, n, 1, b, a): the mirror of `Encoder`."""

    def __init__(self, latent: int, counts: Sequence[int], hidden: int, rng: Sequence[Generator]):
        super().__init__()
        self.counts = (1, *counts)
        self.layers = MLP([latent, hidden, math.prod(counts)], rng)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z).unflatten(-1, self.counts)


def dense(model: LLAAE, hidden: int, rng: Sequence[Generator]) -> LLAAE:
    """Put a dense encoder and decoder in the place of a model's convolutions; return the model.

    model: made with the counts of waves as its grid; hidden: width; rng: one generator a model.
    """
    counts = tuple(model.weights.shape)
    model.encoder = Encoder(counts, hidden, 2 * model.latent, rng)
    model.decoder = Decoder(model.latent, counts, hidden, rng)
    return model


def cosines(points: int, count: int) -> Tensor:  # (count, points)
    """Return the first rows of an orthonormal cosine transform (DCT-II)."""
    k, y = torch.arange(count, dtype=torch.float64)[:, None], torch.arange(points) + 0.5
    rows = (math.pi * k * y / points).cos()
    return (rows / rows.norm(dim=1, keepdim=True)).float()


def fourier(points: int, count: int) -> Tensor:  # (count, points)
    """Return the first rows of an orthonormal real Fourier transform: the mean, then cosine and sine of each wave."""
    x = 2 * math.pi * torch.arange(points, dtype=torch.float64) / points
    rows = torch.stack([((i + 1) // 2 * x - (math.pi / 2 if i and not i % 2 else 0)).cos() for i in range(count)])
    return (rows / rows.norm(dim=1, keepdim=True)).float()
