"""Many runs of one notebook on a Dask cluster, into one table with one row a run.

A run is known by its content: the notebook's inputs and every parameter. Workers send back what a run made and this
side writes it, so a cluster needs no disk in common; what is written is whole or absent. A killed worker's run is
given to another; a finished one is never run twice.
"""

import json
import os
import signal
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distributed import Client, LocalCluster, WorkerPlugin, as_completed

from latentkit import catalog, provenance
from latentkit.catalog import BadRequest, Notebook
from latentkit.grid import Point, named
from latentkit.results import Table

ONE_RUN = threading.Lock()


class LeaveInterrupts(WorkerPlugin):
    """Leave Ctrl-C, which reaches every process of the terminal, to the one that ends the sweep in order."""

    name = "leave-interrupts"

    def setup(self, worker):
        """Ignore SIGINT in a worker process."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def sweep(
    notebook: Notebook,
    points: list[Point],
    table: Table,
    *,
    workers: int = 2,
    scheduler: str | None = None,
    retries: int = 0,
    timeout: float | None = None,
) -> int:
    """Run what is not finished yet and keep the table up to date; return how many runs failed.

    workers: processes on this machine, or, with scheduler, "tcp://host:port", those of that cluster; retries: more
    tries for a run that fails (one whose worker dies is given to others in any case); timeout: of a cell [s].
    """
    waiting = [point for point in points if not table.finished(point)]
    print(f"{len(points)} runs of {notebook.name}: {len(points) - len(waiting)} finished before, {len(waiting)} to do")
    table.write()
    if not waiting:
        return 0
    source = _without_outputs(notebook)
    failed = done = 0
    with _client(min(workers, len(waiting)), scheduler) as client, _interrupts() as stopped:
        tries = dict.fromkeys((point.key for point in waiting), retries)
        batch = uuid.uuid4().hex[:8]

        def submit(point: Point):
            name = f"{notebook.name}-{point.key}-{batch}-{tries[point.key]}"
            arguments = (notebook.name, source, point.values, point.inputs, timeout)
            return client.submit(work, *arguments, key=name, pure=False)

        futures = {submit(point): point for point in waiting}
        ended = as_completed(futures)
        try:
            for future in ended:
                point = futures.pop(future)
                result, files = _collect(notebook, future)
                if result["status"] == "failed" and tries[point.key] > 0:
                    tries[point.key] -= 1
                    again = submit(point)
                    futures[again] = point
                    ended.add(again)
                    continue
                table.keep(point, result, files)
                done += 1
                failed += result["status"] == "failed"
                _tell(f"[{done}/{len(waiting)}] {named(point)}", result, table.home(point) / notebook.path.name)
                if stopped:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            table.write()
            print(f"\nstopped: {done} of {len(waiting)} runs are in {table.path.name}; say the same again to go on")
            client.cancel(list(futures), force=True)
            raise
    return failed


@contextmanager
def _interrupts() -> Iterator[list]:
    """Yield a list that Ctrl-C fills: the exception alone is lost where it strikes inside a callback of Dask's."""
    stopped, before = [], signal.getsignal(signal.SIGINT)

    def stop(*_):
        stopped.append(True)
        raise KeyboardInterrupt

    ours = threading.current_thread() is threading.main_thread() and before not in (signal.SIG_IGN, None)
    if ours:
        signal.signal(signal.SIGINT, stop)
    try:
        yield stopped
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)


def work(name: str, source: str, values: dict, inputs: str | None, timeout: float | None) -> tuple[dict, dict]:
    """Run a notebook on a worker and return its result and files; a failing notebook is a result too.

    name, source: the notebook and its text; inputs: the key over code, presets and archive it should meet here.

    Raises RuntimeError where this worker has another latentkit.
    """
    from latentkit.execute import temporary_run

    # One run at a time in a process: the project's folder is the process's own, and so is its environment.
    with ONE_RUN, _notebook_here(name, source) as (notebook, environment):
        size = str(values.get("SIZE", notebook.parameters.get("SIZE", "")))
        found = provenance.inputs_key(name, size)
        if found != inputs:
            raise RuntimeError("this worker's latentkit or archive differs from the sender's; bring it up to date")
        outcome, files = temporary_run(notebook, values, environment=environment, timeout=timeout)
    result = {
        "status": "failed" if outcome.error else "done",
        "seconds": round(outcome.seconds, 1),
        "error": outcome.error,
        "records": outcome.records,
    }
    return result, files


@contextmanager
def _client(workers: int, scheduler: str | None) -> Iterator:
    """Yield a Dask client of a cluster on this machine, or of the one at an address."""
    if scheduler:
        try:
            client = Client(scheduler, timeout="20s")
        except (OSError, ValueError, TypeError) as error:
            raise BadRequest(
                f"no Dask scheduler answers at {scheduler!r} ({error}); expected tcp://host:port"
            ) from error
        with client:
            yield client
        return
    # The kernels are the workers' children, whose memory Dask does not count: no limit that would mean anything.
    # Any free port for the status pages, and on this machine only.
    options = {"processes": True, "memory_limit": None, "silence_logs": 50, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=workers, threads_per_worker=1, **options) as cluster, Client(cluster) as client:
        client.register_plugin(LeaveInterrupts())
        yield client


def _collect(notebook: Notebook, future) -> tuple[dict, dict]:
    error = future.exception()
    if error is None:
        result, files = future.result()
    else:
        told = f"{notebook.name} did not run: {type(error).__name__}: {error}"
        result, files = {"status": "failed", "seconds": None, "error": told, "records": {}}, {}
    future.release()
    return result, files


@contextmanager
def _notebook_here(name: str, source: str) -> Iterator[tuple[Notebook, dict]]:
    """Yield the notebook in this machine's checkout if it is the same, else a copy in a project folder of its own."""
    try:
        path = provenance.project_root() / "notebooks" / f"{name}.ipynb"
        same = path.is_file() and provenance.code_cells(path) == _code(source)
    except (OSError, ValueError):
        same = False
    if same:
        yield catalog.read(path), {}
        return
    before = os.environ.get("LATENTKIT_ROOT")
    with tempfile.TemporaryDirectory(prefix="latentkit-") as folder:
        path = Path(folder) / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir()
        path.write_text(source, encoding="utf-8")
        os.environ["LATENTKIT_ROOT"] = folder
        try:
            yield catalog.read(path), {"LATENTKIT_ROOT": folder}
        finally:
            os.environ.pop("LATENTKIT_ROOT")
            if before is not None:
                os.environ["LATENTKIT_ROOT"] = before


def _tell(head: str, result: dict, copy: Path) -> None:
    if result["status"] == "done":
        told = ", ".join(f"{count} {verdict}" for verdict, count in catalog.verdicts(result["records"]).items())
        print(f"{head}: {result['seconds']:.0f} s; claims {told}", flush=True)
    else:
        where = f"\nexecuted copy: {os.path.relpath(copy)}" if copy.exists() else ""
        print(f"{head}: FAILED: {result['error']}{where}", flush=True)


def _code(source: str) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(source)["cells"] if cell["cell_type"] == "code"]


def _without_outputs(notebook: Notebook) -> str:
    content = json.loads(notebook.path.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    return json.dumps(content)
