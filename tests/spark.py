"""A Spark cluster of one master and two workers, each a process of its own, for the tests of one run.

Whichever test process needs it first starts a keeper, which all others find through the run's folder. The keeper starts
a worker that was killed again and ends with everything it started when the last test process that uses it is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

WORKERS = 2
# Small and quickly started: one core a worker and compilers that do not optimise much.
_JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
SETTINGS = {
    "spark.driver.memory": "512m",
    "spark.executor.memory": "512m",
    "spark.executor.cores": "1",
    "spark.cores.max": "2",
    "spark.driver.extraJavaOptions": _JVM,
    "spark.executor.extraJavaOptions": _JVM,
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
}


def missing() -> str | None:
    """Why Spark cannot run here, None if it can."""
    from tanzhang.core.errors import TanzhangError

    try:
        import pyspark  # noqa: F401

        from tanzhang.service.spark.session import check_java

        check_java()
    except ImportError:
        return "pyspark is not installed: pip install 'tanzhang[spark]'"
    except TanzhangError as error:
        return str(error.problems[0].message)
    return None


class Cluster:
    """A running cluster, seen from a test."""

    def __init__(self, folder: Path) -> None:
        self.master = (folder / "master").read_text()
        self._folder = folder

    def workers(self) -> list[psutil.Process]:
        """The processes of the workers that live."""
        found = []
        for number in range(WORKERS):
            with contextlib.suppress(FileNotFoundError, ValueError, psutil.NoSuchProcess):
                found.append(psutil.Process(int((self._folder / f"worker-{number}.pid").read_text())))
        return found

    def kill_a_worker(self) -> None:
        """As a machine that loses its power: a worker that runs an executor, and the executor."""
        busy = [worker for worker in self.workers() if worker.children(recursive=True)]
        assert busy, "no worker runs anything"
        family = [busy[0], *busy[0].children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@contextmanager
def shared_cluster(folder: Path) -> Iterator[Cluster]:
    """The cluster of this test run, in a folder that all its processes know."""
    users = folder / "users"
    users.mkdir(parents=True, exist_ok=True)
    own = users / str(os.getpid())
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        own.touch()
        if not (folder / "master").exists():
            with (folder / "log").open("wb") as log:
                subprocess.Popen(
                    [sys.executable, __file__, str(folder)], stdout=log, stderr=log, start_new_session=True
                )
            for _ in range(1200):
                if (folder / "master").exists():
                    break
                time.sleep(0.05)
            else:
                raise TimeoutError((folder / "log").read_text())
    try:
        yield Cluster(folder)
    finally:
        own.unlink()


def _keep(folder: Path) -> None:
    """The keeper's life."""
    from pyspark.find_spark_home import _find_spark_home

    home = Path(_find_spark_home())
    environment = os.environ | {
        "SPARK_HOME": str(home),
        "SPARK_DAEMON_MEMORY": "192m",
        "SPARK_DAEMON_JAVA_OPTS": f"{_JVM} -Dspark.worker.timeout=6",
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_WORKER_DIR": str(folder / "work"),
        "SPARK_LOCAL_DIRS": str(folder / "local"),
    }

    def start(name: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [home / "bin" / "spark-class", f"org.apache.spark.deploy.{name}", *arguments]
        with (folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = f"spark://127.0.0.1:{port}"
    running = {"master": start("master.Master", "--host", "127.0.0.1", "--port", port, "--webui-port", "0")}

    def start_worker(number: int) -> None:
        # Said, not measured: every test process keeps an application while the drivers it starts need executors too,
        # and one that finds none free waits for ever.
        options = ("--host", "127.0.0.1", "--webui-port", "0", "-c", "64", "-m", "64g", address)
        running[f"worker-{number}"] = start("worker.Worker", *options)
        (folder / f"worker-{number}.pid").write_text(str(running[f"worker-{number}"].pid))

    def end(*_: object) -> None:
        raise SystemExit

    signal.signal(signal.SIGTERM, end)
    try:
        for number in range(WORKERS):
            start_worker(number)
        log = folder / "master.Master.log"
        while len(re.findall("Registering worker", log.read_text())) < WORKERS:
            if running["master"].poll() is not None:
                raise RuntimeError(log.read_text())
            time.sleep(0.1)
        temporary = folder / "master.new"
        temporary.write_text(address)
        temporary.rename(folder / "master")
        while _used(folder):
            for number in range(WORKERS):
                if running[f"worker-{number}"].poll() is not None:
                    start_worker(number)
            time.sleep(0.3)
    finally:
        started = [each for process in running.values() for each in _family(process.pid)]
        for each in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


def _family(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def _used(folder: Path) -> bool:
    """Whether any test process that said it uses the cluster lives."""
    return any(psutil.pid_exists(int(each.name)) for each in (folder / "users").iterdir())


if __name__ == "__main__":
    _keep(Path(sys.argv[1]))
