"""The book (账本): the one place where things are decided, in one SQL transaction each.

It names every file that exists, holds the double-entry postings and the links between accounts, and gives the log its
entries. Postings, batches and every other row are only ever added: the database itself refuses to change, delete or
replace one. One schema serves two databases::

    schema.py    tables, and the chain that their rows form
    book.py      what can be asked of a book and added to it, the same on both
    database.py  what the two have to do differently
    sqlite.py    a file in the home, the default
    postgres.py  a schema on a PostgreSQL server; loaded only where an address names one
    address.py   postgresql:// addresses, and who may see their password
"""

from tanzhang.stores.book.address import BookAddress
from tanzhang.stores.book.book import Book, add_plans, add_submission
from tanzhang.stores.book.schema import (
    CHAINED,
    EMPTY_HEAD,
    append,
    batch,
    consumption,
    entry,
    erasure,
    genesis,
    guard_move,
    home,
    is_erased_link,
    leftover,
    link,
    link_file,
    lot_event,
    manifest_of,
    money_move,
    payback_run,
    plan,
    points_move,
    points_rules,
    points_run,
    posting,
    replacement,
    retirement,
    seal_key,
    submission,
    system_account,
    tally,
    transfer,
    unit_event,
    unit_label,
    unit_lot,
    unsettled,
)

__all__ = [
    "CHAINED",
    "EMPTY_HEAD",
    "Book",
    "BookAddress",
    "add_plans",
    "add_submission",
    "append",
    "batch",
    "consumption",
    "entry",
    "erasure",
    "genesis",
    "guard_move",
    "home",
    "is_erased_link",
    "leftover",
    "link",
    "link_file",
    "lot_event",
    "manifest_of",
    "money_move",
    "payback_run",
    "plan",
    "points_move",
    "points_rules",
    "points_run",
    "posting",
    "replacement",
    "retirement",
    "seal_key",
    "submission",
    "system_account",
    "tally",
    "transfer",
    "unit_event",
    "unit_label",
    "unit_lot",
    "unsettled",
]
