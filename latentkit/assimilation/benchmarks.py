r"""The three benchmarks of LEVDA at the size of a preset: case, surrogate, sensors of table 1, encoders.

`testbeds.cases` has the experiments, `models.surrogates` the training; here is what notebooks ask them for, so that all
of them use the same weights.
"""

import torch

from latentkit.assimilation.observations import Network, on_grid
from latentkit.models import coupled, observers, surrogates
from latentkit.models.coupled import Coupled
from latentkit.models.observers import Observer
from latentkit.models.surrogates import Surrogate
from latentkit.models.train import History, generator
from latentkit.testbeds import cases
from latentkit.testbeds.cases import Case

SYSTEMS = ("flow", "tsunami", "planet")


def case(system: str, P, device: torch.device | str | None = None) -> Case:
    """Return a system's case; P: a LEVDA preset; device: where it lies, and what it makes.

    Raises ValueError for another name.
    """
    if system == "flow":
        return cases.flow(P.flow_size, generator(0, "start"), device=device)
    if system == "tsunami":
        return cases.tsunami(P.basin_size, width=P.bump_width, device=device)
    if system == "planet":
        return cases.planet(P.planet_size, generator(0, "start"), days=P.planet_days, device=device)
    raise ValueError(f"the system is {system!r}; expected one of {', '.join(SYSTEMS)}")


def surrogate(case: Case, P, retrain: bool = False) -> tuple[Surrogate, History]:
    """Load or train the surrogates of a case, one a seed from 0 on."""
    basin = case.name == "tsunami"
    sizes = {what: getattr(P, f"{'basin' if basin else case.name}_{what}") for what in ("latent", "modes", "library")}
    return surrogates.obtain(
        case, f"levda_{case.name}", latent=sizes["latent"], count=sizes["modes"], library=sizes["library"],
        dynamics=P.dynamics, decoder=P.decoder, steps=P.basin_stages if basin else P.stages,
        learning_rate=P.stage_rate, seeds=list(range(P.surrogates)), retrain=retrain,
        settings={"bump": P.bump_width if basin else 0, "start": 0},
    )  # fmt: skip


def encoders(
    surrogate: Surrogate, P, retrain: bool = False
) -> tuple[tuple[Observer, Coupled], tuple[History, History]]:
    """Load or train the encoders of LD-EnSF and Latent-EnSF for the network of table 1, one a seed from 0 on.

    Errors of observations, of P.noise deviations, are shown to them in training (ours; see `observers`).
    """
    case, i = surrogate.case, SYSTEMS.index(surrogate.case.name)
    more = {"library": len(library(case, P)), "learning_rate": P.encoder_rate, "seeds": list(range(P.surrogates))}
    more |= {"settings": {"bump": P.bump_width if case.name == "tsunami" else 0, "start": 0}, "noise": P.noise}
    hidden, steps = P.observers[i]
    seen = network(case, P)
    seen = seen.rows(seen.time == seen.time[0])
    observer, first = observers.obtain(
        surrogate, f"levda_{case.name}_observer", seen, hidden=hidden, steps=steps, retrain=retrain, **more
    )
    latent, count, encoder, decoder, steps = P.coupled[i]
    both, second = coupled.obtain(
        case, f"levda_{case.name}_coupled", seen, latent=latent, count=count, encoder=(encoder, encoder),
        decoder=(decoder, decoder), steps=steps, retrain=retrain, **more,
    )  # fmt: skip
    return (observer, both), (first, second)


def library(case: Case, P) -> torch.Tensor:  # (n, q)
    """Return the parameters of the runs that a surrogate was trained with."""
    name = "basin" if case.name == "tsunami" else case.name
    return surrogates.library_parameters(case, getattr(P, f"{name}_library"))


def validation(case: Case, P) -> torch.Tensor:  # (n, q)
    """Return the parameters of runs on which errors of surrogates are known: thrice P.validated.

    The first P.validated dress members, for which they do; all of them correct, for which more patterns hold more.
    """
    return surrogates.library_parameters(case, 3 * P.validated, "validation")


def grid(case: Case, P) -> list[torch.Tensor]:
    """Return the coordinates along each axis at which sensors stand, so many along each side."""
    strides = [len(axis) // P.sensors for axis in case.axes]
    return [axis[s // 2 :: s][: P.sensors] for axis, s in zip(case.axes, strides, strict=True)]


def network(case: Case, P) -> Network:
    """Return sensors of all channels on a grid, at all outputs but the start."""
    return on_grid(grid(case, P), 1, case.times[1:].float(), range(case.shape[0]))
