"""`slasearch report NAME`."""

from __future__ import annotations

from pathlib import Path

import click

from slasearch.cli._output import emit_json, json_option, say, storage_option

FORMATS = ("html", "png", "svg", "pdf", "csv", "parquet", "json")
DEFAULT = "html,png,svg,csv,parquet,json"


def _split(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    formats = tuple(part.strip() for part in value.split(",") if part.strip())
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise click.BadParameter(f"expected some of {', '.join(FORMATS)}, got {value!r}")
    return formats


@click.command()
@click.argument("name")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to write into.")
@click.option(
    "--format",
    "formats",
    metavar="LIST",
    default=DEFAULT,
    show_default=True,
    callback=_split,
    help=f"Some of {', '.join(FORMATS)}.",
)
@storage_option
@json_option
def report(name: str, out: Path, formats: tuple[str, ...], storage: str | None, as_json: bool) -> None:
    """Write the plots, tables and data of the study NAME."""
    from slasearch.config.locations import locate
    from slasearch.report.write import write_report

    files = write_report(locate(storage).storage_url, name, out, formats)
    if as_json:
        emit_json([str(file) for file in files])
        return
    for file in files:
        click.echo(file)
    say(f"{len(files)} files in {out}.")
