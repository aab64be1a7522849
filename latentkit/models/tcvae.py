r"""The divergence of a variational autoencoder in its three parts, and a model that weighs one of them: beta-TCVAE.

R. T. Q. Chen, X. Li, R. Grosse and D. Duvenaud (2018), Isolating sources of disentanglement in variational
autoencoders. With N samples n, q(z) = sum_n q(z | n) / N, and a prior of independent latents,

    mean_n KL(q(z | n) | p(z)) =   KL(q(z, n) | q(z) p(n))          index-code mutual information
                                 + KL(q(z) | prod_j q(z_j))         total correlation
                                 + sum_j KL(q(z_j) | p(z_j))        dimension-wise divergence                      (1)

which is their equation 2; beta-TCVAE weighs the second by beta, the others by 1 (their equation 4). q(z) is a sum over
all samples, and a batch has M of them. With a draw z_i of each of its samples i,

    weighted     log q(z_i) = log sum_j q(z_i | j) / (N M)                                                        (2)
    stratified   log q(z_i) = log (q(z_i | i) / N + (N - 1) / N mean_{j != i} q(z_i | j))                         (3)

and likewise for each latent alone. (2) is their equation 3, too small by log N on the whole. (3) is the estimate of
their appendix C, with its odd weight given to no sample in particular: its mean over all batches that hold i is q(z_i).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from latentkit.models.llaae import LLAAE, Code

SAMPLING = ("weighted", "stratified")


class Parts(NamedTuple):
    """Hold the parts of equation 1 [nat], each (s)."""

    information: Tensor
    correlation: Tensor
    dimensions: Tensor


def parts(z: Tensor, code: Code, count: int, *, sampling: str = "stratified") -> Parts:
    """Estimate the parts of equation 1 from a batch.

    z (s, n, k): a draw from each code; code: Gaussian, location and scale (s, n, k); count: N, samples in all;
    sampling: "weighted" (2) or "stratified" (3). The sum of the parts is log q(z | n) - log p(z) of these draws,
    whatever the estimate of q(z), which no batch can tell to be smaller than q(z_i | i) / N.

    Raises ValueError as `log_densities` does.
    """
    joint, alone = log_densities(z, code, count, sampling=sampling)
    alone = alone.sum(-1)
    own = _log_normal(z, code.location, code.scale).sum(-1)
    prior = -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)
    return Parts((own - joint).mean(1), (joint - alone).mean(1), (alone - prior).mean(1))


def log_densities(z: Tensor, code: Code, count: int, *, sampling: str = "stratified") -> tuple[Tensor, Tensor]:
    """Return estimates of log q(z_i) (s, n) and of each latent's log q(z_ij) (s, n, k); arguments as for `parts`.

    Raises ValueError for another way of sampling, one sample only, and a batch of more than N.
    """
    n = z.shape[1]
    if sampling not in SAMPLING:
        raise ValueError(f"sampling is {sampling!r}; expected one of {', '.join(SAMPLING)}")
    if not 2 <= n <= count:
        raise ValueError(f"a batch of {n} out of {count} samples; expected two or more, and no more than there are")
    each = _log_normal(z[:, :, None], code.location[:, None], code.scale[:, None])  # (s, i, j, k) of q(z_i | j)
    if sampling == "weighted":
        weight = z.new_full((n, n), -math.log(count * n))  # (2)
    else:
        other = math.log((count - 1) / (count * (n - 1)))
        weight = z.new_full((n, n), other).fill_diagonal_(-math.log(count))  # (3)
    return (each.sum(-1) + weight).logsumexp(2), (each + weight[:, :, None]).logsumexp(2)


class TCVAE(LLAAE):
    """A stack of s autoencoders as `llaae.LLAAE`, whose beta weighs the total correlation alone.

    count: N, samples in the training data; sampling: as for `parts`; all else as for `LLAAE`. With alpha = 0 it is
    beta-TCVAE, with beta = 1 as well a VAE (whose divergence is estimated, not in closed form).

    Raises ValueError as `LLAAE` does, and for a posterior that is not Gaussian.
    """

    def __init__(self, *arguments, count: int, sampling: str = "stratified", **more):
        super().__init__(*arguments, **more)
        if self.posterior != "normal":
            raise ValueError(f"the posterior is {self.posterior!r}; expected normal, of which equation 1 is estimated")
        self.count, self.sampling = count, sampling

    def loss(self, batch, step: int, rng) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of autoencoders at even steps, that of h at odd ones (s): as `LLAAE.loss`, but for beta."""
        if step % 2:
            return super().loss(batch, step, rng)
        fields, proxies = batch
        code, fields = self.code(fields), self._known(fields)
        with torch.no_grad():
            said = self.h(proxies)
        z = self.sample(code, rng)
        found = self.decode(torch.cat([z, said], 1))
        own, other = ((part - fields).square().mul(self.weights).sum((2, 3)).mean(1) for part in found.chunk(2, 1))
        told = parts(z, code, self.count, sampling=self.sampling)
        total = own + self.alpha * other + told.information + self.beta * told.correlation + told.dimensions
        values = {"reconstruction": own, "prediction": other, "kl": sum(told), **told._asdict()}
        return total, {name: 2 * value for name, value in values.items()}


def _log_normal(z: Tensor, location: Tensor, scale: Tensor) -> Tensor:
    return -0.5 * (((z - location) / scale).square() + math.log(2 * math.pi)) - scale.log()
