"""A throw-away PostgreSQL server for tests: its files in memory, a socket instead of a port, gone at the end."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tanzhang.stores.home import Home

from .memory import folder_in_memory

MISSING = "PostgreSQL is not installed: no initdb in PATH or in /usr/lib/postgresql/*/bin"
# A process is killed in these tests, never the machine, so that nothing has to reach a disk.
QUICK = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off", "max_connections": "200"}
PASSWORD = "s3cret/@:"  # noqa: S105 - with everything that an address has to escape
_LOGIN = "local all guarded scram-sha-256\nlocal all all trust\n"


def programs() -> Path | None:
    """The folder of initdb and postgres."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -float(path.parent.name))
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


class Server:
    """A server; superuser ``postgres`` needs no password, role ``guarded`` does."""

    def __init__(self, folder: Path, command: Sequence[str | Path], as_user: Mapping[str, Any]) -> None:
        self.folder = folder
        self._made = 0
        self._command, self._as_user = command, as_user

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, cwd=self.folder, **dict(self._as_user)
            )
        _wait_for(self, self._process)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: by SIGINT whoever is connected is sent away, by SIGQUIT it ends as in a crash."""
        self._process.send_signal(how)
        self._process.wait()

    def address(self, database: str, schema: str | None = None, user: str = "postgres") -> str:
        named = "" if schema is None else f"&schema={schema}"
        return f"postgresql://{user}@/{database}?host={self.folder}{named}"

    def connect(self, database: str = "postgres", **more: Any) -> psycopg.Connection[Any]:
        more = {"user": "postgres", **more}
        return psycopg.connect(host=str(self.folder), dbname=database, autocommit=True, **more)

    def database(self, template: str | None = None) -> str:
        """A new database, empty or a copy of another that nobody is connected to."""
        self._made += 1
        name = f"test_{self._made}"
        source = "template0 ENCODING 'UTF8'" if template is None else template
        with self.connect() as con:
            if template is not None:  # a connection that waits to be collected would be in the way
                con.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [template])
            con.execute(f"CREATE DATABASE {name} TEMPLATE {source}")
        return name

    def drop(self, database: str) -> None:
        with self.connect() as con:
            con.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    def copy(self, home: Path, to: Path) -> Path:
        """A copy of a home together with its book."""
        shutil.rmtree(to, ignore_errors=True)
        copied = Path(shutil.copytree(home, to))
        file = copied / "keys" / "book.url"
        address = file.read_text()
        before, _, rest = address.partition("@/")
        database, _, options = rest.partition("?")
        file.write_text(f"{before}@/{self.database(database)}?{options}")
        return copied


@contextmanager
def running_server(settings: Mapping[str, str], *, in_memory: bool = True) -> Iterator[Server]:
    """Start a server of our own and stop it at the end; a user of its own runs it where we are root."""
    found = programs()
    assert found is not None, MISSING
    as_user: dict[str, Any] = {}
    with folder_in_memory("pg") if in_memory else _folder_on_disk() as folder:
        if os.geteuid() == 0:  # PostgreSQL refuses to be run by root
            owner = _unprivileged()
            os.chown(folder, owner.pw_uid, owner.pw_gid)
            as_user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        options = [f"--{name}={value}" for name, value in {"listen_addresses": "", **settings}.items()]
        initdb = [found / "initdb", "-D", folder / "data", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(initdb, check=True, capture_output=True, cwd=folder, **as_user)
        (folder / "data" / "pg_hba.conf").write_text(_LOGIN)
        server = Server(folder, [found / "postgres", "-D", folder / "data", "-k", folder, *options], as_user)
        try:
            server.start()
            with server.connect() as con:
                con.execute(f"CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'")
            yield server
        finally:
            server.stop()  # which gives shared memory back


@contextmanager
def _folder_on_disk() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tanzhang-pg-") as folder:
        yield Path(folder)


def _unprivileged() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _wait_for(server: Server, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        try:
            server.connect().close()
        except psycopg.OperationalError:
            assert process.poll() is None, (server.folder / "log").read_text()
            time.sleep(0.05)
        else:
            return
    raise TimeoutError((server.folder / "log").read_text())


def as_superuser(home: Home) -> psycopg.Connection[Any]:
    """The book of a home by plain PostgreSQL, with its triggers switched off for this connection."""
    url = home.book.place.url  # type: ignore[union-attr]
    con = psycopg.connect(host=url.query["host"], dbname=url.database, user="postgres", autocommit=True)
    con.execute("SET session_replication_role = replica")
    con.execute(f"SET search_path = {home.book.place.schema}")  # type: ignore[union-attr]
    return con
