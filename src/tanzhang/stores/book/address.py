"""Where a book on PostgreSQL is: ``postgresql://user:password@host:port/database?schema=name``.

The whole address, password included, is for the connection alone; :attr:`BookAddress.shown` is for everything else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import sqlalchemy as sa

from tanzhang.core.errors import TanzhangError, refuse

# What may stand behind the question mark beside ``schema``: options of libpq that hold no secret of their own.
_OPTIONS = {
    "host",
    "port",
    "application_name",
    "connect_timeout",
    "target_session_attrs",
    "channel_binding",
    "passfile",
}
_OPTIONS |= {"sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "gssencmode", "krbsrvname"}
_SCHEMA = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class BookAddress:
    """A schema of a PostgreSQL database and how to get there."""

    url: sa.URL
    schema: str

    @classmethod
    def parse(cls, text: str, *, where: str, schema: str | None = None) -> BookAddress:
        """Read an address; ``schema`` is used where it names none. ``where`` says whence the text came.

        Raises ``book-address-malformed``, whose message never repeats the text.
        """
        try:
            url = sa.make_url(text)
            query = dict(url.query)
        except (sa.exc.ArgumentError, ValueError):
            raise _malformed("it cannot be read as an address", where) from None
        if url.drivername != "postgresql":
            raise _malformed("it does not begin with postgresql://", where)
        named = query.pop("schema", schema)
        if not isinstance(named, str) or not _SCHEMA.fullmatch(named):
            raise _malformed(
                "its schema is not one name of at most 63 small letters, digits and _, or begins with pg_", where
            )
        unknown = sorted(query.keys() - _OPTIONS)
        if unknown:
            raise _malformed(f"its option {unknown[0]} is not known", where)
        return cls(_url(url, url.password, query), named)

    @property
    def text(self) -> str:
        """The address as it was given, with its password."""
        return self._with_schema(self.url)

    @property
    def shown(self) -> str:
        """The address without its password: what messages may show."""
        return self.without_password().text

    def without_password(self) -> BookAddress:
        """The same place, for somebody who knows the password from elsewhere."""
        return BookAddress(_url(self.url, None, dict(self.url.query)), self.schema)

    def reached_by(self, text: str, *, where: str) -> BookAddress:
        """The same book by another way: host, user and password of ``text``, which must not name another schema."""
        other = BookAddress.parse(text, where=where, schema=self.schema)
        if other.schema != self.schema:
            raise _malformed(f"it names schema {other.schema}; the book of this home is in {self.schema}", where)
        return other

    def _with_schema(self, url: sa.URL) -> str:
        return url.update_query_dict({"schema": self.schema}).render_as_string(hide_password=False)


def _url(url: sa.URL, password: str | None, query: dict[str, tuple[str, ...] | str]) -> sa.URL:
    return sa.URL.create(url.drivername, url.username, password, url.host, url.port, url.database, query)


def _malformed(reason: str, where: str) -> TanzhangError:
    return refuse(
        "book-address-malformed",
        f"the address of the book is not understood: {reason}",
        where=where,
        remedy="write postgresql://user@host:port/database?schema=name; further options are those of libpq",
    )
