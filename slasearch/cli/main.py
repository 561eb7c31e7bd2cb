"""The `slasearch` command: finds the verbs, and turns every ending into an exit code.

    0 ok · 1 study failed, or what was asked cannot be done with what is there · 2 usage or invalid file ·
    3 finished, but a trial still failed · 4 unreachable · 130 interrupted

Data goes to stdout, messages to stderr. A verb is the module `slasearch.cli.NAME` with a command of its own name in
it; it is imported only when it is needed, and imports what is heavy inside its function.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from slasearch import __version__
from slasearch.errors import ArtifactError, ClusterError, LeaseError, ReportError, SlaSearchError, StorageError
from slasearch.files import is_text

__all__ = ["EXIT_FAILED", "EXIT_INTERRUPTED", "EXIT_UNREACHABLE", "EXIT_USAGE", "VERBS", "main"]

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 4
EXIT_INTERRUPTED = 130

VERBS = (
    "init",
    "validate",
    "schema",
    "run",
    "status",
    "trials",
    "retry",
    "cancel",
    "delete",
    "upgrade",
    "report",
    "compare",
    "export",
    "predict",
    "dashboard",
    "tasks",
    "kinds",
    "samplers",
    "doctor",
)
"""The verbs in the order in which a newcomer meets them."""


class _LazyVerbs(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = getattr(importlib.import_module(f"slasearch.cli.{cmd_name}"), cmd_name)
        return command


@click.group(cls=_LazyVerbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="slasearch")
@click.pass_context
def slasearch(ctx: click.Context) -> None:
    """Search for small, robust adapter structures on a frozen transformer.

    Start with `slasearch run studies/quickstart.yaml`.
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False


def exit_code(error: SlaSearchError) -> int:
    """The exit code that an error ends the command with."""
    if isinstance(error, (ClusterError, StorageError)):
        return EXIT_UNREACHABLE
    if isinstance(error, (ArtifactError, LeaseError, ReportError)):
        return EXIT_FAILED
    return EXIT_USAGE


def _refuse_bytes(arguments: Sequence[str]) -> None:
    """Refuses what nothing could print or store. It is not shown, as it may be a URL with a password."""
    for number, word in enumerate(arguments, start=1):
        if not is_text(word):
            raise click.UsageError(f"argument {number}: expected text in UTF-8, got other bytes.")


def _run(arguments: Sequence[str]) -> int:
    try:
        _refuse_bytes(arguments)
        result: Any = slasearch.main(args=arguments, prog_name="slasearch", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return EXIT_INTERRUPTED
    except SlaSearchError as error:
        click.echo(f"Error: {error}", err=True)
        return exit_code(error)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left of it would fail again at the end
        click.echo(
            f"Error: output: expected room for it, got: {error.strerror}. Free some, or write elsewhere.", err=True
        )
        return EXIT_UNREACHABLE
    return result if isinstance(result, int) else 0


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command and ends the process with its exit code.

    Args:
        arguments: Words after `slasearch`; None takes them from the process.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a minus or a dot that the terminal's encoding lacks ends nothing
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(_run(sys.argv[1:] if arguments is None else arguments))
