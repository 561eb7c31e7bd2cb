"""Optuna's dashboard on a study's database, for reading only.

Optuna's dashboard has no read-only mode: its routes rename, delete and tell. Two barriers stand before the data. The
middleware lets only GET and HEAD through, and the database itself is opened so that it refuses to write: SQLite by
`mode=ro`, PostgreSQL by read-only transactions.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterable
from ipaddress import ip_address
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import sqlalchemy as sa

from slasearch.config.locations import redacted
from slasearch.errors import StorageError
from slasearch.service.read_only import read_only_engine_arguments
from slasearch.storage.engine import optuna_template, storage_errors

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from optuna.storages import RDBStorage

__all__ = [
    "address",
    "dashboard_app",
    "is_loopback",
    "local_only",
    "make_dashboard_server",
    "read_only",
    "read_only_storage",
]

READING = ("GET", "HEAD")


def read_only(app: WSGIApplication) -> WSGIApplication:
    """Middleware: GET and HEAD reach `app`, everything else is answered 405 with a reason in JSON."""

    def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in READING:
            return app(environ, start_response)
        reason = (
            f"This dashboard is for reading only: expected GET or HEAD, got {environ['REQUEST_METHOD']}. "
            "Change a study with the slasearch command."
        )
        return _refusal(start_response, "405 Method Not Allowed", reason, ("Allow", ", ".join(READING)))

    return guarded


def local_only(app: WSGIApplication) -> WSGIApplication:
    """Middleware of a server on this machine's own addresses: requests by other names are answered 403.

    A page on the web may give its own name the address 127.0.0.1, and would then be allowed to read what is served.
    """

    def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        asked = environ.get("HTTP_HOST", "")
        name = re.sub(r":\d*$", "", asked).strip("[]")
        if not asked or is_loopback(name):
            return app(environ, start_response)
        reason = f"This dashboard is for this machine: expected http://127.0.0.1 or http://localhost, got {name}."
        return _refusal(start_response, "403 Forbidden", reason)

    return guarded


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine's own, which no other one reaches."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def address(host: str, port: int) -> str:
    """Host and port as they stand in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _refusal(start_response: StartResponse, status: str, reason: str, *headers: tuple[str, str]) -> Iterable[bytes]:
    body = json.dumps({"reason": reason}).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers])
    return [body]


def read_only_storage(url: str) -> RDBStorage:
    """Optuna's storage on `url`, opened so that the database refuses every write.

    Args:
        url: SQLAlchemy URL of a database that holds at least one study.

    Raises:
        StorageError: The database does not exist, cannot be reached or holds no Optuna tables.
    """
    from optuna.storages import RDBStorage

    opened, arguments = read_only_engine_arguments(url)
    with storage_errors(url):
        _refuse_empty(url, sa.create_engine(opened, **arguments))
        template = optuna_template(opened)
        return RDBStorage(template, engine_kwargs=arguments, skip_compatibility_check=True, skip_table_creation=True)


def _refuse_empty(url: str, engine: sa.Engine) -> None:
    """Optuna would ask an empty database for its version, and say no more than that a table is missing."""
    try:
        if sa.inspect(engine).has_table("studies"):
            return
    finally:
        engine.dispose()
    raise StorageError(
        f"database {redacted(url)}: expected studies, got no table of them. "
        "Run a study first (`slasearch run FILE`), or name another database with --storage."
    )


def dashboard_app(url: str) -> WSGIApplication:
    """The read-only dashboard as a WSGI application, for any WSGI server.

    Args:
        url: SQLAlchemy URL of the studies' database.

    Raises:
        StorageError: As `read_only_storage`.
    """
    from optuna_dashboard import wsgi

    return read_only(wsgi(read_only_storage(url)))


class _ThreadingServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _ThreadingServer6(_ThreadingServer):
    address_family = socket.AF_INET6


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """A line for each request would bury the messages that matter."""


def make_dashboard_server(url: str, host: str = "127.0.0.1", port: int = 8080, *, local: bool = False) -> WSGIServer:
    """A small server for one person's use; `serve_forever()` starts it, `shutdown()` ends it.

    Args:
        url: SQLAlchemy URL of the studies' database.
        host: Address to listen on; the default is reachable from this machine only.
        port: Port to listen on; 0 takes a free one, which stands in `server_port`.
        local: Whether only requests for this machine's own names are answered; on its own addresses they always are.

    Raises:
        StorageError: As `read_only_storage`, or the address cannot be listened on.
    """
    app = local_only(dashboard_app(url)) if local or is_loopback(host) else dashboard_app(url)
    server = _ThreadingServer6 if ":" in host else _ThreadingServer
    try:
        return make_server(host, port, app, server_class=server, handler_class=_QuietHandler)
    except OSError as error:
        raise StorageError(
            f"{address(host, port)}: expected an address to listen on, got: {error.strerror or error}. "
            "Choose another with --host and --port."
        ) from error
