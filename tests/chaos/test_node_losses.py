"""Nodes of a cluster killed at random moments of a study; nothing is on them that the driver could see."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from chaos_kit import OBJECTIVES, POINTS, SEED, chaos_study, locations, long_only, texts
from chaos_table import Row
from chaos_workers import SignedWorker
from separate_nodes import SeparateNodes
from session_kit import trials_of
from small_study import HERE, Watching
from truth import Results, tell

from slasearch.config.schema import StudyConfig
from slasearch.orchestrate.driver import run_study
from slasearch.search.book import WORKER_LOST
from slasearch.search.summary import StudySummary

SECONDS = 0.5
"""How long a trial takes."""
NODES = ("one", "two")
IMPORTS = {"PYTHONPATH": os.pathsep.join((str(Path(__file__).parent), HERE["PYTHONPATH"]))}
"""Where workers find theirs."""


@long_only(10)
def test_nodes_are_killed(
    times: int, tmp_path: Path, undisturbed: Callable[[StudyConfig], Results], row: Callable[..., Row]
) -> None:
    told = row("SIGKILL of a node's raylet, SQLite", "real Ray, 2 nodes")
    draw = random.Random(SEED)
    nodes = SeparateNodes(tmp_path, NODES, variables=IMPORTS)
    try:
        while told.disturbances < times:
            kind = list(OBJECTIVES)[told.studies % len(OBJECTIVES)]
            folder = tmp_path / str(told.studies)
            config, where = chaos_study(kind, POINTS, tasks=texts(folder)), locations(folder)
            victim, after = draw.choice(NODES), draw.randrange(POINTS)
            blow = threading.Timer(draw.uniform(0.0, 2 * SECONDS), nodes.kill, [victim])

            def strike(summary: StudySummary, blow: threading.Timer = blow, after: int = after) -> None:
                if summary.complete >= after and blow.ident is None:
                    blow.start()

            factory = partial(SignedWorker, seconds=SECONDS)
            try:
                summary = run_study(
                    config, where, address=nodes.address, progress=Watching(strike), worker_factory=factory
                )
            finally:
                blow.join()
                nodes.add(victim)
            told.disturbances += 1
            assert (summary.state, summary.failed) == ("finished", 0)
            reasons = [row.reason or "" for row in trials_of(where, config.name) if row.state == "fail"]
            assert all(reason.startswith(WORKER_LOST) for reason in reasons)
            tell(told, config, where, undisturbed(config), {})
    finally:
        nodes.end()
