"""PostgreSQL goes away while requests are answered and five workers settle: cut connections, stops, crashes."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from ..homes import at_once_home
from ..postgres import Server
from .running import ROUNDS, Callers, assert_counted_once, chance_of, faults, serving


def test_connections_that_were_lost_while_nobody_used_them_fail_nobody(quick: Path, postgres: Server) -> None:
    database = postgres.database()
    home = at_once_home(quick / "home", book=postgres.address(database, "service"))
    with postgres.connect() as con:
        for _ in range(2):
            with home.book.reading(), home.book.reading():  # two of the pool
                pass
            ended = con.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database])
            assert len(ended.fetchall()) == 2
            assert home.book.batch_count() == 0


@pytest.mark.parametrize("workers", [1, 5])
def test_a_database_that_is_cut_off_stopped_or_crashes_loses_and_doubles_nothing(
    quick: Path, own_postgres: Server, workers: int
) -> None:
    server, database = own_postgres, own_postgres.database()
    home = at_once_home(quick / "home", book=server.address(database, "service"))
    chance = chance_of("lost", workers)

    def cut() -> None:
        """Some of the connections, in the middle of whatever they are at."""
        with server.connect() as con:
            con.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND random() < 0.7",
                [database],
            )

    def stopped() -> None:
        server.stop(signal.SIGINT)
        server.start()

    def crashed() -> None:
        server.stop(signal.SIGQUIT)
        server.start()

    with serving(home, processes=2, workers=workers) as service:
        callers = Callers(service, 3, chance)
        todo = [*[cut] * 3, stopped, crashed] * ROUNDS
        chance.shuffle(todo)
        faults(service, callers, todo, chance, settling=home)
        assert all(each.started == [each.main] for each in service.programs)  # nobody had to be started again
    assert_counted_once(home, callers)
