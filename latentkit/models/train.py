"""The one training loop.

A model owns `loss(batch, step, rng) -> (total, parts)`: total (s) is one loss a model of the stack, parts a dict of
tensors (s), rng one generator a model for the step. `fit` minimizes the sum over the stack; since no model's loss
depends on another's weights, this equals training each alone.

Order of samples and noise are functions of (seed, epoch) and (seed, step) only, so a training resumed from a
checkpoint goes on to the same numbers as one that was never killed.
"""

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor, nn
from tqdm.auto import tqdm

from latentkit.atomic import replacing


class DivergedError(RuntimeError):
    """Say that a loss or gradient was not finite, at which step, and which parts were."""


@dataclass
class History:
    """Hold the course of a training: `values[part]` is an array (rows, s), each row a mean over `every` steps.

    seconds: of training in all.
    """

    values: dict[str, np.ndarray] = field(default_factory=dict)
    every: int = 1
    seconds: float = 0.0

    def add(self, means: dict[str, np.ndarray]) -> None:
        """Append one row of means, each (s)."""
        for name, mean in means.items():
            row = np.asarray(mean, dtype=np.float32)[None]
            self.values[name] = np.concatenate([self.values[name], row]) if name in self.values else row


class Shuffled:
    """Serve random batches of tensors, each model of a stack in an order of its own, without a shuffled copy.

    tensors: each (n, ...), shared by all models, or (s, n, ...); size: samples a batch; seeds: one a model.
    A call with a step returns tensors (s, b, ...); the last batch of an epoch may be smaller.
    """

    def __init__(self, tensors: Sequence[Tensor], size: int, seeds: Sequence[int], stacked: Sequence[bool]):
        counts = {t.shape[1] if own else t.shape[0] for t, own in zip(tensors, stacked, strict=True)}
        if len(counts) != 1:
            raise ValueError(f"tensors of one data set have one number of samples; found {sorted(counts)}")
        for t, own in zip(tensors, stacked, strict=True):
            if own and t.shape[0] != len(seeds):
                raise ValueError(f"a stacked tensor has {t.shape[0]} models, but there are {len(seeds)} seeds")
        self.count = counts.pop()
        self.tensors, self.stacked, self.seeds = list(tensors), list(stacked), list(seeds)
        self.size = min(size, self.count)
        self.steps = math.ceil(self.count / self.size)  # a pass over the data
        self._epoch, self._order = -1, None

    def __call__(self, step: int) -> list[Tensor]:
        epoch, place = divmod(step, self.steps)
        if epoch != self._epoch:
            device = self.tensors[0].device
            orders = [torch.randperm(self.count, generator=generator(s, "order", epoch)) for s in self.seeds]
            self._epoch, self._order = epoch, torch.stack(orders).to(device)
        take = self._order[:, place * self.size : (place + 1) * self.size]  # (s, b)
        model = torch.arange(len(self.seeds), device=take.device)[:, None]
        return [t[model, take] if own else t[take] for t, own in zip(self.tensors, self.stacked, strict=True)]


def generator(seed: int, *words: str | int) -> Generator:
    """Return a CPU generator that depends on the seed and the words alone."""
    entropy = [seed, *(int.from_bytes(w.encode(), "big") if isinstance(w, str) else w for w in words)]
    state = np.random.SeedSequence(entropy).generate_state(1, np.uint64)
    return Generator().manual_seed(int(state[0] >> np.uint64(1)))


def fit(
    model: nn.Module,
    batches: Callable[[int], Sequence[Tensor]],
    *,
    steps: int,
    seeds: Sequence[int],
    learning_rate: float,
    warmup: float = 0.02,
    weight_decay: float = 0.0,
    clip: float = math.inf,
    checkpoint: Path | None = None,
    every: float = 30.0,
    device: str | None = None,
    progress: bool = True,
) -> History:
    """Fit a model, or a stack of models, by AdamW under a cosine schedule with a short warm-up.

    model: owns `loss(batch, step, rng)`; parameters have the stack's axis s first
    batches: a batch by step, such as `Shuffled`
    steps: of the optimizer, in all; a number of passes p is p * batches.steps
    seeds: one a model; the step's generators grow from them
    clip: largest gradient norm of each model on its own
    checkpoint: file of this training, data and all (`weights.obtain` names one), kept about every `every` [s] and at
        the end; a run that finds it goes on from there, and one that finds it finished returns at once
    device: to train on, by default a CUDA card where there is one; the model comes back to where it was
    progress: a bar on stderr (off also by TQDM_DISABLE=1)

    Returns the history, in at most 100 rows. Raises DivergedError, with the parts, where a loss is not finite, and
    ValueError for a checkpoint of another training.
    """
    home = next(model.parameters()).device
    device = device or ("cuda" if torch.cuda.is_available() else home)
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)
    rise = max(1, round(warmup * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda i: min((i + 1) / rise, 0.5 * (1 + math.cos(math.pi * max(0, i - rise) / max(1, steps - rise)))),
    )
    shapes = [list(p.shape) for p in model.parameters()]
    recipe = [
        shapes,
        getattr(batches, "size", None),
        getattr(batches, "count", None),
        steps,
        learning_rate,
        warmup,
        weight_decay,
        clip,
        *map(int, seeds),
    ]
    history, start, sums = _resume(checkpoint, model, optimizer, schedule, recipe)
    history.every = max(1, math.ceil(steps / 100))
    began = saved = time.perf_counter()
    before = history.seconds
    quiet = not progress or os.environ.get("TQDM_DISABLE", "0") not in ("", "0")
    bar = tqdm(total=steps, initial=start, disable=quiet or None, mininterval=1.0, unit="step")
    model.train()
    for step in range(start, steps):
        rng = [generator(s, "step", step) for s in seeds]
        optimizer.zero_grad(set_to_none=True)
        total, parts = model.loss([t.to(device, non_blocking=True) for t in batches(step)], step, rng)
        total.sum().backward()
        norms = _clip(model.parameters(), clip)
        if not (torch.isfinite(total).all() and torch.isfinite(norms).all()):
            shown = {k: v.detach().tolist() for k, v in {"total": total, **parts, "gradient norm": norms}.items()}
            raise DivergedError(f"training diverged at step {step} of {steps}: {shown}; lower the learning rate")
        optimizer.step()
        schedule.step()
        for name, value in {"total": total, **parts}.items():
            sums[name] = sums.get(name, 0) + value.detach()
        bar.update()
        if (step + 1) % history.every == 0:
            history.add({name: (value / history.every).cpu().numpy() for name, value in sums.items()})
            sums = {}
            bar.set_postfix_str(f"loss {history.values['total'][-1].mean():.3g}", refresh=False)
        now = time.perf_counter()
        history.seconds = before + now - began
        if checkpoint and (now - saved > every or step + 1 == steps):
            _keep(checkpoint, model, optimizer, schedule, recipe, history, step + 1, sums)
            saved = now
    bar.close()
    model.to(home).eval()
    return history


def _clip(parameters, largest: float) -> Tensor:
    """Scale each model's gradient to the norm `largest` at most; return the norms (s) found."""
    grads = [p.grad for p in parameters if p.grad is not None]
    norms = torch.stack([g.reshape(len(g), -1).square().sum(1) for g in grads]).sum(0).sqrt()  # (s)
    if math.isfinite(largest):
        scale = (largest / norms.clamp_min(1e-12)).clamp_max(1.0)
        for g in grads:
            g.mul_(scale.view(-1, *[1] * (g.ndim - 1)))
    return norms


def _keep(path, model, optimizer, schedule, recipe, history, step, sums) -> None:
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "recipe": recipe,
        "values": {k: torch.from_numpy(v) for k, v in history.values.items()},
        "seconds": history.seconds,
        "step": step,
        "sums": sums,
    }
    with replacing(Path(path)) as part:
        torch.save(state, part)


def _resume(path, model, optimizer, schedule, recipe) -> tuple[History, int, dict]:
    if path is None or not Path(path).exists():
        return History(), 0, {}
    state = torch.load(path, weights_only=True, map_location="cpu")
    if state["recipe"] != recipe:
        raise ValueError(
            f"checkpoint {Path(path).name} belongs to another training (its shapes, batches, steps, rates and seeds "
            f"{state['recipe']}, these {recipe}); remove it or name another"
        )
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    values = {k: v.numpy() for k, v in state["values"].items()}
    sums = {k: v.to(next(model.parameters()).device) for k, v in state["sums"].items()}
    return History(values, seconds=state["seconds"]), state["step"], sums
