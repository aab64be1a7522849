r"""4DVar by automatic differentiation through the model, in strong and weak form.

F.-X. Le Dimet and O. Talagrand (1986), Variational algorithms for analysis and assimilation of meteorological
observations; Y. Tremolet (2006), Accounting for an imperfect model in 4D-Var. With background x_b and the roots B = L
L^T, Q = M M^T of covariances, the controls are standard normal a priori,

    x_0 = x_b + L v                                                                               (1)
    J(v) = |v|^2 / 2 + |(y - predicted(x_0)) / std|^2 / 2                                         (2)
    x_{i+1} = model(x_i) + M e_i,   J(v, e) = J(v) + sum_i |e_i|^2 / 2                            (3)

(3) is the weak form, in which the model errs at every step of the window. Each member is a minimization of its own;
they go side by side. With members as backgrounds, and perturbed observations, the analyses are draws of the posterior
where all is linear and Gaussian (an ensemble of data assimilations; A. Lorenc 2003).
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from latentkit.assimilation.minimize import lbfgs
from latentkit.assimilation.observations import Observations, usable


def strong(
    E: Tensor,  # (..., m, k) backgrounds at the window's start
    predict: Callable[[Tensor], Tensor],
    obs: Observations,
    rng: Generator,
    *,
    root: Tensor,
    perturb: bool = False,
    iterations: int = 50,
    tolerance: float = 1e-8,
) -> Tensor:  # (..., m, k)
    """Analyze each member with a perfect model: equations 1 and 2.

    predict: states (n, k) at the window's start to what they show (n, o), differentiable; root (k, r): L of
    the background's covariance; perturb: whether each member sees observations with noise of its own.
    """
    y, X = _targets(E, obs, rng, perturb), E.reshape(-1, E.shape[-1])

    def cost(v, rows):
        gap = (y[rows] - predict(X[rows] + v @ root.mT)) / obs.std.to(E)
        return 0.5 * (v.square().sum(-1) + gap.square().sum(-1))

    start = torch.zeros(len(X), root.shape[1], dtype=E.dtype, device=E.device)
    found = lbfgs(cost, start, iterations=iterations, tolerance=tolerance)
    return E + found.point.reshape(*E.shape[:-1], -1) @ root.mT


def weak(
    E: Tensor,  # (..., m, k)
    steps: int,
    model: Callable[[Tensor, int], Tensor],
    observe: Callable[[Tensor], Tensor],
    obs: Observations,
    rng: Generator,
    *,
    root: Tensor,
    error_root: Tensor,
    perturb: bool = False,
    iterations: int = 100,
    tolerance: float = 1e-8,
) -> Tensor:  # (steps + 1, ..., m, k)
    """Analyze each member's path through a window with a model that errs: equation 3.

    steps: of the model in the window; model: states (..., k) and the number of a step to the states after it; observe:
    paths (steps + 1, n, k) to what they show (n, o); error_root (k, q): M of the error of a step.

    Returns the paths; the last state of each is the next window's background: a `solve` that returns (paths[0],
    paths[-1]) is cycled by `drivers.smooth`.
    """
    y, backgrounds = _targets(E, obs, rng, perturb), E.reshape(-1, E.shape[-1])
    r, q = root.shape[1], error_root.shape[1]

    def path(control, background):
        states = [background + control[..., :r] @ root.mT]
        for i in range(steps):
            error = control[..., r + i * q : r + (i + 1) * q]
            states.append(model(states[-1], i) + error @ error_root.mT)
        return torch.stack(states)

    def cost(control, rows):
        gap = (y[rows] - observe(path(control, backgrounds[rows]))) / obs.std.to(E)
        return 0.5 * (control.square().sum(1) + gap.square().sum(-1))

    start = torch.zeros(len(backgrounds), r + steps * q, dtype=E.dtype, device=E.device)
    found = lbfgs(cost, start, iterations=iterations, tolerance=tolerance)
    return path(found.point.reshape(*E.shape[:-1], -1), E)


def _targets(E: Tensor, obs: Observations, rng: Generator, perturb: bool) -> Tensor:  # (r, o)
    """Return the observations that each member of each run is held against, one after the other."""
    usable(obs)
    y = obs.value.to(E).unsqueeze(-2).expand(*E.shape[:-1], -1)
    if perturb:
        y = y + obs.std.to(E) * torch.randn(y.shape, generator=rng, dtype=E.dtype).to(E.device)
    return y.reshape(-1, y.shape[-1])
