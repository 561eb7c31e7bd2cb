"""A study on a real Ray and a real PostgreSQL server that is restarted, crashed and stopped for a while meanwhile."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from slasearch.config.load import parse_study
from slasearch.config.locations import Locations
from slasearch.orchestrate.driver import QUIET, run_study
from slasearch.orchestrate.local_ray import environment, local_ray
from slasearch.orchestrate.progress import ProgressPrinter
from slasearch.orchestrate.simulate import SimulatedWorker
from slasearch.search.summary import StudySummary
from slasearch.storage.engine import make_engine

pytestmark = pytest.mark.postgres

TRIALS = 24
STUDY = """
name: small
tasks: [{{name: texts, source: "file:{home}/texts.jsonl"}}]
size_control: {{mode: penalty, sparsity_weight: {{float: [0.0, 1.0]}}}}
training: {{steps: 100, batch_size: 8, learning_rate: {{log_float: [1.0e-4, 1.0e-2]}}}}
phases: {{design: {{sampler: {{name: qmc}}, points: {trials}, seeds: 1}}}}
resources: {{max_concurrent_trials: 2}}
"""


@pytest.fixture(scope="module", autouse=True)
def one_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with environment(QUIET), local_ray(tmp_path_factory.mktemp("ray"), cpus=2, variables={}):
        yield


class Watched(ProgressPrinter):
    """Keeps what is printed, and how many trials have ended."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.ended = 0
        super().__init__(self.stream, terminal=False)

    def tick(self, summary: Callable[[], StudySummary], phase: str) -> None:
        self.ended = summary().ended


def run(home: Path, url: str, seconds: float, printer: ProgressPrinter) -> StudySummary:
    home.mkdir(parents=True)
    lines = [json.dumps({"text": f"text number {row}", "label": "ab"[row % 2]}) for row in range(40)]
    (home / "texts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    config = parse_study(STUDY.format(home=home, trials=TRIALS), "small")
    factory = partial(SimulatedWorker, seconds=seconds, payload=1000)
    return run_study(config, Locations(url, home), progress=printer, worker_factory=factory)


def table(url: str, query: str) -> list[tuple[Any, ...]]:
    """All rows, in an order that does not depend on where a database puts NULL."""
    engine = make_engine(url)
    with engine.connect() as connection:
        found = sorted((tuple(row) for row in connection.execute(sa.text(query))), key=repr)
    engine.dispose()
    return found


def test_a_restarted_crashed_and_absent_server_costs_nothing(
    tmp_path: Path, postgres_server: Any, postgres_url: str
) -> None:
    def away() -> None:
        postgres_server.stop()
        time.sleep(10)
        postgres_server.start()

    outages = [
        (3, partial(postgres_server.restart, "fast")),
        (8, partial(postgres_server.restart, "immediate")),
        (13, away),
        (18, partial(postgres_server.restart, "immediate")),
    ]
    printer = Watched()

    def trouble() -> None:
        for count, outage in outages:
            while printer.ended < count:
                time.sleep(0.02)
            outage()

    thread = threading.Thread(target=trouble, daemon=True)
    thread.start()
    summary = run(tmp_path / "postgresql", postgres_url, 0.4, printer)
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert (summary.state, summary.complete, summary.running, summary.waiting) == ("finished", TRIALS, 0, 0)
    assert (summary.failed, summary.retried, summary.ran) == (0, 0, TRIALS)
    assert printer.stream.getvalue().count("Waiting up to") in range(1, 5)
    assert "The database is back after" in printer.stream.getvalue()

    local = f"sqlite:///{tmp_path}/sqlite/study.db"
    run(tmp_path / "sqlite", local, 0.0, ProgressPrinter(io.StringIO(), terminal=False))
    for query in (
        "SELECT number, attempt, state, params, init_seed, data_seed, score, exported_parameters FROM sla_trial",
        "SELECT t.number, m.task, m.split, m.metric, m.step, m.value FROM sla_metric m JOIN sla_trial t"
        " ON t.id = m.trial_id",
        "SELECT s.study_name, t.number, t.state FROM trials t JOIN studies s ON s.study_id = t.study_id",
        "SELECT t.number, v.objective, v.value FROM trial_values v JOIN trials t ON t.trial_id = v.trial_id",
        "SELECT holder FROM sla_lease",
        "SELECT kind, count(*) FROM sla_event GROUP BY kind",
    ):
        assert table(postgres_url, query) == table(local, query), query
    assert len(list((tmp_path / "postgresql" / "artifacts").rglob("*.safetensors"))) == TRIALS
