r"""LEVDA: latent ensemble variational assimilation of a window, as published and in two calibrated variants.

LEVDA, section 3.2. With background members z_i, their mean and Z = (z_i - mean) / sqrt(m - 1), each analysis is
mean + Z w for the minimum of

    J(w) = |w|^2 / 2 + |(y - predicted(mean + Z w)) / std|^2 / 2                                                  (1)

found by L-BFGS through the surrogate, without a linearization. `published` starts member i at w_i = sqrt(m - 1) e_i,
where it is the background member, and minimizes (1): *the same cost for all*. What spread remains is that of local
minima, and of searches that were not finished. Two ways to draw from the posterior, exact where all is linear and
Gaussian:

    randomized   J_i(w) = |w - w_i|^2 / 2 + |(y + std e_i - predicted(mean + Z w)) / std|^2 / 2,  e_i ~ N(0, I)   (2)
    transformed  w + sqrt(m - 1) (I + S S^T)^-1/2 e_i,  S = d predicted / dw at the minimum of (1), by std        (3)

(2) is the randomized maximum likelihood of D. S. Oliver, N. He and A. C. Reynolds (1996), Conditioning permeability
fields to pressure data, in the space of the ensemble; (3) the square root of the ensemble transform (`etkf`), as in the
iterative smoother of M. Bocquet and P. Sakov (2014). Both cost no more than the published one; (3) minimizes once.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from latentkit.assimilation.ensemble import finish
from latentkit.assimilation.minimize import lbfgs
from latentkit.assimilation.observations import Observations, usable

VARIANTS = ("published", "randomized", "transformed")


def levda(
    E: Tensor,  # (..., m, k) at the window's start
    predict: Callable[[Tensor], Tensor],
    obs: Observations,
    rng: Generator,
    *,
    variant: str = "published",
    iterations: int = 30,
    tolerance: float = 1e-6,
    before: float = 1.0,
    inflation: float = 1.0,
) -> Tensor:  # (..., m, k)
    """Analyze an ensemble at a window's start, with all observations of the window.

    predict: as `drivers.Predict`, differentiable, each member on its own; variant: "published" (equation 1),
    "randomized" (2) or "transformed" (3); iterations, tolerance: of L-BFGS; before: factor of the background's
    deviations from its mean (the paper's inflation, which it does before the analysis); inflation: likewise of the
    analysis.

    Raises ValueError for an unknown variant, fewer than two members, and observations that cannot be used.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant is {variant!r}; expected one of {', '.join(VARIANTS)}")
    *runs, m, _ = E.shape
    if m < 2:
        raise ValueError(f"an ensemble of {m} member; two or more span a space to search")
    usable(obs)
    mean = E.mean(-2, keepdim=True)
    Z = before * (E - mean) / (m - 1) ** 0.5  # (..., m, k): rows are the columns of the paper's Z
    own = (m - 1) ** 0.5 * torch.eye(m, dtype=E.dtype, device=E.device).expand(*runs, m, m)  # w_i
    y, std = obs.value.to(E).unsqueeze(-2), obs.std.to(E)
    center = torch.zeros_like(own)
    start = own
    if variant == "randomized":
        center = own
        noise = torch.randn(*runs, m, len(std), generator=rng, dtype=E.dtype)
        y = y + std * noise.to(E.device)
    if variant == "transformed":
        start, center = torch.zeros_like(own[..., :1, :]), torch.zeros_like(own[..., :1, :])

    # Rows of the minimization are members of runs, one run after the other.
    middle, along = mean.reshape(-1, 1, E.shape[-1]), Z.reshape(-1, m, E.shape[-1])
    target, toward = y.expand(*start.shape[:-1], -1).reshape(-1, len(std)), center.reshape(-1, m)

    def cost(w, rows):
        every = w.new_zeros(len(target), m).index_copy(0, rows, w).view(len(along), -1, m)
        z = (middle + every @ along).flatten(0, 1)[rows]
        gap = (target[rows] - predict(z)) / std
        return 0.5 * ((w - toward[rows]).square().sum(-1) + gap.square().sum(-1))

    w = lbfgs(cost, start.reshape(-1, m), iterations=iterations, tolerance=tolerance).point.reshape(start.shape)
    if variant == "transformed":
        best = (mean + w @ Z).expand(*runs, m, -1)
        _, slope = torch.func.jvp(predict, (best.contiguous(),), (Z.contiguous(),))  # row j: along member j
        S = (slope / std).detach()
        g, V = torch.linalg.eigh(S @ S.mT)
        w = w + (m - 1) ** 0.5 * (V * (1 + g.clamp_min(0)).rsqrt().unsqueeze(-2)) @ V.mT  # (3)
    return finish((mean + w @ Z).detach(), rng, inflation=inflation, rotate=False)
