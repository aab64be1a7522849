r"""The flow from random starts: runs, surrogate, priors and contenders, at the size of a preset.

The other family of the flow (`testbeds.cases`): each run has a start and a Reynolds number of its own, and both are
unknown. Members are drawn as the truth is, from the same prior, and never hold it. One observes the first outputs
alone; the rest is forecast.

The law of starts knows no place: shifts and turns leave it as it is (`waves`). So of validation runs and all their
copies (and mirrors) the mean has waves along y alone, whose k_y is an odd multiple of the force's wavenumber. With this
mean and the deviations S of all waves, taken as uncorrelated, one has a prior without the noise of an ensemble, in the
full state as in latents. It gives the analyses that search all latents, not only what members span; from a background
x_b, L = spread S,

    latent 4DVar         x_b the mean: the minimum of equation 2 of `fourdvar`
    LEVDA, full rank     x_b each member, and observations perturbed: equation 2 of `levda` with Z replaced by L

(ours; the second is an ensemble of data assimilations through the surrogate). Both know these runs besides their
members, as does 4DVar in the full state; LETKF and 4DEnVar do not. Errors of the surrogate on the validation runs from
their true starts, by output and channel, are added to the variance of observations for all methods that run it, as if
they were independent from sensor to sensor and from time to time, which they are not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor

from latentkit import localization
from latentkit.assimilation import fourdvar
from latentkit.assimilation.contenders import Contender
from latentkit.assimilation.contest import State, filtered, freely, given, outcome, smoothed
from latentkit.assimilation.envar import envar
from latentkit.assimilation.etkf import Local
from latentkit.assimilation.gridding import gridded
from latentkit.assimilation.latent import Latent
from latentkit.assimilation.levda import levda
from latentkit.assimilation.observations import Observations
from latentkit.assimilation.twins import Twin
from latentkit.models import started
from latentkit.models.modes import Modes
from latentkit.models.started import Started
from latentkit.models.train import History, generator
from latentkit.models.waves import waves
from latentkit.spent import spent
from latentkit.testbeds import cases
from latentkit.testbeds.cases import Case
from latentkit.testbeds.kolmogorov import WAVENUMBER, Kolmogorov

PARAMETER = 3**-0.5  # deviation of what is even from -1 to 1


def drawn(P, count: int, rng: Generator, device: torch.device | str | None = None) -> tuple[Case, Tensor]:  # (count, q)
    """Draw so many starts and Reynolds numbers; return the case of these runs, and the numbers. P: a LEVDA preset."""
    starts = cases.flow_starts(P.flow_size, count, rng, sum(P.started_reynolds) / 2, device)
    more = {"outputs": P.started_outputs, "reynolds": P.started_reynolds}
    case = cases.flow(P.flow_size, rng, starts=starts, device=device, **more)
    return case, case.draw(count, rng)


def part(P, count: int, name: str, device: torch.device | str | None = None) -> tuple[Case, Tensor]:
    """Return a part: the library, "validation" or "test". Truths of a seed are drawn elsewhere."""
    return drawn(P, count, generator(started.SEED, f"{name}, starts"), device)


def surrogate(P, retrain: bool = False, device: torch.device | str | None = None) -> tuple[Started, History]:
    """Load or train the surrogates, one a seed from 0 on."""

    def library():
        case, parameters = part(P, P.started_library, "library", device)
        return case.trajectories(parameters), parameters

    settings = {"reynolds": list(P.started_reynolds), "library": P.started_library}
    return started.obtain(
        part(P, 1, "one", device)[0], "levda_flow_started", limit=P.started_limit, products=P.started_products,
        hidden=P.started_hidden, longest=P.started_longest, steps=P.started_steps, learning_rate=P.started_rate,
        seeds=list(range(P.surrogates)), library=library, settings=settings, retrain=retrain,
    )  # fmt: skip


def twin(P, deviation: Tensor, members: int, stream: Callable[[str], Generator]) -> tuple[Twin, Tensor]:
    """Draw a truth and a background, on the device of the deviation (2, 1, 1), that of velocities in the library.

    Returns the experiment, and the background's starts (1, m, y, x).
    """
    case, parameters = drawn(P, 1, stream("truth"), deviation.device)
    other, background = drawn(P, members, stream("members"), deviation.device)
    experiment = Twin(case, deviation, parameters, case.trajectories(parameters), background[None])
    return experiment, other.begin(background)[None]


@dataclass(frozen=True)
class Family:
    """Hold what is known of all runs, from some: parameters (n, q) and trajectories (t, n, c, y, x) of these.

    modes, k: all waves that the solver holds, and their wavevectors; mean (t, j), deviation (j): of their coefficients,
    at the outputs and at the start, over all copies.
    """

    parameters: Tensor
    trajectories: Tensor
    modes: Modes
    k: Tensor
    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, P, device: torch.device | str | None = None) -> "Family":
        """Return what validation runs tell; P: a LEVDA preset."""
        case, parameters = part(P, 3 * P.validated, "validation", device)
        made = case.trajectories(parameters)
        modes, k = (found.to(made.device) for found in waves(P.flow_size, P.flow_size**2 / 9))
        c = torch.stack([modes.coefficients(fields) for fields in made])  # (t, n, j)
        pushed = (k[:, 1] == 0) & (k[:, 0] % (2 * WAVENUMBER) == WAVENUMBER)
        mean = c.mean(1) * torch.cat([torch.zeros_like(pushed), pushed])  # sines alone
        a, b = (c[0] - mean[0]).square().mean(0).chunk(2)
        return cls(parameters, made, modes, k, mean, ((a + b) / 2).sqrt().repeat(2))

    def errors(self, net: Started, model: int) -> Tensor:  # (t, c)
        """Return how far a surrogate is off from true starts, by output and channel."""
        off = net.trajectory(self.trajectories[0], self.parameters, model) - self.trajectories
        return off.square().mean((1, 3, 4)).sqrt()

    def latent(self, net: Started) -> tuple[Tensor, Tensor]:  # (k), (k)
        """Return mean and deviation of the latents at the start."""
        own = len(net.net.k)
        held = [torch.cat([part[:own] for part in x.chunk(2)]) for x in (self.mean[0], self.deviation)]
        return held[0] / net.net.scale, held[1] / net.net.scale


def contenders(P, net: Started, model: int, family: Family, starts: Tensor, iterations: int) -> dict[str, Contender]:
    """Return the methods; starts (1, m, y, x): of the background's members; iterations: of L-BFGS.

    A name that ends in a number has so many of the members, the others the first P.members. All observe through the
    experiment's network; a method is run as those of `contenders` are.
    """
    case = net.case
    state, latent, system = State(case), Latent(net, model), Kolmogorov(P.flow_size, device=case.device)
    off, velocity = family.errors(net, model), case.fields(starts)  # (t, c), (1, m, c, y, x)
    center, deviation = family.latent(net)
    beside = torch.full((latent.q,), PARAMETER, device=case.device)  # of what is even from -1 to 1
    root = torch.cat([deviation, beside]).diag()
    center = torch.cat([center, torch.zeros_like(beside)])  # (k + q)

    def full_root():
        shapes = system.vorticity(family.modes.fields(family.deviation.diag()))  # (j, y, x)
        numbers = (case.high - case.low) / 2 * PARAMETER
        return torch.block_diag(shapes.flatten(1).mT, numbers.diag())

    def full(twin, count):
        return state.joint.pack(starts[:, :count], twin.background[:, :count])

    def held(twin, count):
        return latent.encode(velocity[:, :count], twin.background[:, :count])

    def told(obs: Observations) -> Observations:
        output = (obs.time.double()[:, None] - case.times.to(obs.time.device).double()).abs().argmin(1)
        return obs._replace(std=(obs.std.square() + off[output, obs.channel].square()).sqrt())

    def whole(space, E, obs, solve, rng, count=1):
        count = min(count, P.started_observed)
        places = torch.linspace(0, P.started_observed, count + 1).round().int()  # what is observed, in windows
        borders = [*case.times[places[:-1]].tolist(), float(case.times[-1])]
        return smoothed(space, E, borders, obs, solve, rng)

    def free(twin, obs, rng):
        with spent() as cost:
            path = freely(state, full(twin, P.members))
        return outcome(state, path, cost)

    def mean(twin, obs, rng):
        with spent() as cost:
            path = family.modes.fields(family.mean)[:, None, None]
        return given(twin, path, cost)

    def interpolated(twin, obs, rng):
        with spent() as cost:
            path = gridded(case, obs)[:, :, None]
        return given(twin, path, cost)

    def exact(twin, obs, rng):
        with spent() as cost:
            path = freely(latent, latent.encode(twin.truth[0][:, None], twin.parameters[:, None]))
        return outcome(latent, path, cost)

    def local(twin, obs, rng, *, radius, inflation):
        analyze = Local(case.places, radius * case.side, place=case.places.of, inflation=inflation, rotate=True)
        return filtered(state, full(twin, P.members), obs, analyze, rng)

    def ensemble(twin, obs, rng, *, radius, count):
        def solve(E, predict, here, rng):
            modes = localization.modes(case.places, here, radius * case.side)
            return envar(E, predict, here, rng, outer=2, modes=modes)

        return whole(state, full(twin, P.members), obs, solve, rng, count)

    def strong(twin, obs, rng, *, spread):
        mean = system.vorticity(family.modes.fields(family.mean[:1]))
        E = state.joint.pack(mean[None], (case.low + case.high)[None, None] / 2)
        solve = partial(fourdvar.strong, root=spread * full_root(), iterations=iterations)
        return whole(state, E, obs, solve, rng)

    def latent_strong(twin, obs, rng, *, spread):
        solve = partial(fourdvar.strong, root=spread * root, iterations=iterations)
        return whole(latent, center[None, None], told(obs), solve, rng)

    def full_rank(twin, obs, rng, *, spread):
        E = held(twin, P.members)
        solve = partial(fourdvar.strong, root=spread * root, iterations=iterations, perturb=True)
        return whole(latent, center + spread * (E - center), told(obs), solve, rng)

    def variational(twin, obs, rng, *, variant, count, before):
        solve = partial(levda, variant=variant, iterations=iterations, before=before)
        return whole(latent, held(twin, count), told(obs), solve, rng)

    grown = tuple({"before": b} for b in (0.7, 0.85, 1.0, 1.2, 1.5, 2.0))
    spreads = tuple({"spread": s} for s in (0.35, 0.5, 0.7, 1.0, 1.4, 2.0))
    near = tuple({"radius": r, "inflation": i} for r in (0.2, 0.1, 0.05) for i in (1.0, 1.1))
    wide = tuple({"radius": r, "count": n} for r in (0.3, 0.2, 0.1) for n in (2, 5))
    sizes = sorted({P.members, *P.started_members})
    return {
        "no assimilation": Contender(free),
        "mean of all runs": Contender(mean),
        "interpolated observations": Contender(interpolated),
        "surrogate, true start": Contender(exact),
        "LETKF": Contender(local, near),
        "4DEnVar": Contender(ensemble, wide),
        "4DVar": Contender(strong, spreads),
        "LEVDA, published": Contender(partial(variational, variant="published", count=P.members), grown),
        **{
            f"LEVDA, transformed, {m}": Contender(partial(variational, variant="transformed", count=m), grown)
            for m in sizes
        },
        "latent 4DVar": Contender(latent_strong, spreads),
        "LEVDA, full rank": Contender(full_rank, spreads),
    }
