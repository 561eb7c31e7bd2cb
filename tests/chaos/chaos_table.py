"""What the scenarios showed: rows in a JSON file, and the table of docs/results/chaos.md made of them.

    python tests/chaos/chaos_table.py chaos-results.json

`$CHAOS_RESULTS` names the file; without it no row is written. A scenario that is run again replaces its row.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HEAD = (
    "scenario",
    "how it is run",
    "disturbances",
    "studies",
    "trials",
    "attempts",
    "lost",
    "duplicated",
    "left open",
    "s",
    "all checks",
)


@dataclass
class Row:
    """One scenario.

    Args:
        scenario: What was done to a study, and on which database.
        how: Whether Ray ran the trials.

    Attributes:
        disturbances: How often it was done.
        studies, trials, attempts: What was run; a trial may take several attempts.
        lost: Results that an undisturbed study has, or that were acknowledged, and that are missing or differ.
        duplicated: Results that are there more often than in an undisturbed study.
        left_open: Trials that are still waiting or running after the same command has been run again.
        seconds: Wall time.
        held: Whether everything else that was checked held too.
    """

    scenario: str
    how: str
    disturbances: int = 0
    studies: int = 0
    trials: int = 0
    attempts: int = 0
    lost: int = 0
    duplicated: int = 0
    left_open: int = 0
    seconds: float = 0.0
    held: bool = False

    def clean(self) -> bool:
        """Whether nothing went wrong."""
        return (self.lost, self.duplicated, self.left_open) == (0, 0, 0)


class Writer:
    """Measures one scenario and adds its row to the file, if that is the long form and a file is named."""

    def __init__(self, *, long: bool) -> None:
        self._file = os.environ.get("CHAOS_RESULTS") if long else None
        self._row: Row | None = None
        self._began = time.monotonic()

    def row(self, scenario: str, how: str) -> Row:
        """The row of this scenario, to be filled in."""
        self._row = Row(scenario, how)
        return self._row

    def write(self, *, held: bool) -> None:
        """Adds the row to the file."""
        if self._file is None or self._row is None:
            return
        self._row.held = held
        self._row.seconds = time.monotonic() - self._began
        path = Path(self._file)
        written = json.loads(path.read_text()) if path.exists() else {}
        rows = written.get("rows", {}) | {f"{self._row.scenario}, {self._row.how}": asdict(self._row)}
        path.write_text(json.dumps({"machine": _machine(), "rows": rows}, indent=1) + "\n")


def _machine() -> str:
    return f"{os.cpu_count()} CPU cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def table(written: dict[str, Any]) -> str:
    """The rows as a table in Markdown."""
    rows = [Row(**row) for row in written["rows"].values()]
    lines = [HEAD, tuple("---" if place < 2 else "--:" for place in range(len(HEAD)))]
    for row in sorted(rows, key=lambda row: (row.scenario, row.how)):
        *words, seconds, held = asdict(row).values()
        lines.append((*map(str, words), f"{seconds:.0f}", "held" if held else "**failed**"))
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", f"Measured on {written['machine']}."])


if __name__ == "__main__":
    print(table(json.loads(Path(sys.argv[1]).read_text())))
