"""The surrogates of LEVDA at the paper's size on one GPU, in a strict wall budget. One file, run once:

    PYTHONPATH=. OUT=... python3 levda_paper.py --budget 480

Sections, each on its own: flow solver timings; tsunami, flow, planet (library on the device, modes, three stages of
training in CUDA graphs, errors as in notebook 32); what of the package runs on CUDA as it is. JSON after each milestone.
A failed system prints its traceback, and the rest goes on in a fresh process (a broken CUDA context is left behind).
"""

import argparse
import copy
import dataclasses
import json
import math
import os
import signal
import statistics
import sys
import time
import traceback
import warnings

BORN = time.time()
import numpy as np
import torch
from torch import Generator

from latentkit.assimilation import benchmarks
from latentkit.models import modes as package_modes
from latentkit.models import surrogates, taught
from latentkit.models.train import _clip, generator
from latentkit.presets import preset
from latentkit.testbeds import cases, planet as planet_module
from latentkit.testbeds.kolmogorov import Kolmogorov
from latentkit.testbeds.planet import HOUR, Planet
from latentkit.testbeds.tsunami import Tsunami

PUBLISHED = {"flow": 0.0123, "tsunami": 0.0168, "planet": 0.0656}
STAGES = ("embedding", "dynamics", "joint")


# ---------------------------------------------------------------- bookkeeping
class Out:
    """The JSON: read again by a process that goes on, written whole at each milestone."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "levda_paper.json")
        self.data = json.load(open(self.path)) if os.path.exists(self.path) else {}

    def put(self, section, **values):
        self.data.setdefault(section, {}).update(values)
        part = self.path + ".part"
        with open(part, "w") as file:
            json.dump(self.data, file, indent=1, default=plain)
        os.replace(part, self.path)


def plain(x):
    if isinstance(x, torch.Tensor):
        return plain(x.detach().cpu().numpy())
    if isinstance(x, np.ndarray):
        return x.tolist()
    if isinstance(x, np.generic):
        return x.item()
    return str(x)


def say(*words):
    print(f"[{time.time() - ARGS.born:6.1f} s]", *words, flush=True)


def sync():
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def clock():
    sync()
    return time.perf_counter()


def peak():
    return torch.cuda.max_memory_allocated() / 2**30 if DEVICE.type == "cuda" else 0.0


# ---------------------------------------------------------------- cases on a device
class Step(float):
    """A step of which a whole number is whole hours: 112 * (3600 / 14) is not, on which `cases.planet` insists."""

    def __rmul__(self, other):
        value = float(self) * other
        if isinstance(other, int) and abs(value - (near := round(value / HOUR) * HOUR)) < 1e-6:
            return near
        return value


class PlanetThatDivides(Planet):
    """As Planet, with a default step as above."""

    def __init__(self, lat=32, lon=64, *, step=None, **more):
        super().__init__(lat, lon, step=step, **more)
        if step is None:
            self.step = Step(self.step)


cases.Planet = PlanetThatDivides  # else the paper's size of the planet raises ValueError


def moved(case, P, device):
    """Return the case with ranges and weights on a device, and trajectories that are made there, all at once."""
    outputs = len(case.times) - 1
    first = None if case.name == "tsunami" else case.begin(case.low[None]).to(device)
    if case.name == "flow":
        system = Kolmogorov(P.flow_size, device=device)
    elif case.name == "tsunami":
        system = Tsunami(P.basin_size, width=P.bump_width, device=device)
    else:
        system = PlanetThatDivides(P.planet_size, 2 * P.planet_size, device=device)
    every = round(case.interval / system.step)

    @torch.no_grad()
    def trajectories(parameters):
        parameters = parameters.to(device)
        if case.name == "tsunami":
            return system.trajectory(system.start(parameters), outputs * every, every)
        start = first.expand(len(parameters), *first.shape[1:]).contiguous()
        if case.name == "flow":
            path = system.trajectory(start, outputs * every, every, parameters[:, 0])
            return torch.stack([system.velocity(state) for state in path])
        return system.trajectory(start, outputs * every, every, cases.SPIN_UP, *parameters.T)

    low, high, weights = (x.to(device) for x in (case.low, case.high, case.weights))
    return dataclasses.replace(case, low=low, high=high, weights=weights, trajectories=trajectories), system, every


# ---------------------------------------------------------------- modes on a device
def learn(model, library, count):
    """As Surrogate.learn_modes with modes.find, which go through numpy; memory: one copy of the library besides."""
    case, device = model.case, library.device
    t, m, c, y, x = library.shape
    first = sum(step.double().sum((0, 2, 3)) for step in library) / (t * m * y * x)
    second = sum((step.double() - first[:, None, None]).square().sum((0, 2, 3)) for step in library) / (t * m * y * x)
    model.deviation = second.sqrt().float()[:, None, None]
    weights = (case.weights / (y * x)).contiguous()
    root = weights.sqrt()
    table = torch.empty(m, t, c, y, x, device=device)
    for i in range(m):
        table[i] = library[:, i] / model.deviation
    mean = (sum(one.double().sum(0) for one in table) / (m * t)).float()
    table = table.flatten(0, 1)
    for some in table.split(512):
        some.sub_(mean).mul_(root)
    table = table.flatten(1)  # (n, p)
    if count > min(table.shape):
        raise ValueError(f"{count} modes of {tuple(table.shape)}")
    total = float(sum(some.double().square().sum() for some in table.split(256)))
    rng = Generator(device=device).manual_seed(surrogates.SEED)
    q = min(count + 10, *table.shape)
    right = torch.randn(len(table), q, generator=rng, device=device)
    for _ in range(3):
        left = torch.linalg.qr(table.T @ right)[0]
        right = torch.linalg.qr(table @ left)[0]
    left = torch.linalg.qr(table.T @ right)[0]  # (p, q)
    small = (table @ left).T.double()  # (q, n); its left vectors from the small square: Jacobi's SVD would take seconds
    size, u = torch.linalg.eigh(small @ small.T)
    size, u = size.flip(0).clamp_min(0).sqrt(), u.flip(1)
    found = (left @ u[:, :count].float()).T.reshape(count, c, y, x) / root
    size = size[:count]
    del table, left, right, u
    scaled = found * size.float()[:, None, None, None]
    rows, columns = (span(scaled.movedim(axis, 0).flatten(1)) for axis in (2, 3))
    del scaled
    core = rows.mT @ found @ columns
    model.mean, model.core, model.rows, model.columns = mean, core.contiguous(), rows, columns
    model.left = torch.tensor([max(0.0, 1 - float(size.square().sum()) / total)], device=device)
    held = model.modes
    values = torch.stack([held.coefficients(library[:, i] / model.deviation) for i in range(m)])  # (m, t, j)
    model.unit = values.square().sum(-1).mean().sqrt().reshape(1)
    return values / model.unit


def span(unfolded, error=1e-3):
    """As modes._span, by the eigenvectors of the small square."""
    wide = unfolded.double()
    square, vectors = torch.linalg.eigh(wide @ wide.T)
    square, vectors = square.flip(0).clamp_min(0), vectors.flip(1)
    beyond = square.flip(0).cumsum(0).flip(0).sqrt() > error * square.sum().sqrt()
    return vectors[:, : max(1, int(beyond.sum()))].float().contiguous()


# ---------------------------------------------------------------- training
class Trainer:
    """AdamW under the package's schedule and clip, as train.fit, with one CUDA graph a step: no copies, no waiting.

    All that changes from step to step (rate, batch, noise) is on the device and written in place.
    """

    def __init__(self, loss, parameters, count, size, models, rate, total, extra=None):
        self.loss, self.parameters, self.count, self.size = loss, list(parameters), count, min(size, count)
        self.models, self.rate, self.extra = models, rate, extra
        self.per = math.ceil(self.count / self.size)
        scalar = lambda value: torch.tensor(float(value), device=DEVICE)
        self.i, self.total, self.rise, self.lr = scalar(0), scalar(total), scalar(1), scalar(rate)
        self.turn = torch.zeros(1, dtype=torch.long, device=DEVICE)
        self.takes = torch.zeros(self.per, models, self.size, dtype=torch.long, device=DEVICE)
        self.more = None if extra is None else extra(self.per)
        self.sum = torch.zeros(models, device=DEVICE)
        cuda = DEVICE.type == "cuda"
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=self.lr if cuda else rate, weight_decay=0.0, fused=True, capturable=cuda
        )
        if cuda:
            self.optimizer.param_groups[0]["lr"] = self.lr
        self.done, self.graph, self.how, self.rows = 0, None, "eager", []
        self.plan(total)

    def plan(self, total):
        self.last = int(total)
        self.total.fill_(float(total))
        self.rise.fill_(float(max(1, round(0.02 * total))))

    def refresh(self):
        order = torch.rand(self.models, self.count, device=DEVICE).argsort(1)
        wrapped = torch.arange(self.per * self.size, device=DEVICE) % self.count
        self.takes.copy_(order[:, wrapped].unflatten(1, (self.per, self.size)).transpose(0, 1))
        if self.extra is not None:
            self.more.copy_(self.extra(self.per))
        self.turn.zero_()

    def body(self):
        take = self.takes.index_select(0, self.turn)[0]
        more = None if self.more is None else self.more.index_select(0, self.turn)[0]
        down = 0.5 * (1 + torch.cos(math.pi * (self.i - self.rise).clamp_min(0) / (self.total - self.rise).clamp_min(1)))
        self.lr.copy_(self.rate * torch.minimum((self.i + 1) / self.rise, down))
        self.optimizer.zero_grad(set_to_none=True)
        error = self.loss(take, more)
        error.sum().backward()
        _clip(self.parameters, 1.0)
        if DEVICE.type != "cuda":
            self.optimizer.param_groups[0]["lr"] = float(self.lr)
        self.optimizer.step()
        self.sum.add_(error.detach())
        self.i.add_(1)
        self.turn.add_(1)

    def one(self):
        if self.done % self.per == 0:
            self.refresh()
        self.graph.replay() if self.graph is not None else self.body()
        self.done += 1

    def prepare(self):
        """Make three steps, then capture the next; without graphs where that fails."""
        if DEVICE.type != "cuda" or ARGS.no_graphs:
            return self
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.one()
        torch.cuda.current_stream().wait_stream(side)
        sync()
        try:
            graph = torch.cuda.CUDAGraph()
            self.optimizer.zero_grad(set_to_none=True)
            with torch.cuda.graph(graph):
                self.body()
            self.graph, self.how = graph, "graph"
        except Exception as error:
            say("no CUDA graph:", type(error).__name__, str(error)[:300])
            self.graph = None
            sync()
        return self

    def timed(self, count):
        for _ in range(2):
            self.one()
        start = clock()
        for _ in range(count):
            self.one()
        return (clock() - start) / count

    def run(self, total, deadline):
        """Make the steps left; the schedule is shortened where the wall would come first."""
        self.plan(total)
        self.prepare()
        self.sum.zero_()
        began, made, kept = clock(), self.done, self.done
        while self.done < self.last:
            for _ in range(min(max(1, self.last // 100), self.last - self.done)):
                self.one()
            mean = (self.sum / (self.done - kept)).tolist()  # waits
            kept = self.done
            self.sum.zero_()
            if not all(map(math.isfinite, mean)):
                raise FloatingPointError(f"loss is {mean} at step {self.done}")
            self.rows.append([self.done, *mean])
            now = time.perf_counter()
            each = (now - began) / (self.done - made)
            if now + (self.last - self.done) * each > deadline + 0.5:
                self.plan(min(self.last, self.done + max(1, int((deadline - now) / each))))
        self.seconds = clock() - began
        return self


def losses(net, embedding, when, u, values, noise=0.3):
    """Return for each stage its loss, parameters, number of samples, batch, share of the rate, and random extras."""
    models, (n, t, _) = len(net.log_step), values.shape
    flat, model = values.flatten(0, 1), torch.arange(models, device=DEVICE)[:, None]
    follow = {}

    def first(take, more):
        return net.decoder.error(embedding(when[take]), flat[take], None)

    def second(take, more):
        before, each, later = follow["table"]
        a, later, parameters = before[model, take], later[model, take], each[take]
        size = (later - a).square().mean((1, 2), keepdim=True)
        disturbed = a + noise * size.sqrt() * more
        return ((net.advance(disturbed, parameters) - later).square() / size).mean((1, 2))

    def third(take, more):
        path = net.trajectory(u[take]).transpose(1, 2).flatten(1, 2)  # (s, b t, k)
        chosen = path.gather(1, more[..., None].expand(-1, -1, path.shape[-1]))
        place = take.gather(1, more // t) * t + more % t
        return net.decoder.error(chosen, flat[place], None)

    def teach(z):  # (s, n, t, k)
        before = torch.cat([torch.zeros_like(z[:, :, :1]), z[:, :, :-1]], 2)
        each = u[:, None].expand(-1, t, -1).flatten(0, 1)
        follow["table"] = [before.flatten(1, 2).contiguous(), each.contiguous(), z.flatten(1, 2).contiguous()]

    b = min(512, n * t)
    draw = lambda per: torch.randn(per, models, b, net.latent, device=DEVICE)
    pick = lambda per: torch.randint(min(16, n) * t, (per, models, net.sampled), device=DEVICE)
    table = {
        "embedding": (first, list(embedding.parameters()), n * t, 512, 1.0, None),
        "dynamics": (second, [*net.dynamics.parameters(), net.log_step], n * t, 512, 1.0, draw),
        "joint": (third, list(net.parameters()), n, 16, 1 / 3, pick),
    }
    return table, teach


def trainer(table, stage, models, rate, total):
    loss, parameters, count, size, share, extra = table[stage]
    return Trainer(loss, parameters, count, size, models, rate * share, total, extra)


# ---------------------------------------------------------------- errors, as in notebook 32
def overall(errors):
    return float(errors.double().square().mean().sqrt())


def apart(model, i, found, truth):
    return cases.apart(found, truth[i], model.case.weights, model.deviation)


@torch.no_grad()
def of_paths(model, path, truth):  # (s, t, m, k) -> (s, t, m)
    return torch.stack(
        [torch.stack([apart(model, i, model.fields(z, s), truth) for i, z in enumerate(p)]) for s, p in enumerate(path)]
    )


@torch.no_grad()
def without_networks(model, case, library, known, truth, tested):
    """Return errors (t, m) of what needs no network; `case` is on the CPU, as scipy is."""
    rows, share = cases.between(case, known, tested)
    near = torch.cdist(case.scaled(tested), case.scaled(known)).argmin(1)
    needed = torch.cat([rows, near[:, None]], 1).unique().to(DEVICE)
    rows, share, near = rows.to(DEVICE), share.to(DEVICE), near.to(DEVICE)
    held, scale = model.modes, model.deviation
    found = {}
    for i in range(len(truth)):
        lines = sum(library[i, rows[:, j]] * share[:, j, None, None, None] for j in range(rows.shape[1]))
        here = {
            "mean of the library": library[i].mean(0, keepdim=True),
            "mean of the runs at hand": library[i, needed].mean(0, keepdim=True),
            "nearest of the library": library[i, near],
            "between the nearest": lines,
            "modes alone": held.fields(held.coefficients(truth[i] / scale)) * scale,
        }
        for name, one in here.items():
            found.setdefault(name, []).append(apart(model, i, one, truth))
    return {name: torch.stack(e) for name, e in found.items()}


def summed(errors):
    """Return what is kept of errors (t, m)."""
    in_time = errors.square().mean(-1).sqrt().tolist()
    return {"rms": overall(errors), "mean": float(errors.mean()), "in time": [round(e, 6) for e in in_time]}


# ---------------------------------------------------------------- one system
def choose_planet(P, share):
    """Return the preset with as many rows as the time allows, by timing steps of all trajectories at once."""
    if P.size != "paper" or ARGS.planet_rows != "auto":
        rows = P.planet_size if ARGS.planet_rows == "auto" else int(ARGS.planet_rows)
        return preset("levda", P.size, planet_size=rows), {"rows": rows}
    told = {}
    for rows in (P.planet_size, P.planet_size // 2):
        system = PlanetThatDivides(rows, 2 * rows, device=DEVICE)
        members = P.planet_library + P.tested
        state = system.start(1, generator(0, "start")).expand(members, -1, -1, -1).contiguous()
        height, width = torch.full((members,), 10.0), torch.full((members,), 2.0)
        with torch.no_grad():
            system.trajectory(state, 3, 3, 0.0, height, width)
            start = clock()
            system.trajectory(state, 10, 10, 0.0, height, width)
        each, steps = (clock() - start) / 10, round(21 * 24 * HOUR / system.step)
        told |= {f"{rows} rows": {"ms a step of all": 1e3 * each, "steps": steps, "seconds in all": each * steps}}
        say(f"planet {rows} x {2 * rows}: {1e3 * each:.2f} ms a step of {members}; {steps} steps: {each * steps:.0f} s")
        if each * steps < 0.5 * share or rows != P.planet_size:
            return preset("levda", P.size, planet_size=rows), {"rows": rows, **told}


def system(name, P, out, deadline):
    """Do all for one system; deadline: time.time() at which it should be over."""
    share = deadline - time.time()
    out.data.pop(name, None)  # of a try that failed
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    start = clock()
    if name == "planet":
        P, told = choose_planet(P, share)
        out.put(name, grid_choice=told)
    case = benchmarks.case(name, P)
    on, solver, every = moved(case, P, DEVICE)
    what = "basin" if name == "tsunami" else name
    latent, count, library = (getattr(P, f"{what}_{x}") for x in ("latent", "modes", "library"))
    preset_steps = P.basin_stages if name == "tsunami" else P.stages
    seeds = list(range(P.surrogates))
    known = surrogates.library_parameters(case, library)
    tested = surrogates.library_parameters(case, P.tested, "test")
    begun = clock()
    runs = on.trajectories(torch.cat([known, tested]))  # (t, n + m, c, y, x)
    took_data = clock() - begun
    say(f"{name}: {' x '.join(map(str, case.shape))}, {len(runs)} times, {library} + {P.tested} runs of "
        f"{(len(runs) - 1) * every} steps in {took_data:.1f} s (set up: {begun - start:.1f} s); peak {peak():.1f} GiB")
    runs, truth = runs[:, :library], runs[:, library:]
    out.put(name, shape=list(case.shape), times=len(runs), library=library, tested=P.tested, latent=latent, modes=count,
            preset_steps=list(preset_steps), seconds_setup=begun - start, seconds_data=took_data,
            solver_step=solver.step, steps_of_solver=(len(runs) - 1) * every, size=P.size, published=PUBLISHED[name])

    begun = clock()
    model = surrogates.Surrogate(case, latent, count, P.dynamics, P.decoder, seeds).to(DEVICE)
    model.case = on
    with torch.no_grad():
        values = learn(model, runs, count).contiguous()
    took_modes = clock() - begun
    plain_errors = without_networks(model, case, runs, known, truth, tested)
    for what, e in plain_errors.items():
        say(f"{name}: {what:26} {overall(e):.5f}")
    out.put(name, seconds_modes=took_modes, left=float(model.left), core=list(model.core.shape),
            peak_gib_data=peak(), baselines={what: summed(e) for what, e in plain_errors.items()})
    say(f"{name}: {count} modes in {took_modes:.1f} s; core {tuple(model.core.shape)}; left {float(model.left):.2e}; "
        f"peak {peak():.1f} GiB")
    del runs

    net, rate, n_models = model.net, P.stage_rate, len(seeds)
    u, t = on.scaled(known.to(DEVICE)), len(case.times)
    moments = torch.linspace(-1, 1, t, device=DEVICE)
    join = lambda u: torch.cat([moments[None, :, None].expand(len(u), -1, 1), u[:, None].expand(-1, t, -1)], -1)
    when = join(u).flatten(0, 1)
    # Seconds a step, on copies.
    begun, each = clock(), {}
    spare = copy.deepcopy(net)
    spare_embedding = taught.Embedding(spare, [generator(s, "probe") for s in seeds]).to(DEVICE)
    table, teach = losses(spare, spare_embedding, when, u, values)
    teach(torch.randn(n_models, *values.shape[:2], latent, device=DEVICE))
    for stage, few in zip(STAGES, (40, 40, 8)):
        one = trainer(table, stage, n_models, 1e-5, 1e6).prepare()
        each[stage] = one.timed(few)
    how = one.how
    del spare, spare_embedding, table, one
    left = deadline - time.time()
    reserve = 1.0 + 0.06 * share
    needed = sum(s * each[stage] for s, stage in zip(preset_steps, STAGES))
    part = min(1.0, max(0.0, left - reserve) / needed)
    steps = [max(5, round(part * s)) for s in preset_steps]
    told = ", ".join(f"{stage} {s} x {1e3 * each[stage]:.3f} ms" for stage, s in zip(STAGES, steps))
    say(f"{name}: {told} ({how}); {part:.2f} of the preset's {sum(preset_steps)} steps (all: {needed:.0f} s); probed in "
        f"{clock() - begun:.1f} s")
    out.put(name, ms_a_step={k: 1e3 * v for k, v in each.items()}, how=how, share_of_preset=part, planned_steps=steps)

    begun = clock()
    end = time.perf_counter() + max(2.0, left - reserve)
    embedding = taught.Embedding(net, model.rng).to(DEVICE)
    table, teach = losses(net, embedding, when, u, values)
    made, seconds, curves, by_stage = {}, {}, {}, {}
    later = [sum(s * each[x] for s, x in list(zip(steps, STAGES))[i + 1 :]) for i in range(3)]
    for stage, some, rest in zip(STAGES, steps, later):
        if stage == "dynamics":
            with torch.no_grad():
                teach(embedding(when.expand(n_models, -1, -1)).unflatten(1, values.shape[:2]))
        held = copy.deepcopy(net.state_dict()) if stage == "joint" else None
        one = trainer(table, stage, n_models, rate, some)
        try:
            one.run(some, end - rest)
            made[stage], seconds[stage], curves[stage] = one.done, one.seconds, one.rows
        except FloatingPointError as error:
            if stage != "joint":
                raise
            say(f"{name}: the rollout of what was taught diverges ({error}); no polishing")
            net.load_state_dict(held)
            made[stage], seconds[stage], curves[stage] = 0, 0.0, one.rows or [[0, *[math.nan] * n_models]]
        del one, held
        with torch.no_grad():
            if stage == "embedding":
                path = embedding(join(on.scaled(tested.to(DEVICE))).flatten(0, 1).expand(n_models, -1, -1))
                path = path.unflatten(1, (len(tested), t)).transpose(1, 2)
            else:
                path = net.trajectory(on.scaled(tested.to(DEVICE)).expand(n_models, -1, -1))
        by_stage[f"after {stage}"] = [overall(e) for e in of_paths(model, path, truth)]
        say(f"{name}: {stage}: {made[stage]} steps in {seconds[stage]:.1f} s, losses "
            f"{[f'{x:.2e}' for x in curves[stage][-1][1:]]}, errors {[f'{x:.5f}' for x in by_stage[f'after {stage}']]}")
        out.put(name, steps=made, seconds_stages=seconds, curves=curves, errors_by_stage=by_stage)
    try:
        taught.refit(net, u, values)
    except Exception as error:
        say(f"{name}: no refit of the last layer: {error}")
    took = clock() - begun
    model.requires_grad_(False)
    with torch.no_grad():
        path = net.trajectory(on.scaled(tested.to(DEVICE)).expand(n_models, -1, -1))
        errors = of_paths(model, path, truth)
    out.put(name, errors=[summed(e) for e in errors], seconds_training=took, peak_gib=peak())
    # As shipped: half precision, by the package's own rounding; and by its own `trajectory`.
    rounded = None
    try:
        from latentkit.models import weights

        before = copy.deepcopy(model.state_dict())
        weights.round_to(model, 16)
        rounded = [overall(e) for e in of_paths(model, net.trajectory(on.scaled(tested.to(DEVICE)).expand(n_models, -1, -1)), truth)]
        for key, value in model.state_dict().items():
            value.copy_(before[key])
        del before
        whole = model.trajectory(tested.to(DEVICE), 0)  # the package's own way, for one seed
        own = torch.stack([apart(model, i, x, truth) for i, x in enumerate(whole)])
        del whole
        out.put(name, errors_in_16_bits=rounded, same_by_trajectory=abs(overall(own) / overall(errors[0]) - 1))
    except Exception:
        say(f"{name}: rounding or trajectory failed"), traceback.print_exc()
    one = lambda: net.trajectory(on.scaled(tested[:20].to(DEVICE)).expand(n_models, -1, -1))
    with torch.no_grad():
        one()
        start = clock()
        path = one()[0]
        latents = clock() - start
        model.fields(path[0])
        start = clock()
        model.fields(path[-1])
        out.put(name, ms_rollout_of_20=1e3 * latents, ms_fields_of_20=1e3 * (clock() - start))
    base = {what: overall(e) for what, e in plain_errors.items()}
    print(f"=== {name} {' x '.join(map(str, case.shape))} ({P.size}); {'+'.join(str(made[s]) for s in STAGES)} steps "
          f"({part:.2f} of the preset's); data {took_data:.1f} s, modes {took_modes:.1f} s, training {took:.1f} s; "
          f"peak {peak():.1f} GiB; published {PUBLISHED[name]}")
    for s, e in zip(seeds, errors):
        print(f"    seed {s}: error {overall(e):.5f} (mean {float(e.mean()):.5f}"
              + (f"; 16 bits {rounded[s]:.5f}" if rounded else "") + ")")
    print("    " + "; ".join(f"{what} {e:.5f}" for what, e in base.items()), flush=True)
    out.put(name, done=True, seconds_in_all=share - (deadline - time.time()))


# ---------------------------------------------------------------- the flow's solver
def time_flow(out, deadline):
    found = {}
    sizes = ((64, 20), (64, 400), (150, 120)) if DEVICE.type == "cuda" else ((32, 4), (64, 4))
    for size, members in sizes:
        if time.time() > deadline:
            break
        system = Kolmogorov(size, device=DEVICE)
        state = system.start(members, Generator().manual_seed(0))
        reynolds = torch.linspace(500, 1500, members, device=DEVICE)
        few, rounds = (20, 7) if DEVICE.type == "cuda" else (3, 3)
        with torch.no_grad():
            state = system.advance(state, 5, reynolds)
            taken = []
            for _ in range(rounds):
                start = clock()
                system.advance(state, few, reynolds)
                taken.append((clock() - start) / few)
            row = {"inner steps": system.inner, "ms a step": 1e3 * statistics.median(taken)}
            row["ms a member-step"] = row["ms a step"] / members
            if DEVICE.type == "cuda" and not ARGS.no_graphs:
                try:
                    half, push = system._linear(reynolds, members)
                    w = system._forth(state)
                    side = torch.cuda.Stream()
                    side.wait_stream(torch.cuda.current_stream())
                    with torch.cuda.stream(side):
                        for _ in range(3):
                            system._advance(w, half, push)
                    torch.cuda.current_stream().wait_stream(side)
                    graph = torch.cuda.CUDAGraph()
                    with torch.cuda.graph(graph):
                        now = w
                        for _ in range(system.inner):
                            now = system._advance(now, half, push)
                        w.copy_(now)
                    taken = []
                    for _ in range(rounds):
                        start = clock()
                        for _ in range(few):
                            graph.replay()
                        taken.append((clock() - start) / few)
                    row["ms a step, CUDA graph"] = 1e3 * statistics.median(taken)
                    row["ms a member-step, CUDA graph"] = row["ms a step, CUDA graph"] / members
                    finite = bool(torch.isfinite(system._back(w)).all())
                    same = system._forth(system.advance(system._back(system._forth(state)), few * rounds, reynolds))
                    row["graph beside eager"] = float((w - same).abs().norm() / same.abs().norm()) if finite else math.nan
                    del graph
                except Exception as error:
                    row["graph failed"] = f"{type(error).__name__}: {error}"[:300]
        found[f"{size} x {size}, {members}"] = row
        say(f"flow {size} x {size}, {members} members:", {k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()})
        out.put("flow_step", **found)


# ---------------------------------------------------------------- what runs on CUDA as it is
def checks(out, deadline):
    """Call the package with CUDA tensors or device="cuda", and write down what happens."""
    from latentkit.models import ldnet, train

    few = preset("levda", "quick")
    found = {}

    def tried(name, call):
        if time.time() > deadline:
            return
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                got = call()
            sync()
            found[name] = "runs" if got is None else f"runs: {got}"
        except Exception as error:
            found[name] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
        say("check:", name, "->", found[name])
        out.put("checks", **found)

    def beside(a, b):
        return f"{float((a.cpu() - b).norm() / b.norm()):.2e} beside the CPU"

    def flow_agrees():
        a, b = Kolmogorov(64, device=DEVICE), Kolmogorov(64)
        x = b.start(4, Generator().manual_seed(0))
        return beside(a.advance(a.start(4, Generator().manual_seed(0)), 50, 1000.0), b.advance(x, 50, 1000.0))

    def tsunami_agrees():
        at = torch.tensor([[0.2, 0.3], [0.4, 0.1]])
        a, b = Tsunami(64, device=DEVICE), Tsunami(64)
        return beside(a.advance(a.start(at), 200), b.advance(b.start(at), 200))

    def planet_agrees():
        a, b = Planet(32, 64, device=DEVICE), Planet(32, 64)
        start = [p.start(2, Generator().manual_seed(0)) for p in (a, b)]
        return beside(a.advance(start[0], 48, 0.0, 10.0, 2.0), b.advance(start[1], 48, 0.0, 10.0, 2.0))

    def stack(device, outputs=12, count=16):
        rng = [generator(s, "init") for s in range(3)]
        net = ldnet.LDNet(4, 2, (32,), ldnet.Coefficients(4, count, (32,), rng), outputs, rng).to(device)
        u, values = torch.rand(8, 2) * 2 - 1, torch.randn(8, outputs, count)
        return taught.train(net, u.to(device), values.to(device), steps=(40, 40, 10), batches=(64, 64, 4),
                            learning_rate=1e-3, seeds=[0, 1, 2], rng=rng, progress=False)

    def own_speed(stage):
        """Seconds a step of the package's own training at the paper's sizes of the tsunami, all on the CPU as it wants."""
        P = preset("levda", "paper" if DEVICE.type == "cuda" else "quick")
        rng = [generator(s, "init") for s in range(3)]
        n, t, v = P.basin_library, 51, P.basin_modes
        net = ldnet.LDNet(P.basin_latent, 2, P.dynamics, ldnet.Coefficients(P.basin_latent, v, P.decoder, rng), t, rng)
        steps = [0, 0, 0]
        steps[stage] = (60, 60, 12)[stage]
        history = taught.train(net, torch.rand(n, 2) * 2 - 1, torch.randn(n, t, v), steps=steps, batches=(512, 512, 16),
                               learning_rate=1e-3, seeds=[0, 1, 2], rng=rng, progress=False)
        return f"{1e3 * history.seconds / steps[stage]:.2f} ms a step of {STAGES[stage]}, start included"

    def default_device(call):
        torch.set_default_device(DEVICE)
        try:
            call()
        finally:
            torch.set_default_device("cpu")

    case = benchmarks.case("tsunami", few)
    on = moved(case, few, DEVICE)[0]
    tried("Kolmogorov(device=)", flow_agrees)
    tried("Tsunami(device=)", tsunami_agrees)
    tried("Planet(device=)", planet_agrees)
    tried("cases.planet(256), the paper's", lambda: plain_planet())
    tried("cases.flow under a default device", lambda: default_device(lambda: cases.flow(32, generator(0, "start"))))
    two = case.draw(2, Generator().manual_seed(0)).to(DEVICE)
    tried("cases.tsunami(...).trajectories of CUDA parameters", lambda: str(case.trajectories(two).device))
    flow = benchmarks.case("flow", few)
    tried("cases.flow(...).trajectories of CUDA parameters", lambda: str(flow.trajectories(two[:, :1] + 900).device))
    tried("Case.scaled of CUDA parameters", lambda: str(case.scaled(torch.rand(2, 2, device=DEVICE)).device))
    tried("Case.draw, ranges on CUDA", lambda: str(on.draw(2, Generator().manual_seed(0)).device))
    tried("modes.find of CUDA snapshots", lambda: str(package_modes.find(
        torch.randn(40, 2, 16, 16, device=DEVICE), 8, torch.ones(2, 1, 1, device=DEVICE), 0).core.device))
    tried("taught.train, all on the CPU, card present", lambda: str(type(stack("cpu")).__name__))
    tried("taught.train, all on CUDA", lambda: str(type(stack(DEVICE)).__name__))
    for i in range(3):
        tried(f"package's own fit, {STAGES[i]}", lambda i=i: own_speed(i))

    def whole():
        model = surrogates.Surrogate(case, 4, 24, (32,), (32,), [0, 1, 2])
        u = surrogates.library_parameters(case, 16)
        model.learn_modes(case.trajectories(u), 24)
        model.to(DEVICE)
        return str(model.trajectory(u[:2].to(DEVICE)).device)

    tried("Surrogate.to(cuda).trajectory", whole)

    def looks():
        model = surrogates.Surrogate(case, 4, 24, (32,), (32,), [0])
        u = surrogates.library_parameters(case, 16)
        model.learn_modes(case.trajectories(u), 24)
        model.to(DEVICE)
        model.case = on
        look = model.look(benchmarks.network(case, few))
        return str(look(torch.randn(3, 4, device=DEVICE)).device)

    tried("Surrogate.look, case moved by hand", looks)
    tried("fit of a model on CUDA, batches of Shuffled on CUDA", lambda: fit_on_cuda(train))


def plain_planet():
    held, cases.Planet = cases.Planet, planet_module.Planet
    try:
        return str(cases.planet(256, generator(0, "start")).shape)
    finally:
        cases.Planet = held


def fit_on_cuda(train):
    from latentkit.models.nets import MLP

    class Small(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = MLP([2, 8, 1], [generator(s, "init") for s in range(3)])

        def loss(self, batch, step, rng):
            error = (self.net(batch[0]) - batch[1]).square().mean((1, 2))
            return error, {"error": error}

    data = [torch.randn(64, 2, device=DEVICE), torch.randn(64, 1, device=DEVICE)]
    train.fit(Small().to(DEVICE), train.Shuffled(data, 16, [0, 1, 2], [False, False]), steps=20, seeds=[0, 1, 2],
              learning_rate=1e-3, progress=False)


# ---------------------------------------------------------------- all of it
def again(rest, no_graphs=False, rows=None):
    """Go on with the rest in a fresh process, in place of this one."""
    words = [sys.executable, os.path.abspath(__file__), "--size", ARGS.size, "--device", ARGS.device, "--out", ARGS.out,
             "--shares", ARGS.shares, "--planet-rows", rows or ARGS.planet_rows, "--budget", str(ARGS.budget),
             "--born", str(ARGS.born), "--parts", ",".join(rest)]
    if ARGS.no_graphs or no_graphs:
        words.append("--no-graphs")
    sys.stdout.flush(), sys.stderr.flush()
    signal.alarm(0)
    os.execv(sys.executable, words)


def late(*_):
    raise TimeoutError("past its share of the time")


def main():
    out = Out(ARGS.out)
    parts = [p for p in ARGS.parts.split(",") if p]
    end = ARGS.born + ARGS.budget
    shares = dict(zip(("tsunami", "flow", "planet"), map(float, ARGS.shares.split(","))))
    about = {"torch": torch.__version__, "budget": ARGS.budget, "size": ARGS.size, "threads": torch.get_num_threads(),
             "device": torch.cuda.get_device_name() if DEVICE.type == "cuda" else "CPU"}
    out.put("about", **about)
    say(about, parts, "graphs" if not ARGS.no_graphs else "no graphs")
    signal.signal(signal.SIGALRM, late)
    small = {"timings": min(12.0, 0.06 * ARGS.budget), "checks": min(20.0, 0.08 * ARGS.budget)}
    while parts:
        name, rest = parts[0], parts[1:]
        now = time.time()
        if name in shares:
            free = end - now - 2 - sum(small[p] for p in rest if p in small)
            mine = free * shares[name] / sum(shares[p] for p in parts if p in shares)
        else:
            mine = min(small[name], end - now - 1)
        if mine < 2:
            say(f"{name}: no time left")
            out.put(name, skipped="no time left")
            parts = rest
            continue
        try:
            say(f"--- {name}: {mine:.0f} s")
            room = min(mine * 1.15 + 5, end - now - 0.5) if name in shares else min(mine * 1.5 + 2, end - now - 0.5)
            signal.alarm(max(1, int(room)))
            if name == "timings":
                time_flow(out, now + mine)
            elif name == "checks":
                checks(out, now + mine)
            else:
                system(name, preset("levda", ARGS.size), out, now + mine)
            signal.alarm(0)
        except Exception as error:
            signal.alarm(0)
            text = traceback.format_exc()
            print(text, flush=True)
            out.put(name, failed=text[-3000:])
            if name in shares and DEVICE.type == "cuda" and end - time.time() > 30:
                if isinstance(error, torch.cuda.OutOfMemoryError):
                    if name == "planet" and ARGS.planet_rows == "auto":
                        again([name, *rest], rows="128")
                elif not ARGS.no_graphs and not isinstance(error, TimeoutError):
                    again([name, *rest], no_graphs=True)
            if rest:
                again(rest)
        parts = rest
        if DEVICE.type == "cuda":
            torch.cuda.empty_cache()
    say("written:", out.path)
    for name in shares:
        d = out.data.get(name, {})
        if "errors" in d:
            print(f"{name:8} {d['shape']} errors {[round(e['rms'], 5) for e in d['errors']]} modes alone "
                  f"{d['baselines']['modes alone']['rms']:.5f} mean {d['baselines']['mean of the library']['rms']:.4f} "
                  f"nearest {d['baselines']['nearest of the library']['rms']:.5f} between "
                  f"{d['baselines']['between the nearest']['rms']:.5f} published {d['published']}; steps {d['steps']}; "
                  f"data {d['seconds_data']:.1f} s, training {d['seconds_training']:.1f} s, peak {d['peak_gib']:.1f} GiB")
        else:
            print(f"{name:8} not done: {d.get('skipped') or d.get('failed', 'not begun')[-200:]}")
    sys.stdout.flush()


if __name__ == "__main__":
    read = argparse.ArgumentParser()
    read.add_argument("--budget", type=float, default=270, help="seconds in all")
    read.add_argument("--shares", default="100,80,90", help="of tsunami, flow, planet")
    read.add_argument("--size", default="paper", choices=("quick", "teaching", "paper"))
    read.add_argument("--device", default="auto")
    read.add_argument("--planet-rows", default="auto", help="auto: 256 if its data take less than half its share, else 128")
    read.add_argument("--parts", default="timings,tsunami,flow,planet,checks")
    read.add_argument("--no-graphs", action="store_true")
    read.add_argument("--out", default=os.environ.get("OUT", "."))
    read.add_argument("--born", type=float, default=BORN)
    ARGS = read.parse_args()
    DEVICE = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if ARGS.device == "auto" else ARGS.device)
    try:
        torch.set_float32_matmul_precision("highest")  # no TF32
        torch.backends.cudnn.allow_tf32 = False
    except Exception as error:
        print("precision:", error)
    torch.manual_seed(0)
    warnings.filterwarnings("ignore", message=".*capturable.*")
    main()
