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

drawn as if the observations had told nothing of d: an approximation.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from latentkit.assimilation.interpolation import around
from latentkit.assimilation.latent import Latent
from latentkit.assimilation.observations import Observations


class Errors:
    """Hold what a surrogate's model is off at the outputs of its case, on runs that it does not know.

    parameters (n, q): of the runs, in their own units, such as `surrogates.library_parameters(case, 20, "validation")`.
    off (t, n, c, y, x): truth less surrogate, in the testbed's units.

    Raises ValueError for fewer than two runs.
    """

    def __init__(self, latent: Latent, parameters: Tensor):
        if len(parameters) < 2:
            raise ValueError(f"{len(parameters)} run of validation; two or more have a covariance")
        self.case = latent.case
        exact = self.case.trajectories(parameters)
        self.off = exact - latent.surrogate.trajectory(parameters, latent.model)

    def seen(self, obs: Observations) -> Tensor:  # (n, o)
        """Return the errors where and when one observes: between outputs by a line."""
        later, share = around(self.case.times.double(), obs.time.double().cpu())
        seen = self.off.new_zeros(self.off.shape[1], len(obs.time))
        for i in torch.cat([later - 1, later]).unique().tolist():
            weight = torch.where(later == i, share, 0) + torch.where(later == i + 1, 1 - share, 0)
            rows = (weight > 0).nonzero()[:, 0]
            if len(rows):
                here = self.case.points(obs.rows(rows))(self.off[i])
                seen = seen.index_add(1, rows, here * weight[rows].to(here))
        return seen

    def drawn(self, members: int, rng: Generator) -> Callable[[int], Tensor]:
        """Return a function from an output to errors (1, m, c, y, x), of one run a member at all outputs: equation 3.

        Every run is used as often as any other, or once more.
        """
        n = self.off.shape[1]
        order = torch.cat([torch.randperm(n, generator=rng) for _ in range(-(-members // n))])[:members]
        return lambda output: self.off[output, order][None]


def whitened(
    predict: Callable[[Tensor], Tensor],
    obs: Observations,
    off: Tensor,  # (n, o)
) -> tuple[Callable[[Tensor], Tensor], Observations]:
    """Return a prediction and observations whose errors are independent and of std 1, for those of equation 1.

    predict: ensemble (..., m, k) to what it shows (..., m, o); off: what the model is off at the observations. Their
    mean is added to what is predicted.
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
