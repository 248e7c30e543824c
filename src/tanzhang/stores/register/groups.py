"""Groups of friends: who is in which, under what name; and the code that invites to each.

Titles and names are sealed as personal fields are (:mod:`tanzhang.stores.register.people`); of a code only a hash is
kept. Nothing of this is chained: groups come and go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from tanzhang.core.errors import refuse
from tanzhang.stores.book import Book
from tanzhang.stores.book.schema import TEXT, metadata

friends_group = sa.Table(
    "friends_group",
    metadata,
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("title", TEXT, nullable=False),  # sealed
    sa.Column("code_hash", TEXT, nullable=False, unique=True),
    sa.Column("code_ends_at", TEXT, nullable=False),
    sa.Column("created_at", TEXT, nullable=False),
)
friends_member = sa.Table(
    "friends_member",
    metadata,
    sa.Column("id", TEXT, primary_key=True),  # also that of the consent it rests on
    sa.Column("group_id", TEXT, nullable=False),
    sa.Column("account", TEXT, nullable=False),
    sa.Column("name", TEXT),  # sealed; without one a pseudonym is shown
    sa.Column("joined_at", TEXT, nullable=False),
    sa.UniqueConstraint("group_id", "account"),
    sa.Index("friends_member_account", "account"),
)


class Groups:
    """The groups of a home."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def add(
        self,
        group: Mapping[str, Any],
        member: Mapping[str, Any],
        *,
        own: Sequence[str],
        most_groups: int,
        also: Callable[[sa.Connection], None],
    ) -> None:
        """A new group with its first member, whose accounts are ``own``; ``too-many-groups``."""
        with self._book.transaction() as con:
            _check_few(con, own, most_groups)
            con.execute(friends_group.insert(), dict(group))
            con.execute(friends_member.insert(), dict(member))
            also(con)

    def join(
        self,
        code_hash: str,
        at: str,
        member: Mapping[str, Any],
        *,
        own: Sequence[str],
        most_groups: int,
        most_members: int,
        also: Callable[[sa.Connection], None],
    ) -> Any:
        """Make somebody a member of the group that a code invites to; returns the group's row.

        Raises ``group-code-unknown``, ``already-member``, ``group-full``, ``too-many-groups``; nobody joined then.
        """
        with self._book.transaction() as con:
            group = con.execute(sa.select(friends_group).where(friends_group.c.code_hash == code_hash)).first()
            if group is None or group.code_ends_at <= at:
                raise refuse(
                    "group-code-unknown",
                    "this code invites to no group, or no longer",
                    where="#/code",
                    remedy="ask a member of the group for a new one",
                )
            inside = sa.select(friends_member.c.account).where(friends_member.c.group_id == group.id)
            members = [row.account for row in con.execute(inside)]
            if set(members) & set(own):
                raise refuse("already-member", "you are in this group", where="#/code", remedy="look at your groups")
            if len(members) >= most_members:
                raise refuse(
                    "group-full",
                    f"the group has {len(members)} members, which is the most",
                    where="#/code",
                    remedy="form another group, or wait until somebody leaves",
                )
            _check_few(con, own, most_groups)
            con.execute(friends_member.insert(), {**member, "group_id": group.id})
            also(con)
        return group

    def leave(self, member: str, also: Callable[[sa.Connection], None]) -> None:
        """End a membership; a group that nobody is in any more goes with it."""
        with self._book.transaction() as con:
            con.execute(friends_member.delete().where(friends_member.c.id == member))
            also(con)
            _drop_empty(con)

    def invite(self, group: str, code_hash: str, ends_at: str) -> None:
        """A new code for a group; the one before invites to nothing any more."""
        values = {"code_hash": code_hash, "code_ends_at": ends_at}
        with self._book.transaction() as con:
            con.execute(friends_group.update().where(friends_group.c.id == group).values(**values))

    def name(self, member: str, sealed: str | None) -> None:
        """The sealed name of a member, None for a pseudonym."""
        with self._book.transaction() as con:
            con.execute(friends_member.update().where(friends_member.c.id == member).values(name=sealed))

    def of_accounts(self, accounts: Sequence[str]) -> list[Any]:
        """Memberships of some accounts with title and code of each group, the earliest first."""
        columns = (friends_group.c.title, friends_group.c.code_ends_at, friends_group.c.created_at)
        joined = friends_member.join(friends_group, friends_group.c.id == friends_member.c.group_id)
        own = sa.select(friends_member, *columns).select_from(joined).where(friends_member.c.account.in_(accounts))
        return self._book.query(own.order_by(friends_member.c.joined_at, friends_member.c.id))

    def members(self, group: str) -> list[Any]:
        """The members of a group, the earliest first."""
        inside = sa.select(friends_member).where(friends_member.c.group_id == group)
        return self._book.query(inside.order_by(friends_member.c.joined_at, friends_member.c.id))

    def sizes(self, groups: Sequence[str]) -> dict[str, int]:
        """How many are in each of some groups."""
        count = sa.select(friends_member.c.group_id, sa.func.count().label("n"))
        found = count.where(friends_member.c.group_id.in_(groups)).group_by(friends_member.c.group_id)
        return {row.group_id: int(row.n) for row in self._book.query(found)}


def forget_members(con: sa.Connection, accounts: Sequence[str]) -> int:
    """In somebody's transaction: end every membership of accounts, and groups that nobody is in; returns how many."""
    count = con.execute(friends_member.delete().where(friends_member.c.account.in_(accounts))).rowcount
    if count:
        _drop_empty(con)
    return int(count)


def _drop_empty(con: sa.Connection) -> None:
    con.execute(friends_group.delete().where(friends_group.c.id.not_in(sa.select(friends_member.c.group_id))))


def _check_few(con: sa.Connection, own: Sequence[str], most: int) -> None:
    mine = sa.select(sa.func.count()).select_from(friends_member).where(friends_member.c.account.in_(own))
    if int(con.execute(mine).scalar_one()) >= most:
        raise refuse(
            "too-many-groups",
            f"one person may be in {most} groups" if most else "this programme has no groups of friends",
            where="group",
            remedy="leave one first" if most else "look at the public rankings",
        )
