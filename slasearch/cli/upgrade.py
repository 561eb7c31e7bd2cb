"""`slasearch upgrade`."""

from __future__ import annotations

import click

from slasearch.cli._output import emit_json, json_option, say, storage_option


@click.command()
@storage_option
@json_option
def upgrade(storage: str | None, as_json: bool) -> None:
    """Bring the database of an earlier release to this one, so that its studies can be read. Take a copy first.

    Does nothing to a database of this release. `slasearch run` does the same by itself.
    """
    from contextlib import closing

    from slasearch.config.locations import locate, redacted
    from slasearch.storage.store import Store
    from slasearch.storage.upgrade import newest_revision

    url = locate(storage).storage_url
    with closing(Store(url)) as store:
        before = store.upgrade(create=False)
    now = newest_revision()
    if as_json:
        emit_json({"database": redacted(url), "before": before, "now": now})
    elif before == now:
        say(f"database {redacted(url)}: at revision {now} already, nothing to do")
    else:
        say(f"database {redacted(url)}: upgraded from revision {before} to {now}")
