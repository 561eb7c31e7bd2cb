"""The command as a whole: verbs, streams and exit codes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from slasearch.cli import main as cli
from slasearch.errors import (
    ArtifactError,
    ClusterError,
    ConfigError,
    LeaseError,
    SlaSearchError,
    StorageError,
    StudyConflictError,
    StudyNotFoundError,
)


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command."""
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    captured = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, captured.out, captured.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("words", [("kinds",), ("schema",), ("samplers", "--json")])
def test_output_to_a_full_disk_is_an_error_in_words(words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "slasearch", *words], stdout=full, stderr=subprocess.PIPE, text=True, timeout=120
        )
    assert done.returncode == cli.EXIT_UNREACHABLE
    assert (
        done.stderr
        == "Error: output: expected room for it, got: No space left on device. Free some, or write elsewhere.\n"
    )


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_help_with_a_summary(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(verb, "--help", capsys=capsys)
    assert code == 0
    assert f"slasearch {verb}" in out
    command = cli.slasearch.get_command(click.Context(cli.slasearch), verb)
    assert command is not None
    assert command.get_short_help_str(200).endswith(".")


def test_json_is_an_option_of_all_verbs_but_those_that_the_documents_name() -> None:
    def takes_json(verb: str) -> bool:
        command = cli.slasearch.get_command(click.Context(cli.slasearch), verb)
        assert command is not None
        return any("--json" in parameter.opts for parameter in command.params)

    assert {verb for verb in cli.VERBS if not takes_json(verb)} == {"init", "schema", "dashboard"}
    documents = Path(__file__).parents[2]
    for name in ("README.md", "docs/architecture.md"):
        assert re.search(r"but(?: for)? `dashboard` and\s`schema`", (documents / name).read_text(encoding="utf-8"))


def test_help_lists_the_verbs_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("--help", capsys=capsys)
    assert code == 0
    listed = [line.split()[0] for line in out.partition("Commands:")[2].splitlines() if line.strip()]
    assert tuple(word for word in listed if word in cli.VERBS) == cli.VERBS


def test_the_module_runs_like_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "slasearch", "--version"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("slasearch, version ")


@pytest.mark.parametrize(
    "arguments",
    [["nosuchverb"], ["run"], ["validate"], ["--nosuch"], ["export", "x", "--out", "y"], ["status", "a", "b"]],
)
def test_wrong_usage_ends_with_2_and_says_so_on_stderr(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(*arguments, capsys=capsys)
    assert (code, out) == (2, "")
    assert "Error" in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError(["a.yaml:1: name: expected a name, got nothing"]), 2),
        (StudyConflictError("other content"), 2),
        (StudyNotFoundError("none"), 2),
        (StorageError("no server"), 4),
        (ClusterError("no cluster"), 4),
        (LeaseError("held"), 1),
        (ArtifactError("damaged"), 1),
    ],
)
def test_errors_end_with_their_code_and_without_a_traceback(
    error: SlaSearchError, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def samplers() -> None:
        raise error

    monkeypatch.setattr("slasearch.cli.samplers.samplers", samplers)
    found, out, err = run("samplers", capsys=capsys)
    assert (found, out) == (code, "")
    assert err == f"Error: {error}\n"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), click.Abort()])
def test_an_interruption_ends_with_130(
    interruption: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def samplers() -> None:
        raise interruption

    monkeypatch.setattr("slasearch.cli.samplers.samplers", samplers)
    code, _, err = run("samplers", capsys=capsys)
    assert code == 130
    assert "Interrupted" in err


def test_a_missing_database_ends_with_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path / 'none' / 'none.db'}"
    for arguments in (["status"], ["status", "x"], ["trials", "x"], ["dashboard", "--port", "0"]):
        code, out, err = run(*arguments, "--storage", url, capsys=capsys)
        assert (code, out) == (4, ""), arguments
        assert "none.db" in err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("words", "variables", "told"),
    [
        ((b"status", b"\xff"), {}, "argument 2: expected text in UTF-8, got other bytes."),
        ((b"status", b"--storage", b"sqlite:////tmp/\xff.db"), {}, "argument 3: expected text in UTF-8"),
        ((b"status",), {b"SLASEARCH_STORAGE": b"sqlite:////tmp/\xff.db"}, "got one that is no text in UTF-8. Check"),
    ],
)
def test_bytes_that_are_no_text_end_with_2(words: tuple[bytes, ...], variables: dict[bytes, bytes], told: str) -> None:
    command = [sys.executable.encode(), b"-m", b"slasearch", *words]
    environment = {**os.environb, **variables}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_storage_that_is_no_url_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("status", "--storage", "my database", capsys=capsys)
    assert code == 2
    assert "expected a database URL" in err


def test_no_color_switches_colour_off(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[bool | None] = []

    @click.command()
    @click.pass_context
    def samplers(ctx: click.Context) -> None:
        seen.append(ctx.color)

    monkeypatch.setattr("slasearch.cli.samplers.samplers", samplers)
    monkeypatch.setenv("NO_COLOR", "1")
    run("samplers", capsys=capsys)
    monkeypatch.setenv("NO_COLOR", "")
    run("samplers", capsys=capsys)
    assert seen == [False, None]


def test_an_encoding_that_lacks_a_letter_ends_nothing() -> None:
    code = "from slasearch.cli import main as m; m._run = lambda _: m.click.echo('−.01 · é') or 0; m.main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=60, check=False,
        env=os.environ | {"PYTHONIOENCODING": "latin-1"},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\u2212.01 · é\n".encode("latin-1"), b"")


@pytest.mark.parametrize("encoding", ["latin-1", "koi8-r", "utf-8"])
def test_a_document_is_json_in_every_encoding(encoding: str) -> None:
    code = "from slasearch.cli import main as m, _output as o; m._run = lambda _: o.emit_json(['größe −😀']); m.main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=60, check=True,
        env=os.environ | {"PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert json.loads(done.stdout.decode(encoding)) == ["größe −😀"]


def test_a_closed_pipe_is_no_traceback() -> None:
    command = f"{sys.executable} -m slasearch schema | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "{"
    assert "Traceback" not in done.stderr


def test_schema_is_one_json_document_for_study_files(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run("schema", capsys=capsys)
    assert (code, err) == (0, "")
    assert {"name", "tasks", "phases", "size_control"} <= set(json.loads(out)["properties"])
