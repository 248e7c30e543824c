"""Groups of friends (好友圈): formed by invitation code, left at any time, with a ranking of its own.

Whoever joins agrees that the others see what was confirmed for them in a period; that is a consent like any other, and
taking it back is leaving. Members are shown under a pseudonym of this group alone, or a name that they give in it.
"""

from __future__ import annotations

import secrets
import uuid
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from tanzhang.core.access import secret_hash
from tanzhang.core.errors import refuse
from tanzhang.service.joining import own_accounts
from tanzhang.service.moments import received_at, received_day
from tanzhang.service.ranking import Scope, masked
from tanzhang.service.reading import Reader
from tanzhang.stores.home import Home
from tanzhang.stores.register.groups import friends_group, friends_member
from tanzhang.stores.register.people import consent, place_of

FRIENDS = "friends"
PURPOSE = "show the members of this group what was confirmed for the person, in all of a day, week or month"
_ALPHABET = "ABCDEFGHJKMNPQRSTVWXYZ23456789"  # nothing that is read as something else
_PARTS, _PART = 3, 5
_LONGEST_TITLE, _LONGEST_NAME = 40, 20


def form_group(home: Home, account: str, title: str, *, name: str | None = None, now: datetime) -> dict[str, Any]:
    """Form a group whose first member is the person; ``code`` is shown this once. ``name-malformed``, as well."""
    keys, friends = home.personal_keys, home.programme.friends
    wanted = _visible(title, _LONGEST_TITLE, "#/title")
    group, code, at = secrets.token_hex(8), _new_code(), received_at(now)
    ends_at = received_at(now + timedelta(days=friends.invitation_days))
    row = {
        "id": group,
        "title": keys.seal(wanted, place_of(friends_group, "title", group)),
        "code_hash": _hash(code),
        "code_ends_at": ends_at,
        "created_at": at,
    }
    member = {**_member(home, account, name, at), "group_id": group}
    own = _own(home, account)
    also = _agreeing(member["id"], account, received_day(home, now).isoformat(), at)
    home.groups.add(row, member, own=own, most_groups=friends.most_groups, also=also)
    return {**group_of(home, account, group), "code": code}


def join_group(home: Home, account: str, code: str, *, name: str | None = None, now: datetime) -> dict[str, Any]:
    """Join the group that a code invites to.

    Raises ``group-code-unknown``, ``already-member``, ``group-full``, ``too-many-groups``, ``name-malformed``.
    """
    friends, at = home.programme.friends, received_at(now)
    member = _member(home, account, name, at)
    group = home.groups.join(
        _hash(code),
        at,
        member,
        own=_own(home, account),
        most_groups=friends.most_groups,
        most_members=friends.most_members,
        also=_agreeing(member["id"], account, received_day(home, now).isoformat(), at),
    )
    return group_of(home, account, group.id)


def new_code(home: Home, account: str, group: str, *, now: datetime) -> dict[str, Any]:
    """A new code for a group of one's own; the one before invites to nothing any more. ``not-found``."""
    _membership(home, account, group)
    code = _new_code()
    ends_at = received_at(now + timedelta(days=home.programme.friends.invitation_days))
    home.groups.invite(group, _hash(code), ends_at)
    return {**group_of(home, account, group), "code": code}


def rename(home: Home, account: str, group: str, name: str | None) -> dict[str, Any]:
    """Be shown under a name in a group, or (None) under a pseudonym again. ``not-found``, ``name-malformed``."""
    row = _membership(home, account, group)
    home.groups.name(row.id, _sealed_name(home, row.id, name))
    return group_of(home, account, group)


def leave_group(home: Home, account: str, group: str, *, now: datetime) -> dict[str, Any]:
    """Leave a group, and take the consent back; nobody in it sees anything of the person any more. ``not-found``."""
    end_membership(home, _membership(home, account, group).id, now=now)
    return {"id": group, "status": "left"}


def end_membership(home: Home, member: str, *, now: datetime) -> None:
    """End a membership and the consent of its id."""
    ended = {"revoked_at": received_at(now), "valid_until": received_day(home, now).isoformat()}
    standing = (consent.c.id == member) & consent.c.revoked_at.is_(None)

    def also(con: sa.Connection) -> None:
        con.execute(consent.update().where(standing).values(**ended))

    home.groups.leave(member, also)


def groups_of(home: Home, account: str) -> list[dict[str, Any]]:
    """The groups a person is in, the earliest joined first."""
    rows = home.groups.of_accounts(_own(home, account))
    sizes = home.groups.sizes([row.group_id for row in rows])
    keys = home.personal_keys
    return [
        {
            "id": row.group_id,
            "title": keys.open(row.title, place_of(friends_group, "title", row.group_id)),
            "name": None if row.name is None else keys.open(row.name, place_of(friends_member, "name", row.id)),
            "members": sizes[row.group_id],
            "most_members": home.programme.friends.most_members,
            "joined_at": row.joined_at,
            "code_ends_at": row.code_ends_at,
        }
        for row in rows
    ]


def group_of(home: Home, account: str, group: str) -> dict[str, Any]:
    """One group of a person; ``not-found``."""
    _membership(home, account, group)
    return next(each for each in groups_of(home, account) if each["id"] == group)


def group_ranking(reader: Reader, account: str, group: str, scope: Scope) -> dict[str, Any]:
    """Who of a group was confirmed how much in a day, week or month, as boards count it; ``not-found`` from outside.

    Amounts in mg as text. Whoever has nothing is listed last, without a rank. Accounts that are joined to a member's
    count too, and two members who have become one person are one.
    """
    home = reader.home
    _membership(home, account, group)
    persons = {home.joinings.root(row.account): row for row in reversed(home.groups.members(group))}
    accounts = {person: own_accounts(home, uuid.UUID(person)) for person in persons}
    asked = [own for person in persons for own in accounts[person]]
    amounts = dict(zip(asked, reader.confirmed_mg(asked, scope.first, scope.last), strict=True))
    sums = {person: sum(amounts[own] for own in accounts[person]) for person in persons}
    keys, mine = home.personal_keys, home.joinings.root(account)
    rows = []
    for person, amount in sorted(sums.items(), key=lambda each: (-each[1], persons[each[0]].id)):
        row = persons[person]
        sealed = row.name
        shown = None if sealed is None else keys.open(sealed, place_of(friends_member, "name", row.id))
        rank = 1 + sum(other > amount for other in sums.values()) if amount > 0 else None
        rows.append(
            {
                "rank": rank,
                "name": shown or masked(home.identity_key, f"group {group}", uuid.UUID(person)),
                "mg": str(amount),
                "own": person == mine,
            }
        )
    return {
        "programme": home.programme.id,
        "state": "confirmed",
        "group": group,
        "period": scope.period,
        "first": scope.first.isoformat(),
        "last": scope.last.isoformat(),
        "people": len(rows),
        "rows": rows,
    }


def _membership(home: Home, account: str, group: str) -> Any:
    for row in home.groups.of_accounts(_own(home, account)):
        if row.group_id == group:
            return row
    raise refuse("not-found", "there is no such group of yours", where="path: group", remedy="look at your groups")


def _own(home: Home, account: str) -> list[str]:
    return [str(each) for each in own_accounts(home, uuid.UUID(account))]


def _member(home: Home, account: str, name: str | None, at: str) -> dict[str, Any]:
    member = secrets.token_hex(12)
    return {"id": member, "account": account, "name": _sealed_name(home, member, name), "joined_at": at}


def _sealed_name(home: Home, member: str, name: str | None) -> str | None:
    if name is None:
        return None
    return home.personal_keys.seal(_visible(name, _LONGEST_NAME, "#/name"), place_of(friends_member, "name", member))


def _agreeing(member: str, account: str, day: str, at: str) -> Any:
    """What writes the consent that a membership rests on, in the transaction that makes somebody a member."""
    given = {
        "id": member,
        "account": account,
        "scope": FRIENDS,
        "purpose": PURPOSE,
        "partner": None,
        "joining": None,
        "valid_from": day,
        "valid_until": None,
        "given_at": at,
        "revoked_at": None,
    }
    return lambda con: con.execute(consent.insert(), given)


def _visible(text: str, longest: int, where: str) -> str:
    """A title or name that can be shown; ``name-malformed``."""
    wanted = " ".join(text.split())
    if not 0 < len(wanted) <= longest or not wanted.isprintable() or wanted.startswith("*"):
        raise refuse(
            "name-malformed",
            "this is not a name that can be shown",
            where=where,
            remedy=f"give 1 to {longest} characters that can be seen, the first no *",
        )
    return wanted


def _new_code() -> str:
    """15 characters, 73 bits: nobody finds one by trying."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(_PART)) for _ in range(_PARTS))


def _hash(code: str) -> str:
    """What a code is known by, however it was typed."""
    return secret_hash("".join(each for each in code.upper() if each in _ALPHABET))
