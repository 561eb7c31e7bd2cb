"""Trials that give no number: they fail, others are as they would have been, and a retry makes the study whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from chaos_kit import OBJECTIVES, POINTS, SEED, Study, chaos_study, forms, locations
from chaos_table import Row
from chaos_workers import SickWorker
from session_kit import column, trials_of
from truth import Results, check_readers, command, results_of, tell

from slasearch.config.schema import StudyConfig
from slasearch.storage.models import SlaMetric


@forms(1, 10)
def test_trials_give_nan(
    times: int, tmp_path: Path, undisturbed: Callable[[StudyConfig], Results], row: Callable[..., Row]
) -> None:
    told = row("NaN, infinite or missing score, SQLite", "no Ray")
    for number in range(times):
        kind = list(OBJECTIVES)[number % len(OBJECTIVES)]
        where = locations(tmp_path / str(number))
        study = Study(chaos_study(kind, POINTS, confirm=None), where, tmp_path / f"notes{number}")
        expected = undisturbed(study.config)
        assert study.run(seed=number, worker=SickWorker(seed=SEED + number).run) == 0
        rows = trials_of(where, study.config.name)
        failed = [trial for trial in rows if trial.state == "fail"]
        told.disturbances += len(failed)
        assert failed
        assert all((trial.reason or "").startswith("objective score: expected a finite number") for trial in failed)
        assert all(trial.attempt == 1 for trial in rows), "expected none to be tried again by itself"
        results = results_of(study.config, where)
        untouched = Counter({result: count for result, count in results.items() if "complete" in result})
        assert untouched.total() == len(rows) - len(failed)
        assert not untouched - expected
        assert not [
            value for value in column(where, sa.select(SlaMetric.value)) if value is not None and value != value
        ]
        check_readers(study.config, where)
        command(where, "retry", study.config.name)
        assert study.run(seed=number) == 0
        tell(told, study.config, where, expected, study.acknowledged())
