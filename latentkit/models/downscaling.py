r"""From coarse proxies to a fine field: a latent linear adjustment whose latents are a coarse map, and a U-Net.

S. Jiwa, J. Li and Y. Yin, section 4.4: proxies on a grid of 500 km, "the same size as the latent space", the field on
one of 50 km. The latent z is one number a coarse cell. With light I and temperature T of coarse cells, growth functions
l and f with learned parameters (`growth`), field Y, encoder's mean e and a draw z of what it says, decoder d,

    L1 = |Y - d(z)|^2 + alpha |Y - d(h(X))|^2 + beta KL        over encoder and decoder                            (1)
    L2 = |e(Y) - h(X)|^2                                       over h and the parameters of growth                 (2)
    h(X) = a . X + b,   X = (l(I), f(T)), or l(I) f(T), and what else is given, of a cell and its 8 neighbors      (3)

in turn, batch by batch, as in `llaae`. The channel is alike all around, so a and b differ by latitude alone. At the
end they are solved for by least squares, growth held constant (`refit`).

The U-Net (O. Ronneberger, P. Fischer and T. Brox 2015, U-Net: convolutional networks for biomedical image segmentation)
takes the same proxies and the latitude, and minimizes |Y - u(X)|^2. The finest layers of both networks work on pairs of
cells, and say the four of two pairs in as many channels: a quarter of the work.

Fields are standardized. Along x all is a circle; along y edges are repeated.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, leaky_relu, pixel_shuffle

from latentkit.models.convolutions import Convolution
from latentkit.models.growth import Growth
from latentkit.models.nets import normal

FLOOR = -6.0  # of the logarithm of a scale
HOW = ("separate", "product", "raw")


class GrowthLLAAE(nn.Module):
    """A stack of s adjusted autoencoders.

    rows: coarse ones; factor: fine cells a coarse one, each way, even; width: channels; rng: one generator a model;
    light: function of light, as `Growth` has it; how: what of equation 3 is made of light and temperature, "raw" for
    themselves, without growth; more: coarse fields that h is given besides; alpha, beta: of equation 1.

    Proxies (s, n, 2 + more, y, x) are coarse: light [umol m-2 s-1], temperature [degC], then what else there is,
    standardized. Fields (s, n, y, x) are fine.

    Raises ValueError for an unknown `how` and an odd factor.
    """

    def __init__(
        self,
        rows: int,
        factor: int,
        width: int,
        rng: Sequence[Generator],
        *,
        light: str = "eilers-peeters",
        how: str = "separate",
        more: int = 0,
        alpha: float = 1.0,
        beta: float = 1.0,
    ):
        super().__init__()
        if how not in HOW:
            raise ValueError(f"growth enters as {how!r}; expected one of {', '.join(HOW)}")
        if factor % 2:
            raise ValueError(f"the factor is {factor}; expected an even number, as fields are folded two by two")
        self.how, self.alpha, self.beta, self.half = how, alpha, beta, factor // 2
        conv = lambda a, b, stride=1: Convolution(a, b, rng, circular=True, stride=stride)  # noqa: E731
        self.inward = nn.ModuleList([conv(1, width, 2), conv(width, 2 * width), conv(2 * width, 2)])
        self.outward = nn.ModuleList([conv(1, 2 * width), conv(2 * width, width), conv(width, width), conv(width, 4)])
        self.growth = Growth(rng, light=light, amplitude=False)
        inputs = 9 * ((1 if how == "product" else 2) + more) + 1
        self.h = nn.Parameter(torch.zeros(len(rng), rows, inputs, 1))  # b is its last row

    def code(self, fields: Tensor) -> tuple[Tensor, Tensor]:  # (s, n, y, x) -> coarse, twice
        """Return mean and deviation of the latents of fields."""
        s = len(fields)
        first, second, last = self.inward
        x = avg_pool2d(leaky_relu(first(fields.transpose(0, 1)), 0.2), self.half)
        x = last(leaky_relu(second(x), 0.2))
        mean, log_scale = x.unflatten(1, (s, 2)).permute(2, 1, 0, 3, 4)
        return mean, (FLOOR + nn.functional.softplus(log_scale - FLOOR)).exp()

    def encode(self, fields: Tensor) -> Tensor:  # (s, n, y, x) -> coarse
        """Return the mean latents of fields."""
        return self.code(fields)[0]

    def decode(self, z: Tensor) -> Tensor:  # coarse -> (s, n, y, x)
        """Return the fields of latents."""
        first, second, third, last = self.outward
        x = leaky_relu(second(leaky_relu(first(z.transpose(0, 1)), 0.2)), 0.2)
        x = last(leaky_relu(third(enlarged(x, self.half)), 0.2))
        return pixel_shuffle(x, 2).transpose(0, 1)

    def inputs(self, proxies: Tensor, growth: Growth | None = None) -> Tensor:  # (s, y, n x, inputs)
        """Return X and 1 of equation 3, row by row, by the growth functions given or the model's own."""
        growth = growth or self.growth
        light, warm, more = proxies[:, :, :1], proxies[:, :, 1:2], proxies[:, :, 2:]
        if self.how == "raw":
            made = [light / 250 - 1, warm / 10 - 1.5]
        else:
            made = [growth.light(light), growth.warm(warm)]
            made = [made[0] * made[1]] if self.how == "product" else made
        around = neighbors(torch.cat([*made, more], 2))
        x = around.permute(0, 3, 1, 4, 2).flatten(2, 3)
        return torch.cat([x, torch.ones_like(x[..., :1])], -1)

    def adjust(self, proxies: Tensor) -> Tensor:  # -> (s, n, y, x), coarse
        """Return the latents that proxies say: h(X)."""
        found = self.inputs(proxies) @ self.h
        return found.unflatten(2, (proxies.shape[1], -1)).squeeze(-1).transpose(1, 2)

    def predict(self, proxies: Tensor) -> Tensor:  # -> (s, n, y, x), fine
        """Return the fields that proxies say: d(h(X))."""
        return self.decode(self.adjust(proxies))

    def loss(self, batch, step: int, rng: Sequence[Generator]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return equation 1 at even steps, 2 at odd ones (s), for fields (s, n, y, x) and proxies (s, n, c, y, x).

        A part comes at every other step, and twofold: a mean over an even number of steps is then its own.
        """
        fields, proxies = batch
        if step % 2:
            with torch.no_grad():
                wanted = self.encode(fields)
            gap = (wanted - self.adjust(proxies)).square().sum((2, 3)).mean(1)  # (2)
            return gap, {"adjustment": 2 * gap}
        mean, scale = self.code(fields)
        z = mean + scale * normal(mean.shape[1:], rng, mean)
        with torch.no_grad():
            said = self.adjust(proxies)
        found = self.decode(torch.cat([z, said], 1))
        own, other = ((part - fields).square().sum((2, 3)).mean(1) for part in found.chunk(2, 1))
        kl = (0.5 * (scale.square() + mean.square() - 1) - scale.log()).sum((2, 3)).mean(1)
        return own + self.alpha * other + self.beta * kl, {
            "reconstruction": 2 * own,
            "prediction": 2 * other,
            "kl": 2 * kl,
        }

    @torch.no_grad()
    def solved(self, z: Tensor, proxies: Tensor, growth: Growth | None = None) -> tuple[Tensor, Tensor]:
        """Return h (s, y, inputs, 1) by least squares for latents, and its mean squared gap (s)."""
        x = self.inputs(proxies, growth).double()
        wanted = z.transpose(1, 2).flatten(2)[..., None].double()
        square = x.mT @ x
        mean = square.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
        h = torch.linalg.solve(square + 1e-6 * mean * torch.eye(x.shape[-1], dtype=x.dtype), x.mT @ wanted)
        return h, (wanted - x @ h).square().mean((1, 2, 3))

    @torch.no_grad()
    def refit(self, fields: Tensor, proxies: Tensor) -> None:  # (n, y, x), (n, c, y, x)
        """Solve for h on the latents of training data, growth held constant."""
        s = len(self.h)
        z = self.encode(fields.expand(s, *fields.shape))
        self.h.copy_(self.solved(z, proxies.expand(s, *proxies.shape))[0].float())


class UNet(nn.Module):
    """A stack of s regressors of the same task.

    factor: fine cells a coarse one; widths: channels at each of three depths; means, deviations: of light and
    temperature; more: coarse fields besides, standardized.
    """

    def __init__(
        self,
        factor: int,
        widths: Sequence[int],
        rng: Sequence[Generator],
        *,
        means: Sequence[float],
        deviations: Sequence[float],
        more: int = 0,
    ):
        super().__init__()
        a, b, c = widths
        conv = lambda a, b, stride=1: Convolution(a, b, rng, circular=True, stride=stride)  # noqa: E731
        self.half = factor // 2
        self.means, self.deviations = list(means), list(deviations)
        self.down = nn.ModuleList([conv(3 + more, a), conv(a, a), conv(a, b, 2), conv(b, b), conv(b, c, 2), conv(c, c)])
        self.up = nn.ModuleList([conv(c + b, b), conv(b + a, a), conv(a, 4)])

    def predict(self, proxies: Tensor) -> Tensor:  # (s, n, c, y, x) -> (s, n, y, x)
        """Return the fields that proxies say."""
        s, n, channels, y, x = proxies.shape
        given = proxies.clone()
        for i in (0, 1):
            given[:, :, i] = (given[:, :, i] - self.means[i]) / self.deviations[i]
        fine = enlarged(given.transpose(0, 1).flatten(1, 2), self.half).unflatten(1, (s, channels))
        row = torch.linspace(-1, 1, y * self.half).view(1, 1, 1, -1, 1).expand(n, s, 1, -1, x * self.half)
        x = torch.cat([fine, row], 2).flatten(1, 2)
        kept = []
        for first, second in zip(self.down[::2], self.down[1::2], strict=True):
            x = leaky_relu(second(leaky_relu(first(x), 0.2)), 0.2)
            kept.append(x)
        for layer, beside in zip(self.up[:2], kept[1::-1], strict=True):
            x = interpolate(x, size=beside.shape[-2:], mode="nearest").unflatten(1, (s, -1))
            x = leaky_relu(layer(torch.cat([x, beside.unflatten(1, (s, -1))], 2).flatten(1, 2)), 0.2)
        return pixel_shuffle(self.up[2](x), 2).transpose(0, 1)

    def loss(self, batch, step: int, rng: Sequence[Generator]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the squared error (s), summed over points, for fields (s, n, y, x) and proxies (s, n, c, y, x)."""
        fields, proxies = batch
        error = (self.predict(proxies) - fields).square().sum((2, 3)).mean(1)
        return error, {"prediction": error}


def enlarged(x: Tensor, factor: int, mode: str = "bilinear") -> Tensor:  # (n, c, y, x)
    """Interpolate maps to a grid `factor` times as fine, around the circle of x."""
    x = nn.functional.pad(nn.functional.pad(x, (2, 2, 0, 0), mode="circular"), (0, 0, 2, 2), mode="replicate")
    return interpolate(x, scale_factor=factor, mode=mode, align_corners=False)[
        ..., 2 * factor : -2 * factor, 2 * factor : -2 * factor
    ]


def neighbors(x: Tensor) -> Tensor:  # (..., c, y, x) -> (..., 9 c, y, x)
    """Return each cell with its eight neighbors."""
    x = torch.cat([x[..., -1:], x, x[..., :1]], -1)
    x = torch.cat([x[..., :1, :], x, x[..., -1:, :]], -2)
    y, m = x.shape[-2] - 2, x.shape[-1] - 2
    return torch.cat([x[..., i : i + y, j : j + m] for i in range(3) for j in range(3)], -3)
