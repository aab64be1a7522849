r"""Diffusion: a schedule, a sampler backward in time, and what observations add to a score.

Y. Qu, J. Nathaniel, S. Li and P. Gentine (2024), Deep generative data assimilation in multimodal setting, equations 2
to 11, after F. Rozet and G. Louppe (2023), Score-based data assimilation. A sample x is drowned in noise e ~ N(0, I),

    x(t) = mu(t) x + sigma(t) e,   mu(t) = cos^2(t arccos(sqrt(eta))),   sigma^2 = 1 - mu^2 + eta^2,   0 <= t <= 1   (2)

A network tells the noise, n(x(t), t) ~ e (equation 5). **The score is s = -n / sigma**: the paper writes s for both,
and its equations 8, 10 and 11 are right for the score alone; the denominator of 8 is mu(t), not x(t). With them

    x0(x(t)) = (x(t) + sigma^2 s) / mu = (x(t) - sigma n) / mu                                                      (8)
    x(t - d) = mu' / mu x(t) + (mu' / mu - sigma' / sigma) sigma^2 s = mu' x0 + sigma' n,   ' at t - d              (10)
    x(t) <- x(t) + h sigma^2 s + sqrt(2 h) sigma e,   h = tau / mean(n^2)                                           (11)

(10) is the deterministic step of DDIM. The step h of (11), which the paper leaves out, is the reference code's: in
units of the noise, shorter where the score is steep. **It widens what it corrects**: of numbers that are N(0, 1), with
variance v, it makes v - 2 tau + (2 tau + tau^2) / v, so that v goes to 1 + tau / 2, a quarter too much with the paper's
tau. A step of second order joins (10) to the x0 of the step before, but for the last one (C. Lu et al. 2022,
DPM-Solver++, algorithm 2): with l = log(mu / sigma), d = l' - l, r = (l - l_before) / d,

    x(t - d) = sigma' / sigma x(t) + mu' (1 - exp(-d)) ((1 + 1 / 2r) x0 - x0_before / 2r)                           (12)

Observations y = A(x) + N(0, R) add the score of p(y | x(t)) (6). The paper's, diagonal R and one number gamma,

    log p(y | x(t)) = -1/2 sum (y - A(x0(x(t))))^2 / (R + gamma sigma^2 / mu^2)                                   (7, 9)

takes what x(t) leaves open of x0 as one number for all places. **Moments** takes it as it is (F. Rozet et al. 2024,
Learning diffusion priors from observations by expectation maximization, section 4), by Tweedie's second formula

    V = cov(x0 | x(t)) = sigma^2 / mu dx0/dx(t),   s_y = (dx0/dx)^T A^T (R + A V A^T)^-1 (y - A(x0))                (13)

with a few steps of conjugate gradients for the inverse: exact where x is Gaussian and A linear.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Generator, Tensor
from tqdm.auto import tqdm

from latentkit.atomic import replacing
from latentkit.models.conjugate import conjugate

ETA = 1e-3
Noise = Callable[[Tensor, float], Tensor]  # x (s, n, ...), t -> e, of the same shape


def mu(t):
    """Return the share of the sample that is left at time t, a number or a tensor: equation 2."""
    angle = math.acos(math.sqrt(ETA))
    return torch.cos(angle * t) ** 2 if isinstance(t, Tensor) else math.cos(angle * t) ** 2


def sigma(t):
    """Return the deviation of the noise at time t: equation 2."""
    square = 1 - mu(t) ** 2 + ETA**2
    return square.sqrt() if isinstance(t, Tensor) else math.sqrt(square)


def denoised(x: Tensor, noise: Tensor, t: float) -> Tensor:
    """Return x0, equation 8."""
    return (x - sigma(t) * noise) / mu(t)


def guided(noise: Noise, observe: Callable[[Tensor], Tensor], y: Tensor, std: Tensor, *, gamma: float) -> Noise:
    """Return the noise that a network tells, with the score of observations added as the paper does: equations 6, 7, 9.

    observe: x0 to what is seen of it, of the shape of y; y: NaN where nothing was seen; std: of its error, broadcast to
    it; gamma: of the stability term.

    Raises ValueError for a negative gamma.
    """
    if gamma < 0:
        raise ValueError(f"gamma is {gamma}; expected a number from 0 on, such as 0.01")
    seen, y = _parted(y)

    def told(x: Tensor, t: float) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            e = noise(x, t)
            gap = (y - observe(denoised(x, e, t))) * seen
            total = -0.5 * (gap.square() / (std.square() + gamma * (sigma(t) / mu(t)) ** 2)).sum()
            (score,) = torch.autograd.grad(total, x)
        return (e - sigma(t) * score).detach()

    return told


def moments(
    noise: Noise, observe: Callable[[Tensor], Tensor], y: Tensor, std: Tensor, *, rounds: int = 3, gamma: float = 0.0
) -> Noise:
    """Return the noise with the score of observations by equation 13, with `rounds` steps of conjugate gradients.

    Arguments as in `guided`; samples (s, n) are solved for apart. gamma adds the paper's term to R, for networks whose
    derivative is no covariance.
    """
    seen, y = _parted(y)

    def told(x: Tensor, t: float) -> Tensor:
        ratio = sigma(t) ** 2 / mu(t)
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            e = noise(x, t)
            x0 = denoised(x, e, t)
            found = observe(x0)
            gap = ((y - found) * seen).detach()
            pulled = lambda v: torch.autograd.grad(found, x, v * seen, retain_graph=True)[0]  # noqa: E731
            at, error = x0.detach(), std.square() + gamma * (sigma(t) / mu(t)) ** 2

            def product(v: Tensor) -> Tensor:
                push = torch.func.jvp(observe, (at,), (ratio * pulled(v),))[1]
                return (error * v + push) * seen

            solved = conjugate(product, gap, rounds, least=float(std.min()) ** 2)
            score = pulled(solved)
        return (e - sigma(t) * score).detach()

    return told


def sample(
    noise: Noise,
    start: Tensor,
    *,
    steps: int,
    corrections: int = 1,
    tau: float = 0.5,
    order: int = 1,
    rng: Generator,
    checkpoint: Path | None = None,
    every: float = 30.0,
    progress: bool = False,
) -> Tensor:
    """Return samples, drawn backward from noise.

    noise: of a prior, or one of `guided` and `moments`; start (s, n, ...): standard normal; steps: from t = 1 to 0;
    corrections: steps of equation 11 behind each; order: 1 for equation 10, 2 for 12, without corrections; rng: of the
    corrections, on any device; checkpoint: file of this sampling, kept about every `every` [s], from which a run that
    finds it goes on to the same numbers, and which is removed at the end.

    Raises ValueError for another order, corrections with order 2, no steps, a negative tau, and a checkpoint of another
    sampling, be it of another start or of other observations; FloatingPointError where numbers are no longer finite,
    with the step.
    """
    if order not in (1, 2) or steps < 1 or corrections < 0 or tau < 0:
        given = f"order {order}, {steps} steps, {corrections} corrections, tau {tau}"
        raise ValueError(f"{given}; expected order 1 or 2, 1 step or more, 0 corrections or more, tau from 0 on")
    if order == 2 and corrections:
        raise ValueError("order 2 joins a step to the one before, which corrections would disturb; give corrections=0")
    recipe = [list(start.shape), steps, corrections, tau, order]
    if checkpoint:  # what is told of the start is of this prior, and of these observations
        recipe += [f"{v.double().square().mean():.3e}" for v in (start, noise(start, 1.0))]  # not to the last bit
    x, first, before, spent = _resumed(checkpoint, start, recipe, rng)
    bar = tqdm(total=steps, initial=first, disable=None if progress else True, unit="step")
    for i in range(first, steps):
        t, then = 1 - i / steps, 1 - (i + 1) / steps
        x, before = _step(noise, x, t, then, before if order == 2 and i + 1 < steps else None)
        for _ in range(corrections):
            n = noise(x, then)
            h = tau / n.square().mean(tuple(range(2, n.ndim)), keepdim=True)  # (11)
            fresh = torch.randn(x.shape, generator=rng, dtype=x.dtype, device=rng.device).to(x.device)
            x = x - sigma(then) * (h * n - (2 * h).sqrt() * fresh)
        if not bool(torch.isfinite(x).all()):
            raise FloatingPointError(f"samples not finite at step {i + 1} of {steps}: raise gamma or take more steps")
        bar.update()
        spent = _kept(checkpoint, every, spent, recipe, i + 1, x, before, rng)
    bar.close()
    if checkpoint:
        Path(checkpoint).unlink(missing_ok=True)
    return x


def blankets(noise: Noise, length: int) -> Noise:
    """Return the noise of series (s, n, t, c, y, x) from that of windows (s, n, length c, y, x): a Markov blanket each.

    The middle of a window tells its own day, the first and the last window also the days before and behind it.

    Raises ValueError for an even length, and later for series that are shorter.
    """
    if length % 2 == 0 or length < 1:
        raise ValueError(f"windows are {length} days long; expected an odd number, so that a day is in the middle")
    half = length // 2

    def told(x: Tensor, t: float) -> Tensor:
        s, n, days = x.shape[:3]
        if days < length:
            raise ValueError(f"a series of {days} days; expected {length} or more, the length of a window")
        windows = x.unfold(2, length, 1).movedim(-1, 3)  # (s, n, w, length, c, y, x)
        w = windows.shape[2]
        e = noise(windows.flatten(3, 4).flatten(1, 2), t).unflatten(2, (length, -1)).unflatten(1, (n, w))
        return torch.cat([e[:, :, 0, :half], e[:, :, :, half], e[:, :, -1, half + 1 :]], 2)

    return told


def _step(noise: Noise, x: Tensor, t: float, then: float, before: tuple | None) -> tuple[Tensor, tuple]:
    e = noise(x, t)
    x0, level = denoised(x, e, t), math.log(mu(t) / sigma(t))
    if before is None:
        return mu(then) * x0 + sigma(then) * e, (x0, level)  # (10)
    step = math.log(mu(then) / sigma(then)) - level
    r = (level - before[1]) / step
    mixed = (1 + 0.5 / r) * x0 - 0.5 / r * before[0]
    return sigma(then) / sigma(t) * x - mu(then) * math.expm1(-step) * mixed, (x0, level)  # (12)


def _parted(y: Tensor) -> tuple[Tensor, Tensor]:
    seen = torch.isfinite(y)
    return seen, torch.where(seen, y, 0)


def _resumed(path, start: Tensor, recipe: list, rng: Generator):
    if path is None or not Path(path).exists():
        return start, 0, None, time.perf_counter()
    state = torch.load(path, weights_only=True, map_location="cpu")
    if state["recipe"] != recipe:
        raise ValueError(f"checkpoint {Path(path).name} belongs to another sampling ({state['recipe']}, this one "
                         f"{recipe}); remove it or name another")
    rng.set_state(state["rng"])
    before = (state["x0"].to(start.device), state["level"]) if "x0" in state else None
    return state["x"].to(start.device), state["step"], before, time.perf_counter()


def _kept(path, every: float, spent: float, recipe: list, step: int, x: Tensor, before, rng: Generator) -> float:
    now = time.perf_counter()
    if path is None or now - spent < every:
        return spent
    state = {"recipe": recipe, "step": step, "x": x, "rng": rng.get_state()}
    state |= {} if before is None else {"x0": before[0], "level": before[1]}
    with replacing(Path(path)) as part:
        torch.save(state, part)
    return now
