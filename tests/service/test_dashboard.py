"""Optuna's dashboard on a real SQLite file, over a real socket: it can be read and not written."""

import http.client
import json
import re
import runpy
import socket
import sqlite3
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
import sqlalchemy as sa
from optuna.exceptions import StorageInternalError
from optuna.study import StudyDirection
from optuna_dashboard import wsgi

from slasearch.errors import StorageError
from slasearch.service import dashboard
from slasearch.service.dashboard import address, make_dashboard_server, read_only, read_only_storage
from slasearch.service.read_only import read_only_engine_arguments
from slasearch.storage.engine import optuna_template


def rows(database: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in sorted(tables)}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("a folder with spaces") / "slasearch.db"
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    study = optuna.create_study(storage=storage, study_name="mine", direction="maximize")
    for number in range(4):
        trial = study.ask()
        trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)
        trial.suggest_categorical("kind", ["lora", "bias"])
        trial.report(0.5, step=1)
        study.tell(trial, 0.5 + number / 10)
    study.ask()
    storage.engine.dispose()
    return path


@pytest.fixture(scope="module")
def port(database: Path) -> Iterator[int]:
    server = make_dashboard_server(f"sqlite:///{database}", port=0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def request(port: int, method: str, path: str, body: object = None) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    payload = json.dumps(body) if body is not None else None
    connection.request(method, path, payload, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    found = answer.status, answer.headers["Content-Type"] or "", answer.read()
    connection.close()
    return found


def routes(database: Path) -> list[tuple[str, str]]:
    """Method and a path with real ids of every route that the installed dashboard has."""
    app = wsgi(read_only_storage(f"sqlite:///{database}"))
    filled = {"history_id": "1", "artifact_id": "ab-12", "plot_type": "slice", "filename": "bundle.js"}
    found = []
    for route in app.routes:  # type: ignore[attr-defined]
        path = re.sub(r"<(\w*):?[^>]*?>", lambda match: filled.get(match[1], "1" if match[1] else ""), route.rule)
        found.append((route.method, re.sub(r"[)>]+$", "", path)))
    return found


def test_every_writing_route_is_refused_and_nothing_changes(database: Path, port: int) -> None:
    writing = [(method, path) for method, path in routes(database) if method not in ("GET", "HEAD")]
    assert {"POST", "PUT", "DELETE"} <= {method for method, _ in writing}
    assert len(writing) >= 15
    before, size = rows(database), database.read_bytes()
    body = {"study_name": "other", "directions": ["minimize"], "state": "Fail", "user_attrs": {"a": 1}, "version": 1}
    for method, path in writing:
        status, kind, answer = request(port, method, path, body)
        assert (status, kind) == (405, "application/json"), (method, path)
        assert method in json.loads(answer)["reason"]
    assert rows(database) == before
    assert database.read_bytes() == size


@pytest.mark.parametrize("method", ["PATCH", "OPTIONS", "TRACE", "PROPFIND", "get"])
def test_other_methods_are_refused_too(port: int, method: str) -> None:
    assert request(port, method, "/api/studies")[0] == 405


def test_a_method_cannot_be_smuggled_in_a_header(database: Path, port: int) -> None:
    before = rows(database)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/api/studies/1?_method=DELETE", headers={"X-HTTP-Method-Override": "DELETE"})
    assert connection.getresponse().status == 200
    connection.close()
    assert rows(database) == before


def test_studies_and_trials_are_served(port: int) -> None:
    status, _, answer = request(port, "GET", "/api/studies")
    assert status == 200
    assert [study["study_name"] for study in json.loads(answer)["study_summaries"]] == ["mine"]
    detail = json.loads(request(port, "GET", "/api/studies/1")[2])
    assert [trial["state"] for trial in detail["trials"]] == ["Complete"] * 4 + ["Running"]
    status, _, page = request(port, "GET", "/dashboard/studies/1")
    assert status == 200
    assert b"<html" in page.lower()


def test_no_reading_route_changes_the_database(database: Path, port: int) -> None:
    reading = [path for method, path in routes(database) if method == "GET"]
    before = rows(database)
    statuses = {path: request(port, "GET", path)[0] for path in reading}
    assert statuses["/api/studies/1/param_importances"] == 200
    assert statuses["/csv/1"] == 200
    assert all(status < 500 for status in statuses.values()), statuses
    assert rows(database) == before


def test_head_is_answered_without_a_body(port: int) -> None:
    status, _, answer = request(port, "HEAD", "/api/studies")
    assert (status, answer) == (200, b"")


def test_a_trial_that_ends_meanwhile_is_seen(tmp_path: Path) -> None:
    writer = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'live.db'}")
    study = optuna.create_study(storage=writer)
    reader = read_only_storage(f"sqlite:///{tmp_path / 'live.db'}")
    assert reader.get_n_trials(1) == 0
    study.add_trial(optuna.trial.create_trial(value=1.0))
    assert reader.get_n_trials(1) == 1


def test_the_database_itself_refuses_when_the_middleware_is_passed_by(database: Path) -> None:
    storage = read_only_storage(f"sqlite:///{database}")
    with pytest.raises(StorageInternalError) as caught:
        storage.create_new_study([StudyDirection.MINIMIZE], "other")
    assert "readonly" in str(caught.value.__cause__)


@pytest.mark.parametrize("folder", ["a#b", "a?b", "50%25", "a{b}"])
def test_it_refuses_and_makes_no_other_file_whatever_the_folder_is_called(tmp_path: Path, folder: str) -> None:
    file = tmp_path / folder / "x.db"
    file.parent.mkdir()
    url = sa.URL.create("sqlite", database=str(file)).render_as_string()
    writer = optuna.storages.RDBStorage(optuna_template(url))
    optuna.create_study(storage=writer)
    writer.engine.dispose()
    storage = read_only_storage(url)
    assert len(storage.get_all_studies()) == 1
    with pytest.raises(StorageInternalError) as caught:
        storage.create_new_study([StudyDirection.MINIMIZE], "other")
    assert "readonly" in str(caught.value.__cause__)
    storage.engine.dispose()
    assert [path.name for path in tmp_path.iterdir()] == [folder]


def test_the_middleware_passes_the_answer_of_the_application_on() -> None:
    started: list[str] = []
    app = read_only(lambda environ, start: [environ["PATH_INFO"].encode()])
    assert list(app({"REQUEST_METHOD": "GET", "PATH_INFO": "/x"}, lambda status, headers: started.append(status))) == [
        b"/x"
    ]
    assert started == []


def test_a_missing_database_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="expected an existing SQLite file"):
        make_dashboard_server(f"sqlite:///{tmp_path / 'none.db'}", port=0)
    assert not (tmp_path / "none.db").exists()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.db").write_text("this is not a database, only a text that is long enough to be read as one" * 20)
    with pytest.raises(StorageError, match="file is not a database"):
        read_only_storage(f"sqlite:///{tmp_path / 'no.db'}")


def test_a_database_without_a_study_is_told_what_to_do(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "empty.db") as connection:
        connection.execute("CREATE TABLE other (id INTEGER)")
    with pytest.raises(StorageError, match=r"got no table of them\. Run a study first \(`slasearch run FILE`\)"):
        make_dashboard_server(f"sqlite:///{tmp_path / 'empty.db'}", port=0)


def test_a_page_of_another_name_reads_nothing_on_this_machine(port: int) -> None:
    """A name on the web that is given the address 127.0.0.1 is not the name that a person asked for."""

    def status(host: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/api/studies", headers={"Host": host})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status

    assert [status(host) for host in (f"localhost:{port}", f"127.0.0.1:{port}", "[::1]:80", "127.0.0.1")] == [200] * 4
    assert [status(host) for host in ("evil.example:80", "localhost.evil.example", "192.168.0.2", "[::1")] == [403] * 4


def test_a_server_that_is_open_to_others_answers_by_any_name(database: Path) -> None:
    with make_dashboard_server(f"sqlite:///{database}", host="0.0.0.0", port=0) as server:
        app = server.get_app()
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/api/studies", "HTTP_HOST": "gpu1.example:8080"}
        told: list[str] = []
        setup_testing_defaults(environ)
        assert app is not None
        list(app(environ, lambda line, *rest: told.append(line)))  # type: ignore[arg-type, return-value]
        assert told == ["200 OK"]


def test_in_a_container_it_answers_to_the_names_of_the_port_that_is_published(database: Path) -> None:
    with make_dashboard_server(f"sqlite:///{database}", host="0.0.0.0", port=0, local=True) as server:
        app = server.get_app()
        told: list[str] = []
        for host in ("evil.example:8080", "127.0.0.1:8080", "localhost:8080"):
            environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/api/studies", "HTTP_HOST": host}
            setup_testing_defaults(environ)
            assert app is not None
            list(app(environ, lambda line, *rest: told.append(line)))  # type: ignore[arg-type, return-value]
        assert told == ["403 Forbidden", "200 OK", "200 OK"]


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as tried:
            tried.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
def test_it_listens_on_addresses_of_ipv6_too(database: Path) -> None:
    with make_dashboard_server(f"sqlite:///{database}", host="::1", port=0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"http://{address('::1', server.server_port)}/api/studies"
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=30) as answer:
            assert [study["study_name"] for study in json.load(answer)["study_summaries"]] == ["mine"]
        server.shutdown()
        thread.join()


def test_a_taken_port_is_said(database: Path, port: int) -> None:
    with pytest.raises(StorageError, match=f"127.0.0.1:{port}: expected an address"):
        make_dashboard_server(f"sqlite:///{database}", port=port)


def test_postgresql_is_opened_with_read_only_transactions() -> None:
    url, arguments = read_only_engine_arguments("postgresql+psycopg://me@db/studies")
    assert url == "postgresql+psycopg://me@db/studies"
    assert "default_transaction_read_only=on" in arguments["connect_args"]["options"]


def test_a_postgresql_urls_own_options_stay_and_cannot_turn_the_barrier_off() -> None:
    url = "postgresql+psycopg://me@db/studies?options=-csearch_path%3Dmine%20-cdefault_transaction_read_only%3Doff"
    _, arguments = read_only_engine_arguments(url)
    own = "-csearch_path=mine -cdefault_transaction_read_only=off"
    assert arguments["connect_args"]["options"] == f"{own} -c default_transaction_read_only=on"


def test_braces_in_a_password_reach_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql+psycopg://me:a{b}c@db/studies"
    opened: list[str] = []
    monkeypatch.setattr(dashboard, "_refuse_empty", lambda *_: None)
    monkeypatch.setattr(dashboard.sa, "create_engine", lambda *_, **__: None)
    monkeypatch.setattr(
        "optuna.storages.RDBStorage", lambda template, **_: opened.append(template.format(SCHEMA_VERSION=1))
    )
    read_only_storage(url)
    assert opened == [url]


def test_text_that_is_no_url_is_refused() -> None:
    with pytest.raises(StorageError, match="expected a URL"):
        read_only_engine_arguments("my database")


def test_another_server_answers_for_this_machine_alone(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLASEARCH_STORAGE", f"sqlite:///{database}")
    application = runpy.run_path("dashboards/app.py")["application"]
    for host, status in (("127.0.0.1:8080", "200 OK"), ("page.example", "403 Forbidden")):
        environ: dict[str, object] = {"HTTP_HOST": host, "PATH_INFO": "/api/studies"}
        setup_testing_defaults(environ)
        seen: list[str] = []
        b"".join(application(environ, lambda said, *_, seen=seen: seen.append(said)))
        assert seen == [status]
