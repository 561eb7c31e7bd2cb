"""The files around the package hold together: documents name real commands and files, containers real verbs."""

import os
import re
import subprocess
from pathlib import Path

import click
import pytest
import yaml

from slasearch.cli.main import VERBS, slasearch

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "dashboards").glob("*.md")),
]


def make(*arguments: str) -> str:
    """What make prints, also when the tests themselves were started by make."""
    outer = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    command = ["make", "--no-print-directory", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=outer).stdout


def command_lines(text: str) -> list[list[str]]:
    """Every `slasearch …` line of the code blocks, split into words, without its comment."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if re.match(r"slasearch [a-z]", line)]
    return [re.sub(r"\s+#.*", "", line).split()[1:] for line in lines]


def refused(words: list[str]) -> str | None:
    """Why the command would refuse these words before it starts; None if it takes them."""
    command = slasearch.get_command(click.Context(slasearch), words[0])
    if command is None:
        return f"no verb {words[0]}"
    known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    unknown = [word for word in words[1:] if word.startswith("--") and word not in known]
    return f"{words[0]} has no {', '.join(unknown)}" if unknown else None


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_documents_exist(path: Path) -> None:
    assert [reason for words in command_lines(path.read_text()) if (reason := refused(words))] == []


def test_the_check_sees_an_unknown_option() -> None:
    assert command_lines("```\nslasearch run a.yaml --nosuch   # x\n```\n") == [["run", "a.yaml", "--nosuch"]]
    assert refused(["run", "a.yaml", "--nosuch"]) == "run has no --nosuch"
    assert refused(["fly"]) == "no verb fly"


def test_every_verb_stands_in_the_architecture_document() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    assert [verb for verb in VERBS if f"`{verb}" not in text] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(path: Path) -> None:
    links = re.findall(r"(?<!!)\[[^\]]*\]\(([^)#]+)\)", path.read_text())
    assert [link for link in links if "://" not in link and not (path.parent / link).is_file()] == []


def test_files_named_in_contributing_exist() -> None:
    named = re.findall(r"`(slasearch/[\w/]+\.py)`", (ROOT / "CONTRIBUTING.md").read_text())
    assert len(named) >= 6
    assert [name for name in named if "NAME" not in name and not (ROOT / name).is_file()] == []


def test_make_help_lists_the_targets() -> None:
    targets = {line.split()[1] for line in make("help").splitlines()}
    assert targets == {"help", "quickstart", "test", "slow", "chaos", "lint", "bench", "clean"}


def test_the_quickstart_calls_commands_as_they_are() -> None:
    joined = make("--dry-run", "quickstart").replace("\\\n", " ")
    lines = [line.split() for line in joined.splitlines() if re.search(r"\.venv/bin/slasearch \w+", line)]
    calls = [words[words.index(".venv/bin/slasearch") + 1 :] for words in lines if words[0] != "echo"]
    assert {call[0] for call in calls} == {"run", "report", "export", "predict"}
    assert [reason for call in calls if (reason := refused(call))] == []
    tasks = {task["name"] for task in yaml.safe_load((ROOT / "studies" / "quickstart.yaml").read_text())["tasks"]}
    assert {call[call.index("--task") + 1] for call in calls if call[0] == "predict"} <= tasks


def test_ci_is_a_strict_script_that_tests_and_lints() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    text = script.read_text()
    assert text.startswith("#!/usr/bin/env bash")
    assert "set -euo pipefail" in text
    assert text.rstrip().endswith("make test\nmake slow\nmake lint")
    subprocess.run(["bash", "-n", str(script)], check=True)
