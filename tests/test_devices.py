"""Testbeds and methods of LEVDA on the CPU, a CUDA card, and a card that is none: all lies there, and is the same."""

import functools
import os
import subprocess
import sys

import pytest
import torch
from torch import Generator

from latentkit.assimilation import (
    contenders,
    enkf,
    envar,
    etkf,
    fourdvar,
    gaussian,
    gridding,
    ienks,
    kriged,
    levda,
    twins,
)
from latentkit.assimilation.ablations import every, misfit
from latentkit.assimilation.ensf import EnSF
from latentkit.assimilation.inflation import added, relaxed
from latentkit.assimilation.observations import at_random, measure, on_grid
from latentkit.assimilation.particle import bootstrap
from latentkit.localization import Places, periodic
from latentkit.localization import modes as localized
from latentkit.models import coupled, modes, observers, started, surrogates, taught
from latentkit.models.train import Shuffled, fit
from latentkit.testbeds import cases
from latentkit.testbeds.chlorophyll import diagnosed, recorded
from latentkit.testbeds.kolmogorov import Kolmogorov
from latentkit.testbeds.lorenz import Lorenz63, Lorenz96
from latentkit.testbeds.planet import HOUR, Planet
from latentkit.testbeds.rain import Rain
from latentkit.testbeds.tsunami import Tsunami

ALONE = "LATENTKIT_TEST_CARD"  # set in a process that has taken no derivative before it knew the card
SEEDS = [0, 1]
TRAIN = {"seeds": SEEDS, "learning_rate": 1e-2, "progress": False}


def rng(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


@pytest.fixture(params=["cpu", "card", "cuda"])
def device(request) -> str:
    """Return a device, or skip where it is not there."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA card")
    if request.param == "card":
        if torch.cuda.is_available():
            pytest.skip("a CUDA card is there to test on")
        if ALONE not in os.environ:
            pytest.skip("done in a process of its own")
        import card

        try:
            card.install()
        except ImportError:
            pytest.skip("this torch takes no device that is written in Python")
    return request.param


def alike(make, device: str, share: float = 1e-3) -> None:
    """Hold what is made on a device, tensors by name, against what is made on the CPU, by a share of the largest."""
    wanted = make("cpu")
    for name, tensor in (wanted if device == "cpu" else make(device)).items():
        assert tensor.device.type == device, name
        near = share * float(wanted[name].double().nan_to_num().abs().max()) if wanted[name].numel() else 0.0
        torch.testing.assert_close(
            tensor.cpu(), wanted[name], rtol=0, atol=near, equal_nan=True, msg=lambda m, name=name: f"{name}: {m}"
        )


@functools.cache
def two_steps(device: str) -> dict:
    """Return states two steps on, and what is seen of them."""
    many, like = torch.tensor([[0.2, 0.3], [0.4, 0.1]]), torch.zeros((), device=device)
    ring, butterfly = Lorenz96(8), Lorenz63()
    flow, sea, planet = Kolmogorov(16, device=device), Tsunami(16, device=device), Planet(14, 26, device=device)
    w = flow.advance(flow.start(2, rng()), 2, torch.tensor([500.0, 800.0]))
    waves, winds = sea.advance(sea.start(many), 2), planet.advance(planet.start(2, rng()), 2, 0.0, many[:, 0], 2.0)
    records, made, plankton = recorded(2, rng(), factor=2, size=(20, 20), interval=2, spin_up=0, count=2, device=device)
    growth, limited = diagnosed(records, plankton)
    fields, proxy, drivers = Rain((8, 8), device=device).sample(3, rng())
    return {
        "ring": ring.advance(ring.start(like), 2), "butterfly": butterfly.advance(butterfly.start(like), 2),
        "flow": w, "velocity": flow.velocity(w), "vorticity": flow.vorticity(flow.velocity(w)), "waves": waves,
        "walled": sea.walled(waves), "energy": sea.energy(waves), "winds": winds, "growth": growth, "limited": limited,
        **{f"plankton {what}": part for what, part in records._asdict().items()}, "light": made(1.5).light,
        "rain": fields, "proxy": proxy, "drivers": drivers,
    }  # fmt: skip


def test_testbeds(device):
    alike(two_steps, device)


@functools.cache
def case_of(name: str, device: str) -> cases.Case:
    if name == "flow":
        return cases.flow(16, rng(), outputs=3, device=device)
    if name == "tsunami":
        return cases.tsunami(4, width=2e5, outputs=3, device=device)
    return cases.planet(14, rng(), days=1, device=device)


@functools.cache
def of_case(name: str, device: str) -> dict:
    """Return what a case holds, draws and sees, two steps from its start; its trajectories where they are short."""
    case = case_of(name, device)
    u, wanted, end = case.draw(5, rng(4)), case.draw(3, rng(5)), 2 * case.joint.step
    E = case.joint.pack(case.starts(u), u if case.joint.parameters else None)
    fields = case.fields(case.joint.unpack(case.joint.forecast(E, 0.0, end))[0])
    network = on_grid(case.axes, 2, torch.tensor([end / 2], device=device), range(case.shape[0]))
    obs = measure(network, case.joint.predict(E, network, 0.0, end), 0.1 * fields.std(), rng(6))
    rows, weights = cases.between(case, u, wanted)
    return {
        "low": case.low, "high": case.high, "times": case.times, "weights": case.weights, "draw": u, "fields": fields,
        "scaled": case.scaled(u), "unscaled": case.unscaled(case.scaled(u)), "places": case.places(obs), "rows": rows,
        "shares": weights, **{f"axis {i}": axis for i, axis in enumerate(case.axes)}, **obs._asdict(),
        "points": case.points(obs)(fields), "gridded": gridding.gridded(case, obs), "every": every(case, obs, 1).value,
        "random": at_random([0, 0], [1, 2], 3, case.times, [0], rng()).where,
        "made": E if name == "planet" else case.trajectories(u.cpu()),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["flow", "tsunami", "planet"])
def test_cases(name, device):
    alike(functools.partial(of_case, name), device)


@functools.cache
def lab(device: str) -> tuple:
    """Return the tsunami, an experiment of two truths, and its observations."""
    case = case_of("tsunami", device)
    deviation = cases.deviations(case.trajectories(case.draw(4, rng(1))))
    twin = twins.twin(case, deviation, 2, 5, lambda purpose: rng(len(purpose)))
    network = on_grid(case.axes, 2, case.times[1:].float(), range(case.shape[0]))
    return case, twin, twin.observed(network, 0.5, rng(3))


@functools.cache
def methods(device: str) -> dict:
    """Return an analysis by each method, of a ring of which every second place is seen."""
    ring, m = Lorenz96(12), 6
    E = (ring.start() + torch.randn(2, m, 12, generator=rng())).to(device)
    points = torch.arange(12.0, device=device)[:, None]
    obs = on_grid([points[:, 0]], 2, torch.zeros(1, device=device), [0])
    obs = measure(obs, ring.advance(E[:, 0], 5)[:, ::2], 0.5, rng(1))
    see = lambda E, obs=None: E[..., ::2]  # noqa: E731
    predict = lambda E: see(ring.advance(E, 5))  # noqa: E731
    places = Places(points, functools.partial(periodic, lengths=12.0))
    taper, eye = localized(places, obs, 2.0), torch.eye(12, device=device)
    local = etkf.Local(places, 2.0, place=places.of, inflation=1.1, rotate=True)
    filters = {
        "etkf": functools.partial(etkf.etkf, inflation=1.1, rotate=True), "local": local, "serial": enkf.serial,
        "perturbed": functools.partial(enkf.perturbed, rotate=True), "mixture": EnSF(see, steps=5),
        "paired": EnSF(see, steps=5, score="paired"), "particles": functools.partial(bootstrap, jitter=0.2),
        "given": gaussian.Given(eye, see), "more": relaxed(added(etkf.etkf, 0.1), 0.5),
    }  # fmt: skip
    given = E, predict, obs
    return {
        **{name: analyze(E, see(E), obs, rng(2)) for name, analyze in filters.items()},
        "4DEnVar": envar.envar(*given, rng(), outer=2, modes=taper, rotate=True), "iEnKS": ienks.ienks(*given, rng()),
        "4DVar": fourdvar.strong(*given, rng(), root=eye, perturb=True, iterations=3),
        "weak": fourdvar.weak(E, 2, lambda x, i: ring.advance(x), lambda path: see(path[-1]), obs, rng(), root=eye,
                              error_root=eye, iterations=2),
        **{v: levda.levda(*given, rng(), variant=v, iterations=3) for v in levda.VARIANTS},
    }  # fmt: skip


def test_methods(device):
    alike(methods, device, share=1e-2)


def found(device: str) -> dict:
    """Return modes, and what they hold of what they were found in."""
    snapshots = torch.randn(9, 2, 6, 8, generator=rng(), dtype=torch.double).to(device)
    held = modes.find(snapshots, 3, torch.ones(6, 8), 0)
    return {"mean": held.mean, "weights": held.weights, "held": held.fields(held.coefficients(snapshots))}


def test_modes(device):
    alike(found, device)


@functools.cache
def trained(device: str) -> tuple:
    """Return surrogates of the tsunami and encoders of its observations, after two steps of training each."""
    case, _, obs = lab(device)
    u, moments = case.draw(6, rng(6)), list(range(1, len(case.times)))
    made, network = case.trajectories(u), obs.rows(obs.time == obs.time[0])
    model = surrogates.Surrogate(case, 3, 4, [8], [8], SEEDS).to(device)
    values = model.learn_modes(made, 4)
    taught.train(model.net, case.scaled(u), values, steps=(2, 2, 2), batches=(8, 8, 3), rng=model.rng, **TRAIN)
    model.requires_grad_(False)
    observer = observers.Observer(network, case.times[moments].tolist(), 5, 6, SEEDS, noise=0.1).to(device)
    pairs = observers.pairs(model, u, made, network, moments)
    fit(observer, Shuffled(observer.learn(*pairs), 4, SEEDS, [False, True]), steps=2, **TRAIN)
    both = coupled.Coupled(case, network, 3, 4, [8], [8], SEEDS, noise=0.1).to(device)
    states, seen = coupled.library_states(case, u, network)
    c = both.basis.learn(states.flatten(0, 1), 4, 0)
    fit(both, Shuffled([c, both.sensors.learn(seen).flatten(0, 1)], 8, SEEDS, [False, False]), steps=2, **TRAIN)
    both.learn(c)
    return model, observer, both


@functools.cache
def said(device: str) -> dict:
    """Return what trained surrogates and encoders make of parameters, states and observations."""
    (case, _, obs), (model, observer, both) = lab(device), trained(device)
    u, network, z = case.draw(3, rng(7)), obs.rows(obs.time == obs.time[0]), torch.ones(2, 3, device=device)
    return {
        "trajectory": model.trajectory(u, 1), "look": model.look(network, 1)(z), "fields": model.fields(z),
        "observer": observer.read(observer.sensors.series(obs)[0], 1), "states": both.decode(z),
        "latents": both.encode(case.starts(u)), "seen": both.read(both.sensors.series(obs)[0]),
    }  # fmt: skip


def test_surrogates_and_encoders_are_trained(device):
    alike(said, device, share=1e-2)


def test_surrogates_of_the_cpu_move_and_load(device):
    case, model = case_of("tsunami", "cpu"), trained("cpu")[0]
    moved = surrogates.Surrogate(case, 3, 4, [8], [8], SEEDS).to(device)
    moved.load_state_dict(model.state_dict())
    u = case.draw(3, rng(8))
    alike(lambda where: {"made": (moved if where == device else model).trajectory(u.to(where))}, device)


@functools.cache
def from_anywhere(device: str) -> dict:
    """Return flows from random starts, and what a surrogate of them makes of it after two steps of training."""
    starts = cases.flow_starts(16, 3, rng(), device=device)
    case = cases.flow(16, rng(), outputs=3, starts=starts, device=device)
    u = case.draw(3, rng(1))
    made, model = case.trajectories(u), started.Started(case, 8.0, 4, 8, SEEDS).to(device)
    z = model.learn_scale(made)
    fit(model.net, started.Windows(z, case.scaled(u), 2, 2, SEEDS), steps=2, **TRAIN)
    look = model.requires_grad_(False).look(on_grid(case.axes, 4, case.times[1:2], [0, 1]))
    return {"made": model.trajectory(made[0], u, 1), "starts": starts, "look": look(z[:, 0])}


def test_flows_that_start_anywhere(device):
    alike(from_anywhere, device, share=1e-2)


@functools.cache
def assimilated(device: str) -> dict:
    """Return the fields of all methods of LEVDA's comparison, in one window, and how far they are from observations."""
    (case, twin, obs), (model, observer, both) = lab(device), trained(device)
    library, validation, fields = case.draw(8, rng(9)), case.draw(6, rng(10)), {}
    rows = contenders.trivial(case, model, 0, library) | contenders.full_state(case, library, 1)
    rows |= contenders.latent_space(case, model, 0, library, validation, 2, few=3)
    rows |= contenders.through_encoders(case, model, 0, observer, both)
    rows |= kriged.kriged(case, library)
    rows.pop("4DVar")  # it differs from latent 4DVar in its space alone, and that is the others' too
    for name, row in rows.items():
        one = next((s for s in row.settings if s.get("count", 1) == 1), {})
        made = row.run(twin, obs, rng(11), **row.settings[-1] | {"steps": 10} if "EnSF" in name else one)
        assert made.reason is None, f"{name}: {made.reason}"
        fields |= {name: torch.stack(list(made.seen())), f"{name}, misfit": misfit(case, made, obs)}
    return fields | twin.scores(fields["no assimilation"], crps=True)


def test_contenders(device):
    alike(assimilated, device, share=2e-2)


def test_eight_hours_are_whole_steps_of_every_planet():
    for parts in range(1, 60):  # of an hour: 14 at the paper's 256 rows
        assert cases.whole_steps(8 * HOUR, HOUR / parts) == 8 * parts
    with pytest.raises(ValueError, match="a step of 1000 s does not divide 8 hours; choose another number of rows"):
        cases.whole_steps(8 * HOUR, 1000.0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA card is there to test on")
def test_a_process_that_knows_the_card_from_its_start():
    # torch counts devices when it takes its first derivative, and other tests have taken one.
    command = [sys.executable, "-m", "pytest", __file__, "-q", "-p", "no:xdist", "-k", "card and not process"]
    done = subprocess.run(command, env={**os.environ, ALONE: "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
