"""Long runs in pieces that outlive an interruption.

The model itself comes as a class, the stepper (`climate_model.Speedy`; a test brings a small one of its own):

    identity() -> dict           what numbers depend on: the recipe and the versions; raises where the model is missing
    lat (y), lon (x) [degrees]   ascending; level (l) [1]: sigma at the middle of the layers, from the top
    start(member) -> state       a dict of arrays
    advance(state, days) -> state, fields    fields by name, daily means float32 (day, y, x), ta (day, l, y, x)

In the folder `pieces` of a build, pieces/member_00/0003.npz holds the days of the fourth piece and 0003.state.npz the
state it ends with. The state is put in place first and the days last, each whole or not at all, so a piece counts
once its days are there; the state before it is then removed.
"""

import json
import os
import sys
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from latentkit.atomic import replacing

PIECE = 30  # days
SPINUP_ENDS = np.datetime64("1979-01-01")
SURFACE = ("tas", "psl", "pr", "rlut", "rsds")


def start_date(member: int) -> np.datetime64:
    """Return the day a member starts from rest: 1978-07-01 plus 5 days a member."""
    return np.datetime64("1978-07-01") + 5 * member


@dataclass(frozen=True)
class Plan:
    """Hold what a build covers: members, and either the first days of each run or whole years from 1979."""

    members: int
    days: int | None
    years: int | None
    processes: int = 1

    def __post_init__(self):
        for name in ("members", "days", "years", "processes"):
            value = getattr(self, name)
            sound = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            if not sound and not (value is None and name in ("days", "years")):
                raise ValueError(f"{name}={value!r}: a whole number of at least 1 was expected")
        if (self.days is None) == (self.years is None):
            raise ValueError(f"days={self.days}, years={self.years}: give the length as one of the two, days from each "
                             "run's start or years from 1979")
        if self.members > 37:
            raise ValueError(f"members={self.members}: the last would start on {start_date(self.members - 1)}, after "
                             "the archive's first day; ask for at most 37")
        last = self.end(self.members - 1) - 1
        if last > np.datetime64("1995-12-31"):
            raise ValueError(f"the last day would be {last}, but the forcing ends on 1995-12-31; ask for at most 17 "
                             "years, or fewer days")

    def end(self, member: int) -> np.datetime64:
        """Return the first day after the run of a member."""
        if self.years is not None:
            return np.datetime64(f"{1979 + self.years}-01-01")
        return start_date(member) + self.days

    def pieces(self, member: int) -> int:
        """Return how many pieces the run of a member takes."""
        return -int((start_date(member) - self.end(member)).astype(int) // PIECE)


def run(out: Path, plan: Plan, stepper, progress: bool) -> None:
    """Run every member's missing pieces, whole or not at all, on from the last whole one.

    out: a folder that is new, empty, or holds a build of the same recipe.

    Raises ValueError where it holds anything else; RuntimeError where the model yields values that are not finite.
    """
    identity = stepper.identity()
    _claim(out, identity)
    total = sum(plan.pieces(m) for m in range(plan.members))
    told = _Progress(total, whole(out, plan), progress)
    if told.done == total:
        told.say(f"all {total} pieces of {PIECE} days are there already")
        return
    told.say(f"{plan.members} members, {total} pieces of {PIECE} days, {told.done} of them whole; all will take about "
             f"{_bytes_of(plan) / 1e6:.0f} MB in {out / 'pieces'}, which may be removed once the files are written. "
             "Compiling the model takes about a minute")
    missing = {m: range(_count(folder(out, m)), plan.pieces(m)) for m in range(plan.members)}
    if plan.processes == 1:
        for member, numbers in missing.items():
            for k in numbers:
                _piece(out, member, k, stepper)
                told.step()
        return
    context = get_context("spawn")  # a process forked from one with threads may lock up
    with ProcessPoolExecutor(min(plan.processes, plan.members), mp_context=context) as pool:
        left = {m: iter(numbers) for m, numbers in missing.items()}
        running = {}

        def go_on(member: int) -> None:  # a member's pieces follow one another
            if (k := next(left[member], None)) is not None:
                running[pool.submit(_piece, out, member, k, stepper)] = member

        for member in left:
            go_on(member)
        while running:
            for job in wait(running, return_when=FIRST_COMPLETED).done:
                member = running.pop(job)
                job.result()
                told.step()
                go_on(member)


def whole(out: Path, plan: Plan) -> int:
    """Return how many pieces of a plan are there."""
    return sum(min(_count(folder(out, m)), plan.pieces(m)) for m in range(plan.members))


def series(out: Path, member: int, name: str, first, last) -> np.ndarray:
    """Return a variable's daily means (day, ...) of one member from day `first` up to, without, day `last`."""
    begin, end = ((np.datetime64(d) - start_date(member)).astype(int) for d in (first, last))
    parts = []
    for k in range(begin // PIECE, -(-end // PIECE)):
        with np.load(folder(out, member) / f"{k:04d}.npz") as piece:
            parts.append(piece[name][max(begin - k * PIECE, 0) : end - k * PIECE])
    return np.concatenate(parts)


@cache
def _model(stepper):
    """Build the model once a process: compiling takes longer than a piece."""
    return stepper()


def _piece(out: Path, member: int, k: int, stepper) -> None:
    """Run one piece of a member, on from the state the one before ends with."""
    home, model = folder(out, member), _model(stepper)
    if k:
        with np.load(home / f"{k - 1:04d}.state.npz") as stored:
            state = {name: stored[name] for name in stored.files}
    else:
        home.mkdir(parents=True, exist_ok=True)
        state = model.start(member)
    state, fields = model.advance(state, PIECE)
    for name, values in fields.items():
        if not np.isfinite(values).all():
            raise RuntimeError(f"member {member}: {name} is not finite in the {PIECE} days from "
                               f"{start_date(member) + k * PIECE}; nothing of this piece is kept, the ones before are "
                               "sound. The tried versions do not do this: hold yours against recipe.json")
    kept = fields if member == 0 else {name: fields[name] for name in SURFACE}  # columns of one member only
    _save(home / f"{k:04d}.state.npz", state)
    _save(home / f"{k:04d}.npz", kept | {"lat": model.lat, "lon": model.lon, "level": model.level})
    if k:
        (home / f"{k - 1:04d}.state.npz").unlink(missing_ok=True)


def _claim(out: Path, identity: dict) -> None:
    """Make the folder this recipe's, or see that it is."""
    card = out / "recipe.json"
    if not card.is_file():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ValueError(f"{out} is no folder of a build (it holds no recipe.json) and is not empty; "
                             "choose a new folder")
        out.mkdir(parents=True, exist_ok=True)
        with replacing(card) as part:
            part.write_text(json.dumps(identity, indent=1) + "\n", encoding="utf-8")
        return
    found = json.loads(card.read_text(encoding="utf-8"))
    other = [f"{key}: {found.get(key)!r} there, {identity.get(key)!r} here"
             for key in sorted(found.keys() | identity.keys()) if found.get(key) != identity.get(key)]
    if other:
        raise ValueError(f"{out} holds pieces of another recipe ({'; '.join(other)}); going on would mix the two: "
                         "choose a new folder, or use the versions named there")


def folder(out: Path, member: int) -> Path:
    """Return where the pieces of a member lie."""
    return out / "pieces" / f"member_{member:02d}"


def _count(home: Path) -> int:
    """Return how many pieces of a member are whole, from the first on without a gap."""
    k = 0
    while (home / f"{k:04d}.npz").is_file():
        k += 1
    return k


def _save(path: Path, arrays: dict) -> None:
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())


def _bytes_of(plan: Plan) -> int:
    days = [plan.pieces(m) * PIECE for m in range(plan.members)]
    return 4 * 32 * 64 * (len(SURFACE) * sum(days) + 8 * days[0]) + 2_000_000 * plan.members  # a state takes 1.8 MB


class _Progress:
    """Say how many pieces are whole: a bar on a terminal, a line every half minute in a log."""

    def __init__(self, total: int, done: int, shown: bool):
        self.total, self.done, self.shown = total, done, shown
        self.began, self.initial, self.spoke = time.monotonic(), done, time.monotonic()
        terminal = sys.stderr.isatty()
        self.bar = tqdm(total=total, initial=done, unit="piece", file=sys.stderr, disable=not (shown and terminal))
        self.lines = shown and not terminal

    def say(self, text: str) -> None:
        """Print a sentence."""
        if self.shown:
            tqdm.write(text, file=sys.stderr)

    def step(self) -> None:
        """Count one more piece."""
        self.done += 1
        self.bar.update()
        now = time.monotonic()
        if self.lines and (self.done == self.total or now - self.spoke > 30):
            self.spoke = now
            print(tqdm.format_meter(self.done, self.total, now - self.began, unit="piece", initial=self.initial,
                                    ncols=100, ascii=True), file=sys.stderr, flush=True)
        if self.done == self.total:
            self.bar.close()
