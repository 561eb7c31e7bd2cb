"""Runs a study to its end: tasks, Ray, Ray Tune's loop, and what is left when it is over."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from slasearch.config.locations import Locations
from slasearch.config.schema import StudyConfig
from slasearch.errors import ClusterError
from slasearch.orchestrate.cluster import cluster, remove_on_all_nodes
from slasearch.orchestrate.desk import RENEW_SECONDS, RunEnded, TrialDesk, idle_study
from slasearch.orchestrate.interrupts import Interrupts
from slasearch.orchestrate.local_ray import RUNS, environment, local_ray, require_token
from slasearch.orchestrate.progress import ProgressPrinter
from slasearch.orchestrate.versions import installed
from slasearch.records import TaskData
from slasearch.registry import extension_modules
from slasearch.search.study import StudySession, StudySummary
from slasearch.storage.patience import Patience
from slasearch.storage.places import disk_errors
from slasearch.tasks.digest import data_digest
from slasearch.tasks.load import load_task
from slasearch.tasks.metrics import metric_places

if TYPE_CHECKING:
    from slasearch.orchestrate.trainable import WorkerFactory

__all__ = ["run_study"]

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_worker_niceness": "5",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    "TUNE_RESULT_BUFFER_LENGTH": "1",
}
"""Ray without usage reports, tables, log files of trials, changes of the working folder and state of its own; and with
workers that give way to the driver a little (Ray's own niceness of 15 starves them beside any other busy process)."""

JOIN_SECONDS = 60.0
"""How long a cluster may take until it can run one trial."""

T = TypeVar("T")
Heartbeat = Callable[[], None]


def run_study(
    config: StudyConfig,
    locations: Locations,
    *,
    address: str | None = None,
    progress: ProgressPrinter | None = None,
    worker_factory: WorkerFactory | None = None,
    data: Mapping[str, Mapping[str, object]] | None = None,
) -> StudySummary:
    """Runs a study, or goes on with it, to its end. Does nothing, and starts nothing, if there is nothing to do.

    The first SIGINT or SIGTERM lets the running trials end and starts no more; the second stops at once, and what ran
    is run again when the study goes on.

    Args:
        config: The study.
        locations: Database and folders.
        address: Ray cluster (`auto` or `HOST:PORT`). None: a Ray of its own on this machine, which ends with the run.
            A Ray that this process has initialised before is used as it is, and left running.
        progress: Prints progress; on stderr by default.
        worker_factory: Makes what runs trials; `trial_worker` by default.
        data: A program's own data by the name of the task, for tasks whose source is `object:NAME`.

    Returns:
        Where the study stands; `stop_reason` tells why it ended early, `ran` how many attempts were handed out.

    Raises:
        StudyConflictError: A study of this name has other content, or ran on other data.
        LeaseError: Another driver runs the study, or has taken it over.
        StorageError: The database, the home folder, or the store of trained adapters, cannot be used.
        ClusterError: The cluster cannot be reached, Ray does not start here, or none of it is large enough for a trial.
        TaskError: The data of a task cannot be read.
    """
    printer = progress or ProgressPrinter()
    interrupts = Interrupts()
    with interrupts.handled(), closing(printer):
        patience = Patience(say=printer.note, pause=interrupts.pause)
        session = StudySession.open(config, locations, patience=patience)
        with closing(session):
            try:
                _run(session, config, locations, address, printer, interrupts, worker_factory, data or {})
            except KeyboardInterrupt:
                session.stop(interrupts.reason or "interrupted")
        summary = session.summary()
        printer.end(summary)
    return summary


def _run(
    session: StudySession,
    config: StudyConfig,
    locations: Locations,
    address: str | None,
    printer: ProgressPrinter,
    interrupts: Interrupts,
    worker_factory: WorkerFactory | None,
    data: Mapping[str, Mapping[str, object]],
) -> None:
    first = session.next()
    if first == "done":
        return
    if first == "wait":
        raise idle_study()
    if session.warm is not None:
        printer.note(session.warm.words)
    session.check_store()
    with disk_errors(locations.ray):
        locations.ray.mkdir(parents=True, exist_ok=True)
    printer.tick(session.summary, first.phase)
    specs = first.spec.tasks
    tasks = _while_renewing(session, lambda: [load_task(task, data.get(task.name)) for task in specs])
    session.check_data({task.spec.name: data_digest(task) for task in tasks})
    with environment(QUIET), _ray(config, locations, address) as heartbeat, _silent_logs():
        session.renew()
        patience = 0.0 if address is None else JOIN_SECONDS
        printer.concurrency = _while_renewing(session, lambda: _concurrency(config, patience=patience))
        desk = TrialDesk(session, printer, first=first, heartbeat=heartbeat)
        with interrupts.counted():
            _loop(desk, interrupts, config, locations, tasks, worker_factory, printer.concurrency)
            if desk.error is None and not desk.at_once and interrupts.count < 2:
                remove_on_all_nodes(session.leftovers())
    if desk.error is not None:
        raise desk.error


def _while_renewing(session: StudySession, work: Callable[[], T]) -> T:
    """What `work` gives, the lease renewed beside it: a download may take longer than a silent driver is believed."""
    found: Future[T] = Future()

    def run() -> None:
        try:
            found.set_result(work())
        except BaseException as error:  # whatever it is, the driver waits for it
            found.set_exception(error)

    threading.Thread(target=run, daemon=True).start()  # an interruption does not wait for it
    while not wait([found], timeout=RENEW_SECONDS).done:
        session.renew()
    return found.result()


def _loop(
    desk: TrialDesk,
    interrupts: Interrupts,
    config: StudyConfig,
    locations: Locations,
    tasks: Sequence[TaskData],
    worker_factory: WorkerFactory | None,
    concurrency: int,
) -> None:
    from ray import tune

    from slasearch.orchestrate.hooks import StudyHooks
    from slasearch.orchestrate.scheduler import StudyScheduler
    from slasearch.orchestrate.searcher import StudySearcher
    from slasearch.orchestrate.trainable import StudyTrainable, trial_worker

    resources = config.resources
    trainable = tune.with_parameters(
        StudyTrainable,
        versions=installed(),
        tasks=tasks,
        factory=worker_factory or partial(trial_worker, hidden_bytes=int(resources.cache_gib * 2**30)),
        extensions=extension_modules(),
        metrics=metric_places(),
        cache=locations.cache,
        threads=resources.cpus_per_trial,
    )
    trainable = tune.with_resources(trainable, {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial})
    name, runs = _run_name(config), locations.ray / RUNS
    scheduler = StudyScheduler(desk)
    try:
        tune.run(
            trainable,
            name=name,
            search_alg=StudySearcher(desk),
            scheduler=scheduler,
            callbacks=[StudyHooks(desk, interrupts, scheduler.end_workers)],
            num_samples=-1,
            max_concurrent_trials=concurrency,
            reuse_actors=True,
            max_failures=0,
            raise_on_failed_trial=False,
            storage_path=str(runs),
            trial_dirname_creator=lambda trial: trial.trial_id,
            verbose=0,
        )
    except RunEnded:
        pass
    finally:
        shutil.rmtree(runs / name, ignore_errors=True)


def _run_name(config: StudyConfig) -> str:
    """What Ray Tune calls this run, and its folder."""
    return f"{config.name}-{os.getpid()}"


# ---------------------------------------------------------------- Ray


@contextmanager
def _ray(config: StudyConfig, locations: Locations, address: str | None) -> Iterator[Heartbeat]:
    """A Ray to run on; the heartbeat is to be called every few seconds."""
    if address is None:
        require_token()
    import ray

    from slasearch.orchestrate.trainable import thread_variables

    threads = config.resources.cpus_per_trial
    with _nothing_printed():
        if ray.is_initialized():
            yield _nothing
        elif address is not None:
            with cluster(address):
                yield _nothing
        else:
            cpus, variables = len(os.sched_getaffinity(0)), thread_variables(threads)
            with local_ray(locations.ray, cpus=cpus, variables=variables, runs=_run_name(config)) as heartbeat:
                yield heartbeat


@contextmanager
def _nothing_printed() -> Iterator[None]:
    """Keeps Ray from printing what its nodes report, such as the death of a worker, to stdout; it has no option for it.

    stdout is for results. That a worker was lost is in the reason of its trial.
    """
    from ray._private import worker

    said, worker.print_to_stdstream = worker.print_to_stdstream, lambda *_, **__: None
    try:
        yield
    finally:
        worker.print_to_stdstream = said


def _concurrency(config: StudyConfig, *, patience: float) -> int:
    """Trials at a time: as many as the study wants and Ray's nodes hold; machines have `patience` (s) to join.

    Nodes are looked at one by one, because no trial is spread over several.
    """
    until = time.monotonic() + patience
    while (fitting := sum(_fitting(config, node) for node in _nodes())) < 1:
        if time.monotonic() >= until:
            wanted, offered = config.resources, _nodes()
            cpus, gpus = (sum(node.get(name, 0.0) for node in offered) for name in ("CPU", "GPU"))
            raise ClusterError(
                f"resources: expected a node with {wanted.cpus_per_trial} CPUs and {wanted.gpus_per_trial:g} GPUs for "
                f"a trial, got {cpus:g} CPUs and {gpus:g} GPUs in all, and no node that is large enough. "
                "Lower resources.cpus_per_trial or gpus_per_trial, or add a larger machine."
            )
        time.sleep(0.5)
    return min(config.resources.max_concurrent_trials, fitting)


def _nodes() -> list[dict[str, float]]:
    """What each of Ray's nodes has to offer."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _fitting(config: StudyConfig, node: Mapping[str, float]) -> int:
    """Trials that a node holds at a time."""
    wanted = config.resources
    fitting = node.get("CPU", 0.0) // wanted.cpus_per_trial
    if wanted.gpus_per_trial:
        # Five times .2 is one GPU for Ray, which counts in parts of 1/10,000, and gives a trial no parts of two GPUs.
        whole, part = divmod(node.get("GPU", 0.0), 1)
        share = round(wanted.gpus_per_trial * 10_000)
        fitting = min(fitting, whole * (10_000 // share) + round(part * 10_000) // share)
    return int(fitting)


@contextmanager
def _silent_logs() -> Iterator[None]:
    """Ray's own words are about its own files and commands; ours replace them."""
    logger = logging.getLogger("ray")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _nothing() -> None:
    """No heartbeat is needed."""
