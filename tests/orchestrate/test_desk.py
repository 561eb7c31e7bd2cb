"""The desk between Ray's hooks and a session, with a session of its own making."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any, Literal, cast

import pytest

from slasearch.errors import ClusterError, LeaseError
from slasearch.orchestrate.desk import ASK_AGAIN_SECONDS, LOOK_SECONDS, RENEW_SECONDS, TrialDesk
from slasearch.orchestrate.progress import ProgressPrinter
from slasearch.records import Event, Progress, TrialReport, TrialSpec
from slasearch.search.requests import Carried
from slasearch.search.study import Ask
from slasearch.search.summary import StudySummary

SPEC = cast(TrialSpec, "a spec")
REPORT = TrialReport("complete", 4, 4)


def ask(trial_id: int) -> Ask:
    return Ask(trial_id, trial_id - 1, "optimise", "search", 1, SPEC)


class ScriptedSession:
    """Answers from a list, and writes down what it is told."""

    def __init__(self, answers: Iterable[Ask | Literal["wait", "done"]]) -> None:
        self.answers = list(answers)
        self.told: list[tuple[Any, ...]] = []
        self.prune_next = False
        self.error: Exception | None = None
        self.carried = Carried()

    def next(self) -> Ask | Literal["wait", "done"]:
        self.told.append(("next",))
        return self.answers.pop(0)

    def started(self, trial_id: int, *, ray_trial_id: str, worker: str = "") -> None:
        self.told.append(("started", trial_id, ray_trial_id, worker))

    def progress(self, trial_id: int, progress: Progress) -> bool:
        self.told.append(("progress", trial_id, progress.budget))
        return self.prune_next

    def finish(self, trial_id: int, report: TrialReport) -> None:
        if self.error is not None:
            raise self.error
        self.told.append(("finish", trial_id, report.state))

    def prune(self, trial_id: int, progress: Progress | None) -> None:
        self.told.append(("prune", trial_id, progress.budget if progress else None))

    def lost(self, trial_id: int, reason: str) -> None:
        self.told.append(("lost", trial_id, reason))

    def requests(self) -> Carried:
        carried, self.carried = self.carried, Carried()
        return carried

    def tell(self, event: Event) -> bool:
        self.told.append(("tell", event.message))
        return self.told.count(("tell", event.message)) == 1

    def renew(self) -> None:
        self.told.append(("renew",))

    def stop(self, reason: str) -> None:
        self.told.append(("stop", reason))

    def summary(self) -> StudySummary:
        return StudySummary("s", "running", 2, 0, 0, 0, 0, 0, {}, ())


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def desk_over(session: ScriptedSession, clock: Clock, **more: Any) -> TrialDesk:
    return TrialDesk(session, ProgressPrinter(io.StringIO(), terminal=False), clock=clock, **more)


def test_a_trial_already_handed_out_comes_first(clock: Clock) -> None:
    session = ScriptedSession([ask(2), "done"])
    desk = desk_over(session, clock, first=ask(1))
    assert [desk.next("a"), desk.next("b"), desk.next("c")] == [SPEC, SPEC, "done"]
    desk.started("a", "w1")
    desk.ended("a", REPORT)
    desk.ended("b", REPORT)
    assert session.told[2:] == [("started", 1, "a", "w1"), ("finish", 1, "complete"), ("finish", 2, "complete")]


def test_a_waiting_study_is_not_asked_at_every_step_but_at_once_when_a_trial_ends(clock: Clock) -> None:
    session = ScriptedSession([ask(1), "wait", "wait", ask(2)])
    desk = desk_over(session, clock)
    desk.next("a")
    assert [desk.next("b") for _ in range(5)] == ["wait"] * 5
    assert len(session.answers) == 2
    clock.now += ASK_AGAIN_SECONDS
    assert desk.next("b") == "wait"
    assert len(session.answers) == 1
    desk.ended("a", REPORT)
    assert desk.next("b") == SPEC


def test_a_study_that_waits_for_nothing_is_an_error_and_no_endless_loop(clock: Clock) -> None:
    desk = desk_over(ScriptedSession(["wait"]), clock)
    assert desk.next("a") == "done"
    assert "waits although no trial runs" in str(desk.error)


def test_a_pruned_trial_is_told_with_its_last_report(clock: Clock) -> None:
    session = ScriptedSession([ask(1)])
    desk = desk_over(session, clock)
    desk.next("a")
    assert not desk.report("a", Progress(1, 4, 0.5, prunable=False))
    session.prune_next = True
    assert desk.report("a", Progress(2, 4, 0.5, prunable=True))
    desk.ended("a", None)
    assert session.told[-1] == ("prune", 1, 2)


def test_an_end_without_report_or_pruning_is_a_loss_and_each_end_is_told_once(clock: Clock) -> None:
    session = ScriptedSession([ask(1), ask(2)])
    desk = desk_over(session, clock)
    desk.next("a")
    desk.next("b")
    desk.ended("a", None)
    desk.lost("b", "killed")
    desk.ended("a", REPORT)
    desk.lost("b", "killed")
    assert session.told[2:] == [("lost", 1, "stopped before its end"), ("lost", 2, "killed")]


def test_an_error_of_the_session_is_kept_and_ends_the_study(clock: Clock) -> None:
    session = ScriptedSession([ask(1), ask(2)])
    desk = desk_over(session, clock)
    desk.next("a")
    session.error = LeaseError("taken")
    desk.ended("a", REPORT)
    assert desk.error is session.error
    assert desk.next("b") == "done"
    assert len(session.answers) == 1


def test_the_lease_is_renewed_now_and_then_and_a_stop_is_told_once(clock: Clock) -> None:
    session = ScriptedSession([ask(1)])
    beats: list[float] = []
    desk = desk_over(session, clock, heartbeat=lambda: beats.append(clock.now))
    desk.tick()
    clock.now += RENEW_SECONDS
    desk.tick()
    desk.tick()
    desk.stop("enough")
    desk.stop("enough")
    assert session.told == [("renew",), ("stop", "enough")]
    assert len(beats) == 1
    assert desk.next("a") == "done"


def test_a_command_stops_the_study_after_its_running_trials_or_at_once(clock: Clock) -> None:
    session = ScriptedSession([ask(1), ask(2)])
    desk = desk_over(session, clock)
    desk.next("a")
    session.carried = Carried(stop=True)
    desk.tick()
    assert session.told == [("next",)], "expected requests to be looked for now and then only"
    clock.now += LOOK_SECONDS
    desk.tick()
    assert session.told[-1] == ("stop", "cancelled by command")
    assert (desk.next("b"), desk.at_once) == ("done", False)
    session.carried = Carried(stop=True, at_once=True)
    clock.now += LOOK_SECONDS
    desk.tick()
    assert desk.at_once
    assert session.told.count(("stop", "cancelled by command")) == 1


def test_a_trial_that_is_cancelled_before_it_is_handed_out_never_is(clock: Clock) -> None:
    session = ScriptedSession([ask(2), "done"])
    desk = desk_over(session, clock, first=ask(1))
    session.carried = Carried(cancelled=(1,))
    clock.now += LOOK_SECONDS
    desk.tick()
    assert [desk.next("a"), desk.next("b")] == [SPEC, "done"]
    desk.started("a", "w")
    assert session.told[-1] == ("started", 2, "a", "w")


def test_a_cancelled_trial_is_to_stop_and_is_forgotten_when_its_worker_is_gone(clock: Clock) -> None:
    session = ScriptedSession([ask(1), ask(2)])
    desk = desk_over(session, clock)
    desk.next("a")
    desk.next("b")
    session.carried = Carried(cancelled=(2,))
    clock.now += LOOK_SECONDS
    desk.tick()
    assert desk.cancelled == {"b"}
    assert desk.report("b", Progress(1, 4, 0.5, prunable=False))
    assert not desk.report("a", Progress(1, 4, 0.5, prunable=False))
    desk.lost("b", "killed")
    assert desk.cancelled == set()


def test_a_worker_that_may_not_run_trials_ends_the_study_after_what_runs_elsewhere(clock: Clock) -> None:
    session = ScriptedSession([ask(1), ask(2), ask(3)])
    desk = desk_over(session, clock)
    desk.next("a")
    desk.next("b")
    desk.refused("b", "node two: another version.")
    assert (desk.next("c"), desk.error) == ("done", None)
    desk.ended("a", REPORT)
    assert isinstance(desk.error, ClusterError)
    assert str(desk.error) == "node two: another version."
    assert session.told[2:] == [("stop", "node two: another version."), ("finish", 1, "complete")]


def test_what_a_worker_tells_of_itself_is_shown_once(clock: Clock) -> None:
    session, said = ScriptedSession([]), io.StringIO()
    desk = TrialDesk(session, ProgressPrinter(said, terminal=False), clock=clock)
    for _ in range(2):
        desk.tell(Event("node.versions", "Node two has another torch.", "warning"))
    assert len(session.told) == 2
    assert said.getvalue().count("Node two has another torch.") == 1
