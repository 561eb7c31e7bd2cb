"""The result table that a run ends with: plain text, aligned, winners and controls with their intervals."""

from __future__ import annotations

import textwrap

from slasearch.analysis.frames import load_frames
from slasearch.report.findings import findings
from slasearch.report.results import analyse
from slasearch.report.tables import Table, best_trials, failure_table, winners_table

__all__ = ["aligned", "result_table"]


def result_table(url: str, study_name: str) -> str:
    """Winners beside controls on the test split; without a confirm phase the best trials; and what failed.

    Args:
        url: SQLAlchemy URL of the database.
        study_name: Name of the study.

    Raises:
        ReportError: The study has no trial yet.
        StudyNotFoundError: No study of this name.
        StorageError: The database cannot be read.
    """
    results = analyse(load_frames(url, study_name))
    tables = [winners_table(results) or best_trials(results), failure_table(results)]
    blocks = [f"{study_name}: {results.counts.text()}", *(aligned(table) for table in tables if table)]
    said = [item.text for item in findings(results) if item.topic == "Controls"]
    return "\n\n".join([*blocks, *("\n".join(textwrap.wrap(text, 110)) for text in said)]) + "\n"


def aligned(table: Table) -> str:
    """The table as text: columns padded to their widest cell, numbers to the right."""
    rows = [table.columns, *table.rows]
    widths = [max(len(row[index]) for row in rows) for index in range(len(table.columns))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if index < table.text_columns else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    rule = "─" * max(len(line) for line in lines)
    return "\n".join([table.title, rule, lines[0], rule, *lines[1:]])
