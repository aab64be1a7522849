r"""The methods of LEVDA's comparison, each with as many settings that are tried on truths of their own.

LEVDA, section 4.1. Full state: EnSF, LETKF, 4DEnVar and 4DVar through the testbed. Latents: 4DVar, the ensemble
transform Kalman filter and four variants of LEVDA through a surrogate, LD-EnSF (and LD-ETKF) and Latent-EnSF through
encoders of observations (`encoded`). And what needs no assimilation, or no model. A setting is a dictionary; six are
tried for each method, on a truth that is not scored, and the best in the mean error is kept: the paper's are not
public. (Of 4DVar on the planet two are tried, since each takes three minutes.)

Lengths are shares of the domain's side, on the sphere of the way from pole to pole. The background covariance of both
4DVars is that of the library at the window's start, times the square of `spread`: an ensemble is not needed, and one
member is returned.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from latentkit import localization
from latentkit.assimilation import encoded, fourdvar
from latentkit.assimilation.contest import Outcome, State, filtered, freely, given, outcome, smoothed, windows
from latentkit.assimilation.dressing import Errors, corrections, estimated, leftovers, whitened
from latentkit.assimilation.ensf import SCORES, EnSF
from latentkit.assimilation.envar import envar
from latentkit.assimilation.etkf import Local, etkf
from latentkit.assimilation.full_space import FullSpace
from latentkit.assimilation.gridding import gridded
from latentkit.assimilation.latent import Latent
from latentkit.assimilation.levda import VARIANTS, levda
from latentkit.models.coupled import Coupled
from latentkit.models.observers import Observer
from latentkit.spent import spent
from latentkit.testbeds.cases import Case

FEW = 20  # runs of the library, where a mean or a deviation is asked for
RANK = 60  # of the library's covariance, at most

COLORS = {
    "no assimilation": "tab:red", "nearest of the library": "tab:olive", "combined runs": "darkkhaki",
    "kriged runs": "gold", "interpolated observations": "tan", "surrogate, true parameters": "tab:green",
    "EnSF": "tab:brown", "LETKF": "tab:orange", "4DEnVar": "k", "4DVar": "0.5", "LD-EnSF": "tab:pink",
    "LD-ETKF": "lightpink", "Latent-EnSF": "tab:cyan", "latent ETKF": "y", "latent 4DVar": "0.75",
    "LEVDA, published": "tab:purple", "LEVDA, randomized": "plum", "LEVDA, transformed": "royalblue",
    "LEVDA, dressed": "navy", "LEVDA, corrected": "teal",
}  # fmt: skip


@dataclass(frozen=True)
class Contender:
    """Hold a method: run(twin, obs, rng, **setting), the settings to try, and whether a run takes a minute or so."""

    run: Callable[..., Outcome]
    settings: tuple[dict, ...] = ({},)
    dear: bool = False


def full_state(case: Case, library: Tensor, iterations: int) -> dict[str, Contender]:
    """Return the methods that run the testbed; library (n, q): parameters of runs at hand; iterations: of 4DVar."""
    state, side = State(case), case.side
    scale = functools.cache(lambda: _scale(state, library[:FEW]))
    roots = _roots(state, library[: 2 * RANK])

    def score(twin, obs, rng, **setting):
        return filtered(state, state.start(twin.background), obs, EnSF(state.observe, scale=scale(), **setting), rng)

    def local(twin, obs, rng, *, radius, inflation):
        analyze = Local(case.places, radius * side, place=case.places.of, inflation=inflation, rotate=True)
        return filtered(state, state.start(twin.background), obs, analyze, rng)

    def variational(twin, obs, rng, *, radius, count, outer=2):
        def solve(E, predict, here, rng):
            modes = None if radius is None else localization.modes(case.places, here, radius * side)
            return envar(E, predict, here, rng, outer=outer, modes=modes)

        return smoothed(state, state.start(twin.background), windows(case, count), obs, solve, rng)

    def strong(twin, obs, rng, **setting):
        return _strong(state, roots, twin, obs, rng, iterations=iterations, **setting)

    six = [{"score": s, "eps_alpha": a} for s in SCORES for a in (0.01, 0.05, 0.5)]
    near = [{"radius": r, "inflation": i} for r in (math.inf, 0.3, 0.1) for i in (1.0, 1.05)]
    wide = [{"radius": r, "count": n} for r in (None, 0.3, 0.1) for n in (5, 1)]
    return {
        "EnSF": Contender(score, tuple(six), dear=True),
        "LETKF": Contender(local, tuple(near)),
        "4DEnVar": Contender(variational, tuple(wide), dear=case.name == "planet"),
        "4DVar": Contender(strong, _of_strong()[: 2 if case.name == "planet" else 6], dear=True),
    }


def latent_space(
    case: Case, net, model: int, library: Tensor, validation: Tensor, iterations: int, *, few: int = FEW
) -> dict[str, Contender]:
    """Return the methods that run a surrogate; iterations: of L-BFGS.

    validation (n, q): runs with its errors, from which it is corrected; few: of them, the first, it is dressed with.

    *LEVDA, dressed* is its transformed variant that knows the errors of its surrogate, *LEVDA, corrected* one that also
    estimates the error at hand (`dressing`). *Combined runs* are what is left of it without a surrogate: that
    combination of the same runs which suits the observations.
    """
    latent = Latent(net, model)
    roots, errors = _roots(latent, library[: 2 * RANK]), functools.cache(lambda: Errors.of(latent, validation))
    dressing = lambda: Errors(case, validation[:few], errors().off[:, :few])  # noqa: E731

    def variational(twin, obs, rng, *, variant, count, before=1.0):
        def solve(E, predict, here, rng):
            return levda(E, predict, here, rng, variant=variant, iterations=iterations, before=before)

        return smoothed(latent, latent.start(twin.background), windows(case, count), obs, solve, rng)

    def erring(twin, obs, rng, *, correct, count, before=1.0):
        off, drawn = errors() if correct else dressing(), []

        def solve(E, predict, here, rng):
            seen = off.seen(here)
            if correct:
                rows = leftovers(seen, here, rng)
                here = here._replace(std=(here.std.square() + (rows @ seen).square().mean(0)).sqrt())
            known = whitened(predict, here, seen)
            made = levda(E, *known, rng, variant="transformed", iterations=iterations, before=before)
            if correct:
                left = rows[off.near(latent.parameters(made), rng)]
                drawn.append(off.combined(estimated(seen, here, predict(made), left, rng)))
            return made

        found = smoothed(latent, latent.start(twin.background), windows(case, count), obs, solve, rng)
        return replace(found, error=drawn[0] if correct else off.drawn(twin.background.shape[1], rng))

    def combined(twin, obs, rng):
        exact = errors().off + net.trajectory(validation, model)
        runs = Errors(case, validation, exact)
        with spent() as cost:
            weights = corrections(runs.seen(obs), obs.std, obs.value.unsqueeze(-2))  # (R, 1, n)
        fields = runs.combined(weights)
        return Outcome([fields(i) for i in range(len(exact))], lambda E: E, twin.parameters[:, None, :0], cost)

    def transformed(twin, obs, rng, **setting):
        return filtered(latent, latent.start(twin.background), obs, partial(etkf, **setting), rng)

    def strong(twin, obs, rng, **setting):
        return _strong(latent, roots, twin, obs, rng, iterations=iterations, **setting)

    six = [{"count": n, "before": b} for n in (1, 2, 5) for b in (1.0, 1.1)]
    alone = [{"count": 1, "before": b} for b in (0.7, 0.85, 1.0, 1.1, 1.3, 1.6)]  # errors correlate beyond windows
    grown = [{"inflation": i} for i in (1.0, 1.01, 1.02, 1.05, 1.1, 1.2)]
    return {
        "combined runs": Contender(combined),
        "latent ETKF": Contender(transformed, tuple(grown)),
        "latent 4DVar": Contender(strong, _of_strong()),
        **{f"LEVDA, {v}": Contender(partial(variational, variant=v), tuple(six)) for v in VARIANTS},
        "LEVDA, dressed": Contender(partial(erring, correct=False), tuple(alone)),
        "LEVDA, corrected": Contender(partial(erring, correct=True), tuple(alone)),
    }


def through_encoders(
    case: Case, net, model: int, observer: Observer | None, coupled: Coupled | None
) -> dict[str, Contender]:
    """Return the filters that see through an encoder of observations, for those encoders that are at hand.

    *LD-ETKF* (ours) is LD-EnSF with an ensemble transform in place of the score: what the encoder knows, in a filter
    that weighs it by the members' spread. It takes what the encoder says at each time for one more observation, though
    errors of encoders hardly change from time to time: its mean may be good, its spread is too small.
    """
    latent = Latent(net, model)

    def filter_of(space, E, encoder, obs, rng, *, published, std, steps=100):
        unit = encoder.scale[model]
        here = encoded.encoded(encoder, obs, model, std=std * unit)
        more = encoded.PUBLISHED if published else {"steps": steps}
        scale = 0.01 * unit if published else unit
        analyze = EnSF(encoded.whole, adjoint=encoded.spread_out, scale=scale, **more)
        return filtered(space, E, here, analyze, rng, observe=encoded.whole)

    def dynamics(twin, obs, rng, **setting):
        return filter_of(latent, latent.start(twin.background), observer, obs, rng, **setting)

    def testbed(twin, obs, rng, **setting):
        space = FullSpace(coupled, twin.background, model)
        return filter_of(space, space.start(), coupled, obs, rng, **setting)

    def transformed(twin, obs, rng, *, std, inflation):
        here = encoded.encoded(observer, obs, model, std=std * observer.scale[model])
        E, analyze = latent.start(twin.background), partial(etkf, inflation=inflation)
        return filtered(latent, E, here, analyze, rng, observe=encoded.whole)

    grown = [{"std": s, "inflation": i} for s in (0.1, 0.3, 1.0) for i in (1.0, 1.05)]
    six = [{"published": True, "std": 0.001}, {"published": True, "std": 0.01}]
    six += [{"published": False, "std": s, "steps": n} for s, n in ((0.05, 500), (0.1, 100), (0.3, 100), (1.0, 100))]
    of_observer = {"LD-EnSF": Contender(dynamics, tuple(six)), "LD-ETKF": Contender(transformed, tuple(grown))}
    found = {} if observer is None else of_observer
    return found if coupled is None else {**found, "Latent-EnSF": Contender(testbed, tuple(six))}


def trivial(case: Case, net, model: int, library: Tensor) -> dict[str, Contender]:
    """Return what assimilates nothing, and the yardstick of the surrogate with the true parameters.

    The nearest run of the library is the one of which the surrogate says what is nearest to the observations.
    Interpolated observations know no model (`gridding`); of a channel that is never observed they have the library's
    mean, which needs the testbed.
    """
    state, latent = State(case), Latent(net, model)
    some = functools.cache(lambda: case.trajectories(library[:FEW]).mean(1)[:, None, None])  # (t, 1, 1, c, y, x)

    def background(twin, obs, rng):
        with spent() as cost:
            path = freely(state, state.start(twin.background))
        return outcome(state, path, cost)

    def mean(twin, obs, rng):
        with spent() as cost:
            path = some().expand(-1, len(twin.parameters), -1, -1, -1, -1)
        return given(twin, path, cost)

    def nearest(twin, obs, rng):
        with spent() as cost, torch.no_grad():
            said = latent.predict(latent.start(library), obs, 0.0, float(case.times[-1]))  # (n, o)
            best = ((said - obs.value[:, None]) / obs.std).square().sum(-1).argmin(1)
            path = case.trajectories(library[best])[:, :, None]
        return given(twin, path, cost)

    def interpolated(twin, obs, rng):
        with spent() as cost:
            fields = gridded(case, obs)
            unseen = fields.isnan()
            fields = torch.where(unseen, some()[:, 0], fields) if unseen.any() else fields  # (t, R, c, y, x)
        return given(twin, fields[:, :, None], cost)

    def exact(twin, obs, rng):
        with spent() as cost:
            path = freely(latent, latent.start(twin.parameters[:, None]))
        return outcome(latent, path, cost)

    return {
        "no assimilation": Contender(background),
        "mean of the library": Contender(mean),
        "nearest of the library": Contender(nearest),
        "interpolated observations": Contender(interpolated),
        "surrogate, true parameters": Contender(exact),
    }


def _of_strong() -> tuple[dict, ...]:
    return tuple({"spread": s, "count": n} for s in (1.0, 0.3, 0.1) for n in (5, 1))


def _strong(space, roots, twin, obs, rng, *, spread, count, iterations) -> Outcome:
    """Run 4DVar from the mean of the background, in windows."""
    borders = windows(space.case, count)
    known = {start: spread * roots(start) for start in borders[:-1]}  # of the library, once: not of this assimilation

    def solve(E, predict, here, rng):
        start = max(b for b in known if b < float(here.time.max()))
        return fourdvar.strong(E, predict, here, rng, root=known[start], iterations=iterations)

    return smoothed(space, space.start(twin.background.mean(1, keepdim=True)), borders, obs, solve, rng)


def _scale(state: State, parameters: Tensor) -> Tensor:  # (n, q) -> (k)
    """Return what states and parameters are divided by: deviations over runs, times and points of a channel."""
    path = freely(state, state.start(parameters[None])[0])
    states, own = state.joint.unpack(torch.stack(path))
    grid = state.case.weights[0].numel()
    deviation = states.flatten(2).unflatten(-1, (-1, grid)).transpose(0, 2).flatten(1).std(1)
    beside = own.flatten(0, 1).std(0, correction=0) if own.shape[-1] else own.new_zeros(0)
    return torch.cat([deviation.repeat_interleave(grid), beside])


def _roots(space, parameters: Tensor) -> Callable[[float], Tensor]:
    """Return the function from a time to the root (k, r) of a library's covariance then, from its leading modes."""

    @functools.cache
    @torch.no_grad()
    def root(start: float) -> Tensor:
        E = space.forecast(space.start(parameters[None]), 0.0, start)[0]
        X = (E - E.mean(0)) / (len(E) - 1) ** 0.5
        values, vectors = torch.linalg.eigh(X @ X.mT)  # of members: there are fewer of them than variables
        return (vectors[:, -RANK:].mT @ X).mT

    return root
