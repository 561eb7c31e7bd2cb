"""The contract of a database that slasearch stores studies in, as checks to run on every kind of it.

@pytest.mark.parametrize("check", STORAGE_CHECKS, ids=lambda check: check.__name__)
def test_contract(check, empty_database_url):
    check(empty_database_url)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import sqlalchemy as sa
from optuna.trial import TrialState, create_trial

from slasearch.errors import StorageError
from slasearch.records import WHOLE_TRIAL, CostRow, Event, GateRow, MetricRow, Slot
from slasearch.storage.engine import optuna_storage
from slasearch.storage.models import SlaCost, SlaGate, SlaMetric
from slasearch.storage.rows import ArtifactRow, EarlierTrial, RequestRow, StudyRow, TrialRow, WarmStart
from slasearch.storage.store import Store
from slasearch.storage.writer import Writer

__all__ = ["STORAGE_CHECKS", "example_study", "example_trial"]


def example_study(name: str = "example") -> StudyRow:
    """A study's row that is not stored yet."""
    return StudyRow(0, name, '{"name": "example"}', "f" * 64, 2**40, "running", "0.1.0", 1.0, 2.0)


def example_trial(study_id: int, number: int | None = 0) -> TrialRow:
    """A trial's row that is not stored yet."""
    return TrialRow(
        id=0,
        study_id=study_id,
        optuna_study="search",
        number=number,
        phase="design",
        role="search",
        sampler="grid",
        factor=None,
        point=3,
        repeat=1,
        attempt=1,
        retry_of=None,
        state="waiting",
        reason=None,
        params='{"training.learning_rate": 0.001}',
        spec="{}",
        config_hash="0" * 64,
        init_seed=2**40,
        data_seed=5,
        pair_of=None,
        control_size=None,
        control_variant=None,
        created_at=1_750_000_000.123456,
    )


class _Refusal:
    """A guard that lets no write pass."""

    def check(self, connection: sa.Connection) -> None:
        raise LookupError("refused")

    def written(self) -> None:
        raise AssertionError("expected no commit")

    def unsure(self) -> None:
        pass


def _opened(url: str) -> Store:
    store = Store(url)
    store.upgrade()
    return store


def _with_trial(url: str) -> tuple[Store, TrialRow]:
    store = _opened(url)
    study = store.write(lambda writer: writer.add_study(example_study()))
    return store, store.write(lambda writer: writer.add_trial(example_trial(study.id)))


def reads_what_was_written(url: str) -> None:
    """Studies and trials come back as they were, every column of them, large numbers and fractions included."""
    store, trial = _with_trial(url)
    study = store.study("example")
    assert study == replace(example_study(), id=study.id)
    assert store.trials(study.id) == [trial]
    changed = {
        "state": "complete",
        "score": 0.1 + 0.2,
        "control_size": 2**33,
        "control_variant": "qv",
        "sampler_notes": '{"cmaes:generation": 3}',
        "worker": "Ünï",
        "ended_at": 7.25,
    }

    def change(writer: Writer) -> None:
        writer.update_trial(trial.id, **changed)
        writer.update_study(study.id, state="finished")

    store.write(change)
    assert store.trials(study.id) == [replace(trial, **changed)]  # type: ignore[arg-type]
    assert [found.state for found in store.studies()] == ["finished"]
    store.close()


def stores_numbers_that_are_none(url: str) -> None:
    """NaN and infinities are NULL; rows come back in the order in which they were written."""
    store, trial = _with_trial(url)
    values = (0.5, math.nan, math.inf)
    metrics = [MetricRow("spam", "validation", "typos", 0.1, "loss", value, None, 7, value) for value in values]
    gates = [GateRow("spam", Slot(3, "attn.q", "lora", 2, 1), math.nan, 1.0, True, 2**35)]
    store.write(lambda writer: writer.add_metrics(trial.id, metrics))
    store.write(lambda writer: writer.add_gates(trial.id, gates))
    store.write(lambda writer: writer.add_costs(trial.id, [CostRow("train_seconds", math.inf, "s")]))
    with store.engine.connect() as connection:
        for column in (SlaMetric.value, SlaMetric.error):
            assert connection.scalars(sa.select(column).order_by(SlaMetric.id)).all() == [0.5, None, None]
        assert connection.scalars(sa.select(SlaMetric.examples)).all() == [7, 7, 7]
        gate = connection.execute(sa.select(SlaGate.__table__)).one()
        assert (gate.openness, gate.open, gate.idx, gate.parameters) == (None, True, 1, 2**35)
        assert connection.scalars(sa.select(SlaCost.value)).all() == [None]
    (row,) = store.gates(trial.id)
    assert (row.task, row.slot, row.open, row.parameters) == ("spam", Slot(3, "attn.q", "lora", 2, 1), True, 2**35)
    assert math.isnan(row.openness)
    store.close()


def keeps_what_was_predicted(url: str) -> None:
    """Bytes come back as they are, zero bytes too, and most numbers have none."""
    store, trial = _with_trial(url)
    metrics = [
        MetricRow("spam", "validation", "clean", 0.0, "mcc", 0.25, None, 256),
        MetricRow("spam", "test", "clean", 0.0, "mcc", 0.5, None, 256, labels=bytes(range(256)), predicted=b"\0"),
    ]
    store.write(lambda writer: writer.add_metrics(trial.id, metrics))
    assert store.final_metrics(trial.study_id) == {trial.id: metrics}
    store.close()


def keeps_events_artifacts_and_reports(url: str) -> None:
    """What status, export and pruners read comes back."""
    store, trial = _with_trial(url)
    artifact = ArtifactRow("adapter.json", "artifacts/example/1/adapter.json", "a" * 64, 2)
    reports = [MetricRow(WHOLE_TRIAL, "validation", "clean", 0.0, "score", 0.1 * step, step) for step in (8, 4)]

    def add(writer: Writer) -> None:
        writer.add_artifacts(trial.id, [artifact])
        writer.add_events(trial.study_id, trial.id, 3.0, [Event("gate_health.all_closed", "no gate", "warning")])
        writer.add_events(trial.study_id, None, 4.0, [Event("study.stopped", "enough")])
        writer.add_metrics(trial.id, reports)

    store.write(add)
    assert store.artifacts(trial.id) == [artifact]
    assert [(event.trial_id, event.kind) for event in store.events(trial.study_id)] == [
        (trial.id, "gate_health.all_closed"),
        (None, "study.stopped"),
    ]
    assert store.reports(trial.study_id) == {trial.id: [(4, 0.4), (8, 0.8)]}
    store.close()


def keeps_requests_until_they_are_carried_out(url: str) -> None:
    """What commands ask comes back in its order until something came of it."""
    store, trial = _with_trial(url)
    asked = [
        RequestRow(0, trial.study_id, "retry", (trial.id, 2**20), False, 1.5),
        RequestRow(0, trial.study_id, "cancel", None, True, 2.5),
    ]
    asked = store.write(lambda writer: [writer.add_request(request) for request in asked])
    assert store.requests(trial.study_id) == asked
    store.write(lambda writer: writer.end_request(asked[0].id, at=3.0, outcome="done"))
    assert store.requests(trial.study_id) == asked[1:]
    assert store.request(asked[0].id) == replace(asked[0], done_at=3.0, outcome="done")
    store.close()


def keeps_what_a_sampler_begins_from(url: str) -> None:
    """Trials of an earlier study come back as they were, to the last digit, whether or not that study is there."""
    store, trial = _with_trial(url)
    params = {"training.learning_rate": 0.1 + 0.2, "pool.ranks": "[1, 4]", "gates.family": "sigmoid", "layers": 2}
    trials = (EarlierTrial(2**20, params, 1 / 3, 1e9, None), EarlierTrial(7, {}, 0.0, None, -1.5))
    warm = WarmStart(trial.study_id, "gone", "a" * 64, '{"spam": "b"}', 2, trials)
    assert store.warm_start(trial.study_id) is None
    store.write(lambda writer: writer.add_warm_start(warm))
    assert store.warm_start(trial.study_id) == warm
    store.write(lambda writer: writer.delete_study(trial.study_id))
    assert store.warm_start(trial.study_id) is None
    store.close()


def deletes_one_study_whole(url: str) -> None:
    """A deleted study takes all its rows along, retries and pairs among them, and no other study's."""
    store, trial = _with_trial(url)

    def fill(writer: Writer) -> TrialRow:
        kept = writer.add_trial(example_trial(writer.add_study(example_study("other")).id))
        again = writer.add_trial(replace(example_trial(trial.study_id, 1), retry_of=trial.id, pair_of=trial.id))
        writer.add_costs(again.id, [CostRow("train_seconds", 1.0, "s")])
        writer.add_costs(kept.id, [CostRow("train_seconds", 2.0, "s")])
        writer.add_events(trial.study_id, again.id, 3.0, [Event("study.stopped", "enough")])
        writer.add_request(RequestRow(0, trial.study_id, "cancel", None, False, 1.0))
        return kept

    kept = store.write(fill)
    store.write(lambda writer: writer.delete_study(trial.study_id))
    assert [study.name for study in store.studies()] == ["other"]
    assert (store.trials(trial.study_id), store.trials(kept.study_id)) == ([], [kept])
    with store.engine.connect() as connection:
        assert connection.scalars(sa.select(SlaCost.value)).all() == [2.0]
    store.close()


def stores_text_as_far_as_it_is_text(url: str) -> None:
    """What a worker says may hold bytes that no database takes as text."""
    store, trial = _with_trial(url)
    store.write(lambda writer: writer.update_trial(trial.id, reason="a\0b\ud800c ü"))
    store.write(lambda writer: writer.add_events(trial.study_id, None, 1.0, [Event("x", "a\0b")]))
    assert [row.reason for row in store.trials(trial.study_id)] == ["a\ufffdb?c ü"]
    assert [event.message for event in store.events(trial.study_id)] == ["a\ufffdb"]
    store.close()


def writes_all_or_nothing(url: str) -> None:
    """A transaction that raises, or that the guard refuses, leaves nothing."""
    store, trial = _with_trial(url)

    def change(writer: Writer) -> None:
        writer.update_trial(trial.id, state="running")
        if guard is None:
            raise LookupError("by itself")

    for guard in (None, _Refusal()):
        store.guard(guard)
        raised = ""
        try:
            store.write(change)
        except LookupError as error:
            raised = str(error)
        assert raised == ("refused" if guard else "by itself")
        assert store.trials(trial.study_id) == [trial]
    store.close()


def refuses_what_contradicts(url: str) -> None:
    """A name twice, a number twice in one study, a trial of no study: StorageError, and nothing is written."""
    store, trial = _with_trial(url)
    contradictions: tuple[Callable[[Writer], object], ...] = (
        lambda writer: writer.add_study(example_study()),
        lambda writer: writer.add_trial(example_trial(trial.study_id, number=0)),
        lambda writer: writer.add_trial(example_trial(trial.study_id + 1)),
    )
    for add in contradictions:
        try:
            store.write(add)
        except StorageError:
            pass
        else:
            raise AssertionError("expected a StorageError")
    for _ in range(2):
        store.write(lambda writer: writer.add_trial(example_trial(trial.study_id, number=None)))
    assert len(store.trials(trial.study_id)) == 3
    store.close()


def upgrades_again_and_beside_optuna(url: str) -> None:
    """Both sets of tables stand in one database in whichever order they come, and an upgrade repeats without harm."""
    storage = optuna_storage(url)
    store, trial = _with_trial(url)
    store.upgrade()
    assert store.trials(trial.study_id) == [trial]
    again = optuna_storage(url)
    assert again.get_all_studies() == []
    study_id = again.create_new_study([], "one")
    again.create_new_trial(study_id, create_trial(state=TrialState.WAITING))
    assert [found.state for found in storage.get_all_trials(study_id)] == [TrialState.WAITING]
    for opened in (storage, again):
        opened.engine.dispose()
    store.close()


STORAGE_CHECKS: tuple[Callable[[str], None], ...] = (
    reads_what_was_written,
    stores_numbers_that_are_none,
    keeps_what_was_predicted,
    keeps_events_artifacts_and_reports,
    keeps_requests_until_they_are_carried_out,
    keeps_what_a_sampler_begins_from,
    deletes_one_study_whole,
    stores_text_as_far_as_it_is_text,
    writes_all_or_nothing,
    refuses_what_contradicts,
    upgrades_again_and_beside_optuna,
)
