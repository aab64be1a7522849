r"""A conditional variational autoencoder of series, with a learned conditional prior.

K. Sohn, H. Lee and X. Yan (2015), Learning structured output representation using deep conditional generative
models; J. A. Shelton et al. (2025), Latent-constrained conditional VAEs for augmenting large-scale climate
ensembles, section 3. With x the condition (a place), y the series there and z its latent code:

    z ~ p(z | x) = N(prior mean(x), diag prior variance(x))                                     (1)
    y ~ p(y | x, z) = N(decode(x, z), noise^2 I)                                                (2)
    L(x, y) = -KL(q(z | x, y) || p(z | x)) + E_q log p(y | x, z)  <=  log p(y | x)              (3)

with q(z | x, y) = N(mean, diag variance) from the encoder. The loss is -L in nats a sample. The noise is one number
a model: 1 in normalized units, or learned. With no condition and a standard normal prior it is the plain VAE.

Section 4 of the same paper trains one CVAE a realization and ties their codes together at anchors, places A at which
every realization's code has to stay near a fixed point z_f:

    L_LC(x, y) = L(x, y) - weight E_A ( |mean_r(x, y_r(x)) - z_f(x)|^2 - distance^2 )_+          (4)

The fixed points are codes of one realization or the average over realizations; no gradient flows through them.
"""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from latentkit.models.nets import MLP, normal

GAIN = 10.0  # Adam moves a parameter by about the learning rate a step: one number that must fall by e^3 needs more


class CVAE(nn.Module):
    """A stack of s conditional VAEs; all tensors have the axis s first.

    series: length t of a series; condition: numbers d that describe a place, 0 for none; latent: size k;
    hidden: widths of the encoder, reversed in the decoder; rng: one generator a model, for its weights;
    prior: "conditional" (equation 1) or "standard"; noise: "learned" or "unit".
    """

    def __init__(
        self,
        series: int,
        condition: int,
        latent: int,
        hidden: Sequence[int],
        rng: Sequence[Generator],
        *,
        prior: str = "conditional",
        noise: str = "learned",
    ):
        super().__init__()
        if prior not in ("conditional", "standard"):
            raise ValueError(f"prior is {prior!r}; expected 'conditional' or 'standard'")
        if noise not in ("learned", "unit"):
            raise ValueError(f"noise is {noise!r}; expected 'learned' or 'unit'")
        if prior == "conditional" and condition == 0:
            raise ValueError("a conditional prior needs a condition; give one, or prior='standard'")
        self.latent = latent
        self.encoder = MLP([series + condition, *hidden, 2 * latent], rng)
        self.decoder = MLP([latent + condition, *reversed(hidden), series], rng)
        self.conditional = MLP([condition, hidden[-1], 2 * latent], rng) if prior == "conditional" else None
        log_noise = torch.zeros(len(rng), 1, 1)
        self.log_noise = nn.Parameter(log_noise) if noise == "learned" else None
        self.register_buffer("unit", log_noise.clone(), persistent=False)

    @property
    def noise(self) -> Tensor:
        """Return the decoder's standard deviation (s, 1, 1) in normalized units."""
        return (self.unit if self.log_noise is None else GAIN * self.log_noise).exp()

    def encode(
        self,
        x: Tensor,  # (s, n, d)
        y: Tensor,  # (s, n, t)
    ) -> tuple[Tensor, Tensor]:  # (s, n, k) each
        """Return mean and log variance of q(z | x, y)."""
        return _halves(self.encoder(torch.cat([x, y], -1)))

    def prior(
        self,
        x: Tensor,  # (s, n, d)
    ) -> tuple[Tensor, Tensor]:  # (s, n, k) each
        """Return mean and log variance of p(z | x)."""
        if self.conditional is None:
            zero = x.new_zeros(*x.shape[:-1], self.latent)
            return zero, zero
        return _halves(self.conditional(x))  # (1)

    def decode(
        self,
        x: Tensor,  # (s, n, d)
        z: Tensor,  # (s, n, k)
    ) -> Tensor:  # (s, n, t)
        """Return the mean of p(y | x, z)."""
        return self.decoder(torch.cat([x, z], -1))  # (2)

    def reconstruct(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the series (s, n, t) decoded from the encoder's mean."""
        return self.decode(x, self.encode(x, y)[0])

    def sample(self, x: Tensor, rng: Sequence[Generator]) -> Tensor:
        """Return series (s, n, t) decoded from codes drawn from the prior, without the decoder's noise."""
        mean, log_variance = self.prior(x)
        z = mean + (0.5 * log_variance).exp() * normal(mean.shape[1:], rng, mean)
        return self.decode(x, z)

    def loss(
        self,
        batch: Sequence[Tensor],  # x (s, n, d), y (s, n, t)
        step: int,
        rng: Sequence[Generator],
    ) -> tuple[Tensor, dict[str, Tensor]]:  # (s), parts (s) each
        """Return the negative of equation 3, a mean over samples, estimated with one draw of z each.

        Parts: `kl` [nats], `mse` of the series [normalized units squared], `noise` [normalized units].
        """
        x, y = batch
        mean, log_variance = self.encode(x, y)
        z = mean + (0.5 * log_variance).exp() * normal(mean.shape[1:], rng, mean)
        square = (y - self.decode(x, z)).square().sum(-1)  # (s, n)
        log_noise = self.noise.log()[..., 0]  # (s, 1)
        likelihood = -0.5 * square / (2 * log_noise).exp() - y.shape[-1] * (log_noise + 0.5 * math.log(2 * math.pi))
        kl = gaussian_kl(mean, log_variance, *self.prior(x)).sum(-1)  # (s, n)
        parts = {"kl": kl.mean(-1), "mse": square.mean(-1) / y.shape[-1], "noise": self.noise[:, 0, 0]}
        return (kl - likelihood).mean(-1), parts  # (3)


class AnchoredCVAE(CVAE):
    """A stack of conditional VAEs, one a realization, whose codes are tied at anchors: equation 4.

    places (s, a, d), series (s, a, t): conditions and series of each model at its anchors; used (s, a): which of them
    count, all if None; teachers (s, s): row i holds the weights with which codes of the models make the fixed points of
    model i (`teachers`); weight, distance: of the penalty [nats, latent units], one number or one a model (s).

    The other arguments are those of `CVAE`. Codes of the teachers are taken as they are at each step, so that models
    and fixed points are found together; a model that is its own teacher has no penalty.
    """

    def __init__(
        self,
        places: Tensor,
        series: Tensor,
        teachers: Tensor,
        latent: int,
        hidden: Sequence[int],
        rng: Sequence[Generator],
        *,
        weight: float | Tensor,
        distance: float | Tensor,
        used: Tensor | None = None,
        **more,
    ):
        super().__init__(series.shape[-1], places.shape[-1], latent, hidden, rng, **more)
        s = len(rng)
        if not len(places) == len(series) == len(teachers) == s:
            raise ValueError(
                f"{s} models, but anchors of {len(places)} and {len(series)} and teachers of {len(teachers)}"
            )
        used = torch.ones(series.shape[:2]) if used is None else used.to(series.dtype)
        kept = {"places": places, "series": series, "used": used, "teachers": teachers}
        kept |= {"weight": torch.as_tensor(weight).expand(s), "distance": torch.as_tensor(distance).expand(s)}
        for name, tensor in kept.items():
            self.register_buffer(f"anchor_{name}", tensor, persistent=False)

    def loss(self, batch: Sequence[Tensor], step: int, rng: Sequence[Generator]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the negative of equation 4 as `CVAE.loss` does that of equation 3; `penalty` is one more part."""
        total, parts = super().loss(batch, step, rng)
        mean = self.encode(self.anchor_places, self.anchor_series)[0]  # (s, a, k)
        fixed = torch.einsum("ij,jak->iak", self.anchor_teachers, mean.detach())
        excess = ((mean - fixed).square().sum(-1) - self.anchor_distance[:, None].square()).clamp_min(0)  # (s, a)
        penalty = (excess * self.anchor_used).sum(1) / self.anchor_used.sum(1)
        return total + self.anchor_weight * penalty, parts | {"penalty": penalty}  # (4)


def teachers(groups: Sequence, teaching: Sequence[bool], reference: Sequence[object] = ()) -> Tensor:
    """Return who teaches whom (s, s), for `AnchoredCVAE`: rows sum to 1.

    groups (s): models of one label are tied to each other, and to no others; teaching (s): whether a model's codes
    count for the fixed points (those of a held-out realization do not); reference: groups in which the first that
    teaches does so alone; elsewhere the average of all does.

    Raises ValueError for a group without a teacher.
    """
    rows = torch.zeros(len(groups), len(groups))
    for i, own in enumerate(groups):
        known = [j for j, (g, t) in enumerate(zip(groups, teaching, strict=True)) if g == own and t]
        if not known:
            raise ValueError(f"no model of group {own!r} teaches; its fixed points would be made of nothing")
        known = known[:1] if own in reference else known
        rows[i, known] = 1 / len(known)
    return rows


def gaussian_kl(mean: Tensor, log_variance: Tensor, prior_mean: Tensor, prior_log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, variance) || N(prior mean, prior variance)) of each coordinate [nats]."""
    gap = log_variance - prior_log_variance
    return 0.5 * (gap.exp() + (mean - prior_mean).square() / prior_log_variance.exp() - 1 - gap)


def _halves(both: Tensor) -> tuple[Tensor, Tensor]:
    """Split into mean and log variance; the latter is kept where its exponential is a float."""
    mean, log_variance = both.chunk(2, -1)
    return mean, log_variance.clamp(-12, 8)
