"""A study that is being run: what to run next, and what came of it. The only writer of the study's database rows."""

from __future__ import annotations

import functools
import json
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

import optuna
from optuna.pruners import BasePruner

from slasearch.config.document import problem_line
from slasearch.config.load import stored_study
from slasearch.config.locations import Locations
from slasearch.config.plain import from_plain, stored_json, to_plain
from slasearch.config.schema import PrunerConfig, StudyConfig
from slasearch.errors import ConfigError
from slasearch.records import CheckpointPlan, Event, Progress, TrialReport, TrialSpec
from slasearch.search.book import OUT_OF_MEMORY, WORKER_LOST, Book, spec_hash
from slasearch.search.clock import steady_clock
from slasearch.search.constraints import feasible
from slasearch.search.job import Job
from slasearch.search.lease import Lease
from slasearch.search.limits import Limits
from slasearch.search.mirror import MirroredStudy
from slasearch.search.opening import checkpoint_folder, find_or_make, grown, optuna_studies, refuse_deleted, with_data
from slasearch.search.plan import plan
from slasearch.search.pruners import Pruner, Report, curves, ended_early, make_pruner, share_done
from slasearch.search.race import Race, make_race, standing
from slasearch.search.requests import Carried, carry_out
from slasearch.search.samplers import make_sampler
from slasearch.search.summary import StudySummary, summarise
from slasearch.search.truth import untrue
from slasearch.search.warm_start import refuse_other_data
from slasearch.search.winners import finalist_count, last_attempts, last_attempts_at, winners
from slasearch.space import design_points, option_problems, parameters, resolve, seeds_for, suggest
from slasearch.storage.artifacts import Artifacts
from slasearch.storage.engine import storage_errors
from slasearch.storage.patience import Patience
from slasearch.storage.rows import OptunaStudy, RequestRow, StudyRow, TrialRow, TrialState, WarmStart
from slasearch.storage.store import Store
from slasearch.storage.writer import Writer

__all__ = ["Ask", "StudySession", "StudySummary"]

NOTHING_COMPLETE = Event(
    "study.nothing_complete",
    "no trial of the search is complete and keeps the constraints, so there is nothing to confirm",
    "error",
)

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Ask:
    """A trial to run now. `number` is Optuna's, `attempt` counts from 1; `checkpoints` None: it saves none."""

    trial_id: int
    number: int
    phase: str
    role: str
    attempt: int
    spec: TrialSpec
    checkpoints: CheckpointPlan | None = None


def _take_lease(store: Store, study: StudyRow, undo: ExitStack, now: float) -> Lease:
    """The study's lease, which guards the store's writes from now on; `undo` gives it back."""
    lease = Lease.take(store, study.id, study.name, now)
    store.guard(lease)
    undo.callback(lease.release, store)
    return lease


def _database(
    method: Callable[Concatenate[StudySession, P], R],
) -> Callable[Concatenate[StudySession, P], R]:
    """The method, with errors of the database as StorageError, those that pass through Optuna included."""

    @functools.wraps(method)
    def wrapped(self: StudySession, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with storage_errors(self._store.url):
            return method(self, *args, **kwargs)

    return wrapped


class StudySession:
    """One run command's hold on a study: made by `open` or `attend`, ended by `close`.

    `warm` is what the sampler begins from, if that is something.

    Every method raises LeaseError once another driver has taken the study over, and StorageError if the database
    or the disk refuses; then nothing more should be asked of the session but `close`.
    """

    def __init__(
        self,
        config: StudyConfig,
        store: Store,
        lease: Lease,
        study: StudyRow,
        warm: WarmStart | None,
        book: Book,
        search: MirroredStudy,
        artifacts: Artifacts,
        checkpoints: Path,
        now: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._store = store
        self._lease = lease
        self._study = study
        self.warm = warm
        self._book = book
        self._search = search
        self._artifacts = artifacts
        self._checkpoints = checkpoints
        self._closing = ExitStack()
        self._now, self._clock = now, clock  # the second is the system's, by which others judge whether we live
        self._design = design_points(config)
        self._space = parameters(config)
        self._limits = Limits(config.limits, now())
        self._reports_to_optuna = [objective.name for objective in config.objectives] == ["score"]
        self._pruner = self._make_pruner()
        self._race = make_race(config, book.rows, functools.partial(store.final_metrics, study.id))
        self._out: dict[int, str] = {}
        self._handed: set[int] = set()
        self._stopped: Event | None = None

    # ------------------------------------------------------------ open and close

    @classmethod
    def open(
        cls,
        config: StudyConfig,
        locations: Locations,
        *,
        patience: Patience | None = None,
        now: Callable[[], float] | None = None,
    ) -> StudySession:
        """Finds or makes the study, takes its lease, and mends what a lost driver left.

        A connection that is lost from then on is waited for by `patience`. Times are those of `now` (epoch seconds), by
        default of a clock that goes on evenly when the system's is set.

        Raises:
            ConfigError: An option of sampler or pruner is wrong, or the study that the sampler is to begin from.
            StudyConflictError: A study of this name has other content; the text shows the difference.
            LeaseError: A living process runs the study; the text says which and since when.
            StorageError: The database or the disk refuses.
        """
        if problems := list(option_problems(config)):
            raise ConfigError([problem_line(f"study {config.name}", problem) for problem in problems])
        clock, now = now or time.time, now or steady_clock()
        store = Store(locations.storage_url, patience)
        store.upgrade()
        with ExitStack() as undo, storage_errors(store.url):
            undo.callback(store.close)
            study = find_or_make(store, config, now())
            earlier = {request.id for request in store.requests(study.id)}
            lease = _take_lease(store, study, undo, clock())
            study = store.study(config.name)  # as the last driver has left it
            refuse_deleted(study)
            heard_of = study.updated_at
            study = grown(store, study, config, now())

            def due(request: RequestRow) -> bool:
                """Whether it is carried out now: one that asks this run to stop is left for it to obey."""
                return request.trials is not None or request.id in earlier

            return cls._opened(config, locations, store, lease, study, heard_of, undo, now, clock, due)

    @classmethod
    def attend(cls, name: str, locations: Locations) -> StudySession:
        """Opens a study as its database has it, and carries out what is asked of it; it is not to be run.

        Raises:
            StudyNotFoundError: There is none of that name.
            StudyConflictError: Another version made the study, or it is half deleted.
            LeaseError: A living process runs the study; the text says which and since when.
            StorageError: The database or the disk refuses.
        """
        now = steady_clock()
        store = Store(locations.storage_url)
        with ExitStack() as undo, storage_errors(store.url):
            undo.callback(store.close)
            lease = _take_lease(store, store.study(name), undo, time.time())
            study = store.study(name)  # as the last driver has left it
            refuse_deleted(study)
            config, heard_of = stored_study(study.config), study.updated_at
            return cls._opened(config, locations, store, lease, study, heard_of, undo, now, time.time, lambda _: True)

    @classmethod
    def _opened(
        cls,
        config: StudyConfig,
        locations: Locations,
        store: Store,
        lease: Lease,
        study: StudyRow,
        heard_of: float,
        undo: ExitStack,
        now: Callable[[], float],
        clock: Callable[[], float],
        due: Callable[[RequestRow], bool],
    ) -> StudySession:
        """The session on a study whose lease is held; requests that are `due` are carried out."""
        warm = store.warm_start(study.id)
        search, confirm = optuna_studies(store, config, lease, undo, warm)
        objectives = [objective.name for objective in config.objectives]
        distributions = {parameter.name: parameter.distribution for parameter in parameters(config)}
        both: dict[OptunaStudy, MirroredStudy] = {"search": search, "confirm": confirm}
        artifacts = Artifacts.of(study, locations.home, config.resources.storage_path)
        book = Book(store, locations.home, artifacts, study, objectives, config.constraints, both, distributions)
        book.mend(lease.previous, heard_of, now())
        carry_out(store, book, filter(due, store.requests(study.id)), now(), at_work=False)
        checkpoints = checkpoint_folder(study, config.resources.checkpoint_folder, locations)
        session = cls(config, store, lease, study, warm, book, search, artifacts, checkpoints, now, clock)
        session._closing = undo.pop_all()  # only now: what fails before gives the lease back
        return session

    @_database
    def close(self) -> None:
        """Ends the session: running trials are put back to wait, the study's state is written, the lease given back.

        A session whose study another driver has taken over, or whose database did not come back, is closed without a
        write: whoever opens the study next mends it.
        """
        with self._closing:
            if self._lease.lost or self._store.patience.gave_up:
                return
            for row in self._book.rows:
                if row.state == "running":
                    self._book.orphan(row, "the run command ended first", self._now())
            self._write_state(self._state())

    def _state(self) -> str:
        """The study's state if the session ends now; where nothing came of it, what the last run has left."""
        done = plan(self._config, self._book.rows, self._design) == "done"
        idle = self._stopped is None and not any(row.state == "waiting" for row in self._book.rows)
        kept = ("finished", "failed") if done else ("failed",) if idle else ()
        if not self._handed and self._study.state in kept:
            return self._study.state
        if done:
            found = winners(
                self._config.objectives, self._book.rows, 1, self._config.constraints, finalist_count(self._config)
            )
            return "finished" if found else "failed"
        return "failed" if self._stopped is not None and self._stopped.level == "error" else "stopped"

    def _write_state(self, state: str) -> None:
        if state == self._study.state:
            return
        at = self._now()
        why = [NOTHING_COMPLETE] if state == "failed" and self._stopped is None else []

        def write(writer: Writer) -> None:
            writer.update_study(self._study.id, state=state, updated_at=at)
            writer.add_events(self._study.id, None, at, why)

        self._store.write(write)
        self._study = replace(self._study, state=state, updated_at=at)

    def _stop(self, event: Event) -> None:
        self._stopped = event
        if self._handed or not self._is_last(event):
            self._add_event(event)

    def _add_event(self, event: Event) -> None:
        at = self._now()
        self._store.write(lambda writer: writer.add_events(self._study.id, None, at, [event]))

    def _is_last(self, event: Event) -> bool:
        """Whether nothing else has been said of the study since this was: a repeated command does not repeat it."""
        said = [(row.kind, row.message) for row in self._store.events(self._study.id) if row.trial_id is None]
        return said[-1:] == [(event.kind, event.message)]

    @_database
    def check_data(self, digests: Mapping[str, str]) -> None:
        """Makes the tasks' data part of the study: the first run's are stored, and a later run must have the same.

        Args:
            digests: `slasearch.tasks.data_digest` of each task, by its name.

        Raises:
            StudyConflictError: A task has other data than the study began with, or than the one that its sampler began
                from; the text names each.
        """
        if self.warm is not None:
            refuse_other_data(self.warm, self._study.name, digests)
        self._study = with_data(self._store, self._study, digests, self._now())

    def check_store(self) -> None:
        """Finds out, before anything is trained, whether the store of trained adapters takes them.

        Raises:
            StorageError: It cannot be reached, or refuses.
        """
        self._artifacts.prepare()

    # ------------------------------------------------------------ what to run

    @_database
    def next(self) -> Ask | Literal["wait", "done"]:
        """The next trial to run; `wait` if one may come when a running one ends; `done` if there is no more."""
        waiting = next((row for row in self._book.rows if row.state == "waiting" and row.id not in self._handed), None)
        job = waiting or plan(self._config, self._book.rows, self._design)
        if self._stopped is not None or job == "done":
            return "done"
        reached = self._limits.reached(self._book.rows, self._now())
        if reached is not None:
            self._stop(reached)
            return "done"
        if job == "wait":
            return "wait"
        self._write_state("running")
        row = self._book.enter(self._new_row(job) if isinstance(job, Job) else job)
        self._handed.add(row.id)
        assert row.number is not None
        spec = from_plain(TrialSpec, stored_json(row.spec))
        return Ask(row.id, row.number, row.phase, row.role, row.attempt, spec, self._checkpoint_plan(row))

    def _checkpoint_plan(self, row: TrialRow) -> CheckpointPlan | None:
        minutes = self._config.resources.checkpoint_minutes
        if minutes is None:
            return None
        earlier = self._book.earlier(row)
        going_on = bool(earlier) and self._book.was_lost(earlier[-1])  # any other end removed them
        known = self._store.checkpoints([attempt.id for attempt in earlier]) if going_on else ()
        return CheckpointPlan(str(self._checkpoint_folder(row)), minutes, known)

    def leftovers(self) -> list[Path]:
        """Folders of checkpoints that attempts at ended trials may have left, each on the node that it ran on."""
        ended = [row for row in last_attempts(self._book.rows) if not row.open]
        saved = self._store.saved_attempts(self._study.id)
        return [self._checkpoint_folder(row) for row in ended if self._book.left_checkpoints(row, saved)]

    def _checkpoint_folder(self, row: TrialRow) -> Path:
        """Named after the first attempt, so that all attempts at a trial find the same, and no other study's do."""
        first = [*self._book.earlier(row), row][0]
        return self._checkpoints / f"{first.id}-{first.created_at:.0f}"

    def _new_row(self, job: Job) -> TrialRow:
        config = self._config
        number = None
        kept: dict[str, Any] = {}
        if job.params is None:
            number, params, kept = self._search.draw(self._sampler(), lambda trial: suggest(trial, config))
        else:
            params = dict(job.params)
        seeds = seeds_for(config, job.repeat, job.phase)
        spec = resolve(
            config,
            params,
            seeds=seeds,
            phase=job.phase,
            control=job.control,
            control_size=job.control_size,
            control_variant=job.control_variant,
        )
        return TrialRow(
            id=0,
            study_id=self._study.id,
            optuna_study=job.optuna_study,
            number=number,
            phase=job.phase,
            role=job.role,
            sampler=job.sampler,
            factor=job.factor,
            point=job.point,
            repeat=job.repeat,
            attempt=1,
            retry_of=None,
            state="waiting",
            reason=None,
            params=json.dumps(params, sort_keys=True),
            spec=json.dumps(to_plain(spec)),
            config_hash=spec_hash(spec),
            init_seed=seeds.init,
            data_seed=seeds.data,
            pair_of=job.pair_of,
            control_size=job.control_size,
            control_variant=job.control_variant,
            created_at=self._now(),
            sampler_notes=json.dumps(kept) if kept else None,
        )

    def _sampler(self) -> optuna.samplers.BaseSampler:
        optimise = self._config.phases.optimise
        assert optimise is not None
        before = [row for row in self._book.rows if row.optuna_study == "search" and row.retry_of is None]
        index = sum(row.phase == "optimise" for row in before)
        return make_sampler(
            optimise.sampler, seed=self._config.seed, number=len(before), index=index, space=self._space
        )

    # ------------------------------------------------------------ what came of it

    @_database
    def started(self, trial_id: int, *, ray_trial_id: str, worker: str = "") -> None:
        """A worker has begun with the trial."""
        row = self._book[trial_id]
        if row.state == "waiting":
            self._book.start(row, ray_trial_id=ray_trial_id, worker=worker, at=self._now())

    @_database
    def progress(self, trial_id: int, progress: Progress) -> bool:
        """Stores an intermediate report. True: stop the trial now (and call `prune`)."""
        row = self._book[trial_id]
        if not row.open:
            return False
        self._report(row, progress)
        if progress.exported_parameters is not None:
            return self._race is not None and self._raced(self._race, row, progress)
        if row.optuna_study == "confirm" or self._book[trial_id].score is None:
            return False
        reached = Report(self._share(progress), progress.score, progress.prunable)
        return self._pruner.judge(self._first_number(row), reached, prunable=row.phase == "optimise")

    def _first_number(self, row: TrialRow) -> int:
        """That of the first attempt, so that a trial which was lost and tried again counts once among others."""
        number = [*self._book.earlier(row), row][0].number
        assert number is not None
        return number

    def _judged_bad(self, first: int, pruner: BasePruner) -> bool:
        """What one of Optuna's pruners says of the last attempt at the trial of this first number."""
        rows = [row for row in self._book.rows if row.optuna_study == "search"]
        (last,) = last_attempts_at(rows, [row.id for row in rows if row.number == first])
        assert last.number is not None
        return self._search.judged_bad(last.number, pruner)

    def _report(self, row: TrialRow, progress: Progress) -> None:
        """Stores a report; Optuna, whose pruner compares what it is given, hears of training with warm gates."""
        training = progress.prunable and progress.exported_parameters is None
        to_optuna = self._reports_to_optuna and training
        self._book.report(row, progress, percent=round(100 * self._share(progress)) if to_optuna else None)

    def _share(self, progress: Progress) -> float:
        return share_done(progress.budget, progress.budget_max, self._config.training.reports)

    def _raced(self, race: Race, row: TrialRow, progress: Progress) -> bool:
        """Whether the trial is out of the race over conditions."""
        objectives = {"score": progress.score, "exported_parameters": float(progress.exported_parameters or 0)}
        reason = race.out(standing(objectives, progress.metrics, race.measure))
        if reason is not None:
            self._out[row.id] = reason
        return reason is not None

    @_database
    def finish(self, trial_id: int, report: TrialReport) -> None:
        """The trial's own last word: complete if it is true, failed if it says so or is not; never twice.

        One that ran out of memory is tried again like a lost one; any other would only fail again.
        """
        row = self._book[trial_id]
        if not row.open:
            return
        objectives = [objective.name for objective in self._config.objectives]
        reason = untrue(report, objectives, row.phase)
        retry = False
        if reason and report.out_of_memory:
            reason, retry = f"{OUT_OF_MEMORY}: {reason}", self._may_retry(row)
        state: TrialState = "fail" if reason else "complete"
        self._book.end(row, state, at=self._now(), reason=reason, report=report, retry=retry)
        if not retry:
            self._limits.ended(failed=reason is not None)
        if row.optuna_study == "search" and row.number is not None:
            ended = self._book[trial_id]
            for last in ended_early(ended):
                self._pruner.judge(self._first_number(row), last, prunable=False)
            raced = ended.phase == "optimise" and ended.state == "complete"
            if self._race is not None and raced and feasible(self._config.constraints, ended):
                self._race.complete(row.number, standing(report.objectives, report.metrics, self._race.measure))

    @_database
    def prune(self, trial_id: int, progress: Progress | None) -> None:
        """The trial was stopped early; `progress` is its last report, which may have been stored before."""
        row = self._book[trial_id]
        if not row.open:
            return
        if progress is not None:
            self._report(row, progress)
        row = self._book[trial_id]
        pruned = f"stopped by the pruner at step {row.budget} of {row.budget_max}"
        reason = self._out.pop(trial_id, pruned)
        self._book.end(row, "pruned", at=self._now(), reason=reason)
        self._limits.ended(failed=False)

    @_database
    def lost(self, trial_id: int, reason: str) -> None:
        """Worker or node was lost: the trial is tried again with the same parameters, up to the limit."""
        row = self._book[trial_id]
        if not row.open:
            return
        reason, retry = f"{WORKER_LOST}: {reason}", self._may_retry(row)
        self._book.end(row, "fail", at=self._now(), reason=reason, retry=retry)
        if not retry:
            self._limits.ended(failed=True)

    def _may_retry(self, row: TrialRow) -> bool:
        return self._book.retries_used(row) < self._config.limits.max_retries

    @_database
    def requests(self) -> Carried:
        """Carries out what commands have asked of the study; says what is left to do for whoever runs its trials."""
        asked = self._store.requests(self._study.id)
        carried = carry_out(self._store, self._book, asked, self._now(), at_work=True)
        for trial_id in carried.cancelled:  # its worker is killed, and cannot clean up
            shutil.rmtree(self._checkpoint_folder(self._book[trial_id]), ignore_errors=True)
        return carried

    @_database
    def renew(self) -> None:
        """Says that the driver lives. Call it every few seconds."""
        self._lease.renew(self._store, self._clock(), self._now())

    @_database
    def tell(self, event: Event) -> bool:
        """Stores an event of the study as a whole; False if that was told before, in an earlier run too."""
        if any((row.kind, row.message) == (event.kind, event.message) for row in self._store.events(self._study.id)):
            return False
        self._add_event(event)
        return True

    @_database
    def stop(self, reason: str) -> None:
        """Hands out no more trials; what runs may still finish."""
        self._stop(Event("study.stopped", reason, "warning"))

    def summary(self) -> StudySummary:
        """Where the study stands."""
        reason = None if self._stopped is None else self._stopped.message
        return summarise(
            self._config,
            self._study,
            self._book.rows,
            self._design,
            now=self._now(),
            ran=len(self._handed),
            stop_reason=reason,
        )

    # ------------------------------------------------------------ parts

    def _make_pruner(self) -> Pruner:
        optimise = self._config.phases.optimise
        config = PrunerConfig() if optimise is None else optimise.pruner
        reports = {} if config.name == "none" else self._store.reports(self._study.id)
        earlier = curves(self._book.rows, reports, self._config.training.reports)
        return make_pruner(config, is_bad=self._judged_bad, earlier=earlier)
