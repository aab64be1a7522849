r"""Latent linear adjustment: an autoencoder of fields whose latents a linear map of a proxy can say.

C. Heinze-Deml et al. (2021), Latent Linear Adjustment Autoencoder v1.0; S. Jiwa, J. Li and Y. Yin, Latent space
physical coupling to improve semantic disentangled representations in beta-VAE architectures, section 2. With a field Y,
principal components X of the proxy, the encoder's mean e and a draw z of what it says, decoder d and h linear,

    L1 = |Y - d(z)|^2 + alpha |Y - d(h(X))|^2 + beta KL        over encoder and decoder, h held constant           (1)
    L2 = |e(Y) - h(X)|^2                                       over h, the encoder held constant                   (2)

are taken in turn, batch by batch, each with the moments of Adam for its own weights. At the end h is solved for by
least squares on e(Y) (`refit`). Squares are summed over points by their weights, of mean 1, and over latents.

What the encoder says of a latent is one of

    normal     N(m, s^2)                                   KL in closed form
    gev        generalized extreme value, by quantiles     `extremes`, its equations 2 and 5; e is the mean
    moment     the paper's version of it                   `extremes`, 6; e is the mean

with one shape for each latent, given or learned between bounds. Fields are standardized point by point within the
model (`learn`); fields that may not be negative are, where asked for, made so by the decoder:

    d(z) = scale softplus(q (g(z) + center / scale)) / q,   g the decoder of standardized fields, q = 6             (3)
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from latentkit.models import extremes
from latentkit.models.convolutions import Convolution, Decoder, Encoder
from latentkit.models.nets import Dense, normal

POSTERIORS = ("normal", "gev", "moment")
FLOOR = -6.0  # of the logarithm of a scale
SHARP = 6.0  # q of equation 3
PART = 32  # samples at a time where there are many and no gradient


class Code(NamedTuple):
    """Hold what an encoder says: location, scale (s, n, k), and the shape (s, 1, k) of extremes, 0 for a Gaussian."""

    location: Tensor
    scale: Tensor
    shape: Tensor


class LLAAE(nn.Module):
    """A stack of s latent linear adjustment autoencoders.

    grid: (y, x) of fields; proxies: components X; latent: k; widths: channels of the encoder's three layers; rng: one
    generator a model; alpha, beta: of equation 1, one number or one a model; weights (y, x): of points, 0 where a field
    has no value (what stands there is not looked at), scaled to the mean 1 over the others; posterior: one of
    `POSTERIORS`; shape: of extreme values, None to learn one for each latent; circular: whether longitude is a circle;
    positive: equation 3, instead of center + scale g(z); networks: an encoder (s, n, 1, y, x) to (s, n, 2 k) and a
    decoder (s, n, k) to (s, n, 1, y, x) in place of convolutional ones, such as those of `modal`. Where the encoder's
    `settled` is true its means are never trained: h is then `refit` before and not trained, and equation 1 comes at
    every step.

    Raises ValueError for an unknown posterior, weights of another grid or not above 0 anywhere, and small fields.
    """

    def __init__(
        self,
        grid: Sequence[int],
        proxies: int,
        latent: int,
        widths: Sequence[int],
        rng: Sequence[Generator],
        *,
        alpha: float | Sequence[float] = 1.0,
        beta: float | Sequence[float] = 1.0,
        weights: Tensor | None = None,
        posterior: str = "normal",
        shape: float | None = None,
        circular: bool = False,
        positive: bool = False,
        networks: tuple[nn.Module, nn.Module] | None = None,
    ):
        super().__init__()
        if posterior not in POSTERIORS:
            raise ValueError(f"the posterior is {posterior!r}; expected one of {', '.join(POSTERIORS)}")
        if shape is not None and not -1 < shape < 0.5:
            raise ValueError(f"the shape is {shape:g}; expected a number above -1 and below 1/2, or None to learn it")
        if shape is not None and posterior == "normal":
            raise ValueError(
                f"shape {shape:g} of a normal posterior, which has none; choose gev or moment, or leave it out"
            )
        weights = torch.ones(*grid) if weights is None else weights
        if tuple(weights.shape) != tuple(grid) or not (weights >= 0).all() or not (weights > 0).any():
            raise ValueError(
                f"weights of shape {tuple(weights.shape)}; expected {tuple(grid)}, some above 0, none below"
            )
        s = len(rng)
        self.latent, self.posterior, self.fixed, self.positive = latent, posterior, shape, positive
        self.encoder, self.decoder = networks or (
            Encoder((1, *grid), widths, 2 * latent, rng, circular=circular),
            Decoder(latent, (1, *grid), widths, rng, circular=circular),
        )
        self.h = Dense(proxies, latent, rng)
        self.settled = bool(getattr(self.encoder, "settled", False))
        if self.settled:
            self.h.requires_grad_(False)
        if posterior != "normal" and shape is None:
            self.raw_shape = nn.Parameter(torch.zeros(s, 1, latent))
        for name, value in {"alpha": alpha, "beta": beta}.items():
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float32).expand(s).clone(), persistent=False)
        self.register_buffer("weights", weights / weights[weights > 0].mean(), persistent=False)
        self.register_buffer("center", torch.zeros(s, 1, *grid), persistent=False)
        self.register_buffer("scale", torch.ones(s, 1, *grid), persistent=False)

    @torch.no_grad()
    def learn(self, fields: Tensor) -> None:  # (n, y, x), or (s, n, y, x) with data of its own for each model
        """Take each point's mean and deviation of training fields for `center` and `scale` (1 where they do not vary).

        An encoder and a decoder that `learn` from the fields do so, too.
        """
        fields = self._known(fields)
        fields = fields if fields.ndim == 4 else fields.expand(len(self.center), *fields.shape)
        self.center = fields.mean(1, keepdim=True)
        deviation = fields.std(1, keepdim=True, correction=0)
        self.scale = torch.where(deviation > 1e-3 * deviation.amax((2, 3), keepdim=True), deviation, 1.0)
        for part in (self.encoder, self.decoder):
            if hasattr(part, "learn"):
                part.learn(fields, self.center, self.scale, self.weights)

    def code(self, fields: Tensor) -> Code:  # (s, n, y, x)
        """Return what the encoder says of fields."""
        standard = (self._known(fields) - self.center) / self.scale
        location, log_scale = _parted(self.encoder, standard[:, :, None]).chunk(2, -1)
        scale = FLOOR + nn.functional.softplus(log_scale - FLOOR)
        if self.posterior == "normal":
            shape = location.new_zeros(len(location), 1, self.latent)
        elif self.fixed is None:
            shape = extremes.bounded(self.raw_shape)
        else:
            shape = location.new_full((len(location), 1, self.latent), self.fixed)
        return Code(location, scale.exp(), shape)

    def encode(self, fields: Tensor) -> Tensor:  # (s, n, y, x) -> (s, n, k)
        """Return the mean latents e of fields."""
        return self.mean(self.code(fields))

    def decode(self, z: Tensor) -> Tensor:  # (s, n, k) -> (s, n, y, x)
        """Return the fields of latents."""
        standard = _parted(self.decoder, z)[:, :, 0]
        if not self.positive:
            return self.center + self.scale * standard
        return self.scale * nn.functional.softplus(SHARP * (standard + self.center / self.scale)) / SHARP  # (3)

    def predict(self, proxies: Tensor) -> Tensor:  # (s, n, x) -> (s, n, y, x)
        """Return the fields that proxies say: d(h(X))."""
        return self.decode(self.h(proxies))

    def mean(self, code: Code) -> Tensor:  # (s, n, k)
        """Return the mean of codes."""
        return code.location if self.posterior == "normal" else extremes.mean(*code)

    def sample(self, code: Code, rng: Sequence[Generator]) -> Tensor:  # (s, n, k)
        """Draw latents from codes, model i by generator i."""
        if self.posterior == "normal":
            return code.location + code.scale * normal(code.location.shape[1:], rng, code.location)
        draw = extremes.sample if self.posterior == "gev" else extremes.moment_sample
        return torch.stack([draw(*one, g) for *one, g in zip(*code, rng, strict=True)])

    def divergence(self, code: Code) -> Tensor:  # (s, n)
        """Return the divergence of codes from a standard normal prior, summed over latents [nat]."""
        return self.divergences(code).sum(-1)

    def divergences(self, code: Code) -> Tensor:  # (s, n, k)
        """Return the divergence of each latent from a standard normal prior [nat]."""
        if self.posterior == "normal":
            return 0.5 * (code.scale.square() + code.location.square() - 1) - code.scale.log()
        return (extremes.divergence if self.posterior == "gev" else extremes.moment_divergence)(*code)

    def loss(self, batch, step: int, rng: Sequence[Generator]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return equation 1 at even steps, 2 at odd ones (s), for fields (s, n, y, x) and proxies (s, n, x).

        A part that comes at every other step comes twofold: a mean over an even number of steps is then its own.
        """
        fields, proxies = batch
        times = 1 if self.settled else 2
        if step % times:
            with torch.no_grad():
                wanted = self.encode(fields)
            gap = (wanted - self.h(proxies)).square().sum(-1).mean(-1)  # (2)
            return gap, {"adjustment": times * gap}
        code, fields = self.code(fields), self._known(fields)
        with torch.no_grad():
            said = self.h(proxies)
        found = self.decode(torch.cat([self.sample(code, rng), said], 1))
        own, other = ((part - fields).square().mul(self.weights).sum((2, 3)).mean(1) for part in found.chunk(2, 1))
        kl = self.divergence(code).mean(1)
        total = own + self.alpha * other + self.beta * kl  # (1)
        return total, {"reconstruction": times * own, "prediction": times * other, "kl": times * kl}

    def _known(self, fields: Tensor) -> Tensor:
        """Return fields with 0 where they have no value."""
        return torch.where(self.weights > 0, fields, 0.0)

    @torch.no_grad()
    def refit(self, fields: Tensor, proxies: Tensor, *, batch: int = 512) -> None:  # (n, y, x), (n, x)
        """Solve for h by least squares on the means of latents of training data.

        Both are shared by all models, or with the axis s first.

        Raises ValueError for no more samples than proxies.
        """
        n, count = proxies.shape[-2:]
        if n <= count:
            raise ValueError(f"{n} samples for {count} proxies; expected more samples: take fewer components")
        s = len(self.h.weight)
        fields, proxies = fields.expand(s, *fields.shape[-3:]), proxies.expand(s, n, count)
        codes = torch.cat([self.encode(some) for some in fields.split(batch, 1)], 1)
        for i, (x, wanted) in enumerate(zip(proxies.double(), codes.double(), strict=True)):
            found = torch.linalg.lstsq(torch.cat([x, x.new_ones(n, 1)], 1), wanted).solution.float()
            self.h.weight[i], self.h.bias[i] = found[:-1], found[-1:]


def _parted(network: nn.Module, x: Tensor) -> Tensor:  # (s, n, ...) -> (s, n, ...)
    """Return what a network makes of samples: convolutions without a gradient, on a processor, of a few at a time.

    That takes half of the time, as what is between two layers then stays in the processor's memory.
    """
    learns = torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in network.parameters()))
    convolves = any(isinstance(part, Convolution) for part in network.modules())
    if learns or not convolves or x.device.type != "cpu" or x.shape[1] < 4 * PART:
        return network(x)
    return torch.cat([network(some) for some in x.split(PART, 1)], 1)
