r"""The errors of a surrogate, known from validation runs: in the errors of observations, and on the members.

LEVDA takes its surrogate for the truth: where many observations agree, its ensemble is sure of what the surrogate
cannot know. On runs r = 1 ... n that are neither trained with nor scored, let d_r = truth - surrogate with the true
parameters. Observations then err by their own noise, of std in D = diag(std^2), and by what the surrogate is off there,

    R = D + V^T V,   V = (d_r - mean d) at the observations / sqrt(n - 1)                                          (1)
    R^-1/2 = (I - U (1 - (1 + s^2)^-1/2) U^T) D^-1/2,   U s from V D^-1/2                                          (2)

of rank n beside the diagonal, and correlated in space and time, so that a window has to be the whole trajectory (in
each of several windows the same error would count as another one): the representation error of A. C. Lorenc (1986),
Analysis methods for numerical weather prediction. And a member stands for the truth only with such an error on it: it
is *dressed* with one of them (M. S. Roulston and L. A. Smith 2003, Combining dynamical and statistical ensembles),

    x_i = surrogate(z_i) + d_r(i)                                                                                  (3)

drawn as if the observations had told nothing of d: an approximation. *Corrected* members do without it. In the model of
equation 1 the error is d = mean d + sum_r a_r (d_r - mean d) / sqrt(n - 1) with a ~ N(0, I), and given z it is known
from what z_i leaves of the observations, g_i = (y - predicted(z_i) - mean d) / std:

    a_i ~ N(P V g_i, P),   P = (I + V V^T)^-1,   V by std                                                          (4)

so that (z_i, a_i) are drawn from the posterior of both, exact where all is linear and Gaussian. This is 4DVar with an
error of the model (LEVDA, equation 7 and its last paragraph), fixed patterns of it that are known beforehand. What no
combination of n patterns can hold is estimated by leaving out each run in turn: observations of it, corrected by the
other n - 1, leave l_r. Its mean square joins R's diagonal, as if independent, and a member gets one of the l_r.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from latentkit.assimilation.latent import Latent
from latentkit.assimilation.observations import Observations
from latentkit.assimilation.twins import observed_fields
from latentkit.testbeds.cases import Case

NEAR = 10  # runs of which one says what a correction leaves of a member


@dataclass(frozen=True)
class Errors:
    """Hold what a model is off at the outputs of a case, on runs that it does not know.

    parameters (n, q): of the runs, in their own units; off (t, n, c, y, x): truth less model, in the testbed's units.
    """

    case: Case
    parameters: Tensor
    off: Tensor

    @classmethod
    def of(cls, latent: Latent, parameters: Tensor) -> "Errors":
        """Return those of a surrogate; parameters: such as `library_parameters(case, 20, "validation")`.

        Raises ValueError for fewer than two runs.
        """
        if len(parameters) < 2:
            raise ValueError(f"{len(parameters)} run of validation; two or more have a covariance")
        exact = latent.case.trajectories(parameters)
        return cls(latent.case, parameters, exact - latent.surrogate.trajectory(parameters, latent.model))

    def seen(self, obs: Observations) -> Tensor:  # (n, o)
        """Return the errors where and when one observes: between outputs by a line."""
        return observed_fields(self.case, self.off, obs)

    def drawn(self, members: int, rng: Generator) -> Callable[[int], Tensor]:
        """Return a function from an output to errors (1, m, c, y, x), of one run a member at all outputs: equation 3.

        Every run is used as often as any other, or once more.
        """
        n = self.off.shape[1]
        order = torch.cat([torch.randperm(n, generator=rng) for _ in range(-(-members // n))])[:members]
        return lambda output: self.off[output, order][None]

    def near(self, parameters: Tensor, rng: Generator) -> Tensor:  # (..., m, q) -> (..., m)
        """Return a run for each member, any of the `NEAR` next to it in parameters: there errors are alike."""
        off = torch.cdist(self.case.scaled(parameters), self.case.scaled(self.parameters).to(parameters))
        nearest = off.topk(min(NEAR, off.shape[-1]), largest=False).indices
        one = torch.randint(nearest.shape[-1], (*nearest.shape[:-1], 1), generator=rng).to(nearest.device)
        return nearest.gather(-1, one).squeeze(-1)

    def combined(self, weights: Tensor) -> Callable[[int], Tensor]:  # weights (..., n)
        """Return a function from an output to combinations of the runs' errors (..., c, y, x)."""
        return lambda output: torch.tensordot(weights.to(self.off), self.off[output], 1)


def leftovers(
    seen: Tensor,  # (n, o)
    obs: Observations,
    rng: Generator,
) -> Tensor:  # (n, n)
    """Return what a correction by the other runs leaves of each run: row r has the weights of all runs in l_r.

    seen: what the model is off at the observations, on each run, of which one sees just that, with new noise.

    Raises ValueError for fewer than three runs: those that are left would have no covariance.
    """
    if len(seen) < 3:
        raise ValueError(f"{len(seen)} runs of validation; a correction leaves each out and wants three or more")
    n, std, rows = len(seen), obs.std.to(seen), torch.eye(len(seen)).to(seen)
    noisy = seen + std * torch.randn(seen.shape, generator=rng, dtype=seen.dtype).to(seen.device)
    for r in range(n):
        others = torch.arange(n, device=seen.device) != r
        rows[r, others] = -corrections(seen[others], std, noisy[r])
    return rows


def estimated(
    seen: Tensor,  # (n, o)
    obs: Observations,
    predicted: Tensor,  # (..., m, o)
    left: Tensor,  # (..., m, n)
    rng: Generator,
) -> Tensor:  # (..., m, n)
    """Return the weights of runs in the error of each member: a draw of equation 4, and what a correction leaves.

    Draws are centered over the members, so that their mean is the best estimate.
    """
    noise = torch.randn(*predicted.shape[:-1], len(seen), generator=rng).to(predicted)
    gap = obs.value.to(predicted).unsqueeze(-2) - predicted
    return corrections(seen, obs.std, gap, noise - noise.mean(-2, keepdim=True)) + left - left.mean(-2, keepdim=True)


def corrections(
    off: Tensor,  # (n, o)
    std: Tensor,  # (o)
    gap: Tensor,  # (..., o)
    noise: Tensor | None = None,  # (..., n)
) -> Tensor:  # (..., n)
    """Return the weights of runs in an error: equation 4, its mean, or a draw if standard normal noise is given.

    off: what the model is off at the observations, on each run; gap: what members leave of the observations.
    """
    n, mean = len(off), off.mean(0)
    V = (off - mean) / (n - 1) ** 0.5 / std.to(off)
    square, left = torch.linalg.eigh((V @ V.mT).double())
    shrunk = (1 + square.clamp_min(0)).reciprocal()
    a = ((gap - mean) / std.to(off) @ V.mT).double() @ (left * shrunk) @ left.mT
    if noise is not None:
        a = a + noise.double() @ (left * shrunk.sqrt()) @ left.mT
    return (1 / n + (a - a.mean(-1, keepdim=True)) / (n - 1) ** 0.5).to(gap)


def whitened(
    predict: Callable[[Tensor], Tensor],
    obs: Observations,
    off: Tensor,  # (n, o)
) -> tuple[Callable[[Tensor], Tensor], Observations]:
    """Return a prediction and observations whose errors are independent and of std 1, for those of equation 1.

    predict: as `drivers.Predict`; off: what the model is off at the observations. Their mean is added to what is
    predicted.
    """
    mean = off.mean(0)
    V = (off - mean) / (len(off) - 1) ** 0.5 / obs.std.to(off)
    square, left = torch.linalg.eigh(V @ V.mT)
    kept = square > 1e-6 * square.max()
    U = (left[:, kept].mT @ V) / square[kept].sqrt()[:, None]  # (r, o), rows orthonormal
    less = (1 - (1 + square[kept]).rsqrt())[:, None]

    def white(values: Tensor) -> Tensor:
        x = values / obs.std.to(values)
        return x - (x @ U.mT.to(x)) @ (less * U).to(x)  # (2)

    def seen(E: Tensor) -> Tensor:
        found = predict(E)
        return white(found + mean.to(found))

    return seen, obs._replace(value=white(obs.value), std=torch.ones_like(obs.std))
