"""`slasearch dashboard`."""

from __future__ import annotations

import click

from slasearch.cli._output import say, storage_option


@click.command()
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--local-only",
    is_flag=True,
    help="Answer only requests for 127.0.0.1 and localhost, as always on these addresses: for a container whose port "
    "is published there.",
)
@storage_option
def dashboard(port: int, host: str, local_only: bool, storage: str | None) -> None:
    """Show the studies in Optuna's dashboard, for reading only.

    Runs until Ctrl-C.
    """
    from slasearch.config.locations import locate, redacted
    from slasearch.service.dashboard import address, is_loopback, make_dashboard_server

    url = locate(storage).storage_url
    server = make_dashboard_server(url, host, port, local=local_only)
    if not local_only and not is_loopback(host):
        say(f"Anyone who reaches {host} can read the studies: the dashboard asks for no password.")
    say(f"Read-only dashboard of {redacted(url)}: http://{address(host, server.server_port)}/ (Ctrl-C ends it)")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        say("Dashboard ended.")
    finally:
        server.server_close()
