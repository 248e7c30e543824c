"""Schema 4, of the first release: every table of a new book.

Revision ID: 4.0
Written by scripts/make_baseline.py.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "4.0"
down_revision = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "access_log",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("at", TEXT, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("who", TEXT, nullable=False),
        sa.Column("what", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("access_log_account", "access_log", ["account", "id"], unique=False)
    op.create_table(
        "api_key",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("partner", TEXT, nullable=False),
        sa.Column("label", TEXT, nullable=False),
        sa.Column("scopes", TEXT, nullable=False),
        sa.Column("secret_hash", TEXT, nullable=False),
        sa.Column("created_at", TEXT, nullable=False),
        sa.Column("expires_at", TEXT, nullable=True),
        sa.Column("revoked_at", TEXT, nullable=True),
        sa.Column("last_used_on", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("api_key_partner", "api_key", ["partner"], unique=False)
    op.create_table(
        "attempt",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("bucket", TEXT, nullable=False),
        sa.Column("at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("attempt_bucket", "attempt", ["bucket", "at"], unique=False)
    op.create_table(
        "auction_bid",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("auction", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("bidder", TEXT, nullable=False),
        sa.Column("reference", TEXT, nullable=False),
        sa.Column("commitment", TEXT, nullable=False),
        sa.Column("sealed", TEXT, nullable=True),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("changed_at", TEXT, nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=True),
        sa.Column("price_fen", sa.BigInteger(), nullable=True),
        sa.Column("awarded", sa.BigInteger(), nullable=True),
        sa.Column("deal", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("auction", "bidder", "reference"),
        sa.UniqueConstraint("auction", "place"),
    )
    op.create_table(
        "audit",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("at", TEXT, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("origin", TEXT, nullable=False),
        sa.Column("act", TEXT, nullable=False),
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("detail", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        info={"append_only": True},
    )
    op.create_table(
        "authorisation",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("account", sa.LargeBinary(length=16), nullable=False),
        sa.Column("from_day", TEXT, nullable=False),
        sa.Column("until_day", TEXT, nullable=True),
        sa.Column("behaviours", TEXT, nullable=True),
        sa.Column("terms", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("revoked_at", TEXT, nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("authorisation_account", "authorisation", ["account"], unique=False)
    op.create_index("authorisation_revision", "authorisation", ["revision"], unique=False)
    op.create_table(
        "authorisation_file",
        sa.Column("fingerprint", TEXT, nullable=False),
        sa.Column("partner", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("answer", TEXT, nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("fingerprint"),
    )
    op.create_table(
        "batch",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("entry", sa.Integer(), nullable=False),
        sa.Column("through", TEXT, nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("folder", TEXT, nullable=False),
        sa.Column("records_file", TEXT, nullable=False),
        sa.Column("records_digest", TEXT, nullable=False),
        sa.Column("subtrees_digest", TEXT, nullable=False),
        sa.Column("manifest", TEXT, nullable=False),
        sa.Column("sealed_at", TEXT, nullable=False),
        sa.Column("chain", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("entry"),
    )
    op.create_table(
        "benefit",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.Column("recorded_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", "version"),
    )
    op.create_table(
        "benefit_use",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("benefit", TEXT, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("counter", TEXT, nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=True),
        sa.Column("sponsor", TEXT, nullable=True),
        sa.Column("partner", TEXT, nullable=True),
        sa.Column("payee", TEXT, nullable=True),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("day", TEXT, nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("changed_at", TEXT, nullable=False),
        sa.Column("due_at", TEXT, nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("file", TEXT, nullable=True),
        sa.Column("note", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("benefit_use_account", "benefit_use", ["account", "seq"], unique=False)
    op.create_index("benefit_use_day", "benefit_use", ["benefit", "day", "account"], unique=False)
    op.create_index("benefit_use_due", "benefit_use", ["state", "due_at"], unique=False)
    op.create_table(
        "certificate",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("account", TEXT, nullable=True),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("issued_at", TEXT, nullable=False),
        sa.Column("list", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("sealed", TEXT, nullable=True),
        sa.Column("revoked_at", TEXT, nullable=True),
        sa.Column("reason", TEXT, nullable=True),
        sa.Column("consent", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("certificate_account", "certificate", ["account", "issued_at"], unique=False)
    op.create_index("certificate_place", "certificate", ["list", "place"], unique=True)
    op.create_table(
        "certificate_list",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("address", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_table(
        "chore",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("worker", TEXT, nullable=False),
        sa.Column("taken_at", TEXT, nullable=False),
        sa.Column("next_at", TEXT, nullable=False),
        sa.Column("ended_at", TEXT, nullable=True),
        sa.Column("took_ms", sa.BigInteger(), nullable=True),
        sa.Column("result", TEXT, nullable=True),
        sa.Column("said", TEXT, nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "consent",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("scope", TEXT, nullable=False),
        sa.Column("purpose", TEXT, nullable=False),
        sa.Column("partner", TEXT, nullable=True),
        sa.Column("joining", TEXT, nullable=True),
        sa.Column("valid_from", TEXT, nullable=False),
        sa.Column("valid_until", TEXT, nullable=True),
        sa.Column("given_at", TEXT, nullable=False),
        sa.Column("revoked_at", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("consent_account", "consent", ["account"], unique=False)
    op.create_table(
        "consumption",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.Column("submission", sa.Integer(), nullable=False),
        sa.Column("through", TEXT, nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("chain", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_table(
        "delivery",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("partner", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=True),
        sa.Column("request_digest", TEXT, nullable=False),
        sa.Column("received_at", TEXT, nullable=False),
        sa.Column("inbox", NUMBER, nullable=False),
        sa.Column("rows_before", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("accepted", sa.BigInteger(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.Column("signature", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("partner", "key"),
    )
    op.create_index("delivery_inbox", "delivery", ["inbox"], unique=False)
    op.create_index("delivery_partner", "delivery", ["partner", "id"], unique=False)
    op.create_table(
        "donation",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("project", TEXT, nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("unit", TEXT, nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("transfer", sa.Integer(), nullable=True),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("donation_account", "donation", ["account", "seq"], unique=False)
    op.create_table(
        "donation_project",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.Column("recorded_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", "version"),
    )
    op.create_table(
        "donation_total",
        sa.Column("project", TEXT, nullable=False),
        sa.Column("unit", TEXT, nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("givers", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "unit"),
    )
    op.create_table(
        "entry",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("text", TEXT, nullable=True),
        sa.Column("chain", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_table(
        "epoch_key",
        sa.Column("only", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint('"only" = 1', name="epoch_key_only_check"),
        sa.PrimaryKeyConstraint("only"),
    )
    op.create_table(
        "epoch_secret",
        sa.Column("entry", sa.Integer(), nullable=False),
        sa.Column("first", sa.LargeBinary(), nullable=False),
        sa.Column("last", sa.LargeBinary(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("entry", "first"),
    )
    op.create_table(
        "erase_again",
        sa.Column("account", TEXT, nullable=False),
        sa.Column("after", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("account"),
    )
    op.create_table(
        "erasure",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=True),
        sa.Column("accounts", sa.BigInteger(), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("reports", sa.BigInteger(), nullable=False),
        sa.Column("links", TEXT, nullable=False),
        sa.Column("chain", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_table(
        "forgotten_leaf",
        sa.Column("entry", sa.Integer(), nullable=False),
        sa.Column("unit", TEXT, nullable=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("entry", "unit", "leaf"),
    )
    op.create_table(
        "friends_group",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("title", TEXT, nullable=False),
        sa.Column("code_hash", TEXT, nullable=False),
        sa.Column("code_ends_at", TEXT, nullable=False),
        sa.Column("created_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("code_hash"),
    )
    op.create_table(
        "friends_member",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("group_id", TEXT, nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=True),
        sa.Column("joined_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("group_id", "account"),
    )
    op.create_index("friends_member_account", "friends_member", ["account"], unique=False)
    op.create_table(
        "guard_case",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("submission", sa.Integer(), nullable=False),
        sa.Column("row", sa.BigInteger(), nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("score", sa.BigInteger(), nullable=False),
        sa.Column("reasons", TEXT, nullable=False),
        sa.Column("action", TEXT, nullable=False),
        sa.Column("child", TEXT, nullable=False),
        sa.Column("partner", TEXT, nullable=False),
        sa.Column("behaviour", TEXT, nullable=False),
        sa.Column("region", TEXT, nullable=False),
        sa.Column("day", TEXT, nullable=False),
        sa.Column("ended", TEXT, nullable=False),
        sa.Column("close_day", TEXT, nullable=False),
        sa.Column("plan", TEXT, nullable=True),
        sa.Column("quantified_mg", sa.BigInteger(), nullable=True),
        sa.Column("withdraws", TEXT, nullable=True),
        sa.Column("opened_at", TEXT, nullable=False),
        sa.Column("decided_at", TEXT, nullable=True),
        sa.Column("decision", TEXT, nullable=True),
        sa.Column("appeal", TEXT, nullable=True),
        sa.Column("appealed_at", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("submission", "row"),
    )
    op.create_index("guard_case_action", "guard_case", ["action"], unique=False)
    op.create_index("guard_case_child", "guard_case", ["child"], unique=False)
    op.create_index("guard_case_state", "guard_case", ["state", "id"], unique=False)
    op.create_table(
        "guard_drift",
        sa.Column("rule", TEXT, nullable=False),
        sa.Column("partner", TEXT, nullable=False),
        sa.Column("behaviour", TEXT, nullable=False),
        sa.Column("day", TEXT, nullable=False),
        sa.Column("percent", sa.BigInteger(), nullable=False),
        sa.Column("acts", sa.BigInteger(), nullable=False),
        sa.Column("mean_mg", sa.BigInteger(), nullable=False),
        sa.Column("trailing_mean_mg", sa.BigInteger(), nullable=False),
        sa.Column("found_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("day", "partner", "behaviour", "rule"),
    )
    op.create_table(
        "guard_move",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("submission", sa.Integer(), nullable=False),
        sa.Column("rows", TEXT, nullable=False),
        sa.Column("reports", sa.BigInteger(), nullable=False),
        sa.Column("batches", sa.Integer(), nullable=False),
        sa.Column("released_as", sa.Integer(), nullable=True),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("chain", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("guard_move_submission", "guard_move", ["submission"], unique=False)
    op.create_table(
        "home",
        sa.Column("key", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "inbox",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("received_day", TEXT, nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("accepted", sa.BigInteger(), nullable=False),
        sa.Column("reports", sa.LargeBinary(), nullable=True),
        sa.Column("submission", sa.Integer(), nullable=True),
        sa.Column("rows_before", sa.BigInteger(), nullable=True),
        sa.Column("at_once", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("inbox_submission", "inbox", ["submission"], unique=False)
    op.create_table(
        "join_token",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("token_hash", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("partner", TEXT, nullable=True),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("created_at", TEXT, nullable=False),
        sa.Column("expires_at", TEXT, nullable=False),
        sa.Column("used_at", TEXT, nullable=True),
        sa.Column("joining", TEXT, nullable=True),
        sa.Column("account", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("token_hash"),
    )
    op.create_index("join_token_source", "join_token", ["source"], unique=False)
    op.create_table(
        "joining",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("target", TEXT, nullable=False),
        sa.Column("partner", TEXT, nullable=True),
        sa.Column("carries", sa.Integer(), nullable=False),
        sa.Column("valid_from", TEXT, nullable=False),
        sa.Column("moved", TEXT, nullable=False),
        sa.Column("flows", TEXT, nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("ended_at", TEXT, nullable=True),
        sa.Column("valid_until", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("joining_source", "joining", ["source"], unique=False)
    op.create_index("joining_target", "joining", ["target"], unique=False)
    op.create_table(
        "leftover",
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("kind", "name"),
    )
    op.create_table(
        "link",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("child", TEXT, nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("valid_from", TEXT, nullable=False),
        sa.Column("valid_until", TEXT, nullable=True),
        sa.Column("recorded_at", TEXT, nullable=False),
        sa.Column("chain", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("link_account", "link", ["account"], unique=False)
    op.create_index("link_child", "link", ["child"], unique=False)
    op.create_table(
        "link_begun",
        sa.Column("state", TEXT, nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("partner", TEXT, nullable=False),
        sa.Column("return_to", TEXT, nullable=False),
        sa.Column("expires_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("state"),
    )
    op.create_table(
        "link_file",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("fingerprint", TEXT, nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("file", TEXT, nullable=False),
        sa.Column("file_digest", TEXT, nullable=False),
        sa.Column("recorded_at", TEXT, nullable=False),
        sa.Column("chain", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("fingerprint"),
    )
    op.create_table(
        "lot",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("reference", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("vintage", sa.Integer(), nullable=False),
        sa.Column("region", TEXT, nullable=False),
        sa.Column("behaviours", TEXT, nullable=True),
        sa.Column("wanted", sa.BigInteger(), nullable=True),
        sa.Column("early", TEXT, nullable=True),
        sa.Column("drafted_at", TEXT, nullable=False),
        sa.Column("frozen_at", TEXT, nullable=True),
        sa.Column("market", TEXT, nullable=True),
        sa.Column("terms", TEXT, nullable=True),
        sa.Column("methodologies", TEXT, nullable=True),
        sa.Column("unit_mass_mg", sa.BigInteger(), nullable=True),
        sa.Column("units", sa.BigInteger(), nullable=True),
        sa.Column("total_mg", sa.BigInteger(), nullable=True),
        sa.Column("members", sa.BigInteger(), nullable=True),
        sa.Column("accounts", sa.BigInteger(), nullable=True),
        sa.Column("leaves", sa.BigInteger(), nullable=True),
        sa.Column("root", TEXT, nullable=True),
        sa.Column("batches", sa.Integer(), nullable=True),
        sa.Column("first_batch", sa.Integer(), nullable=True),
        sa.Column("last_batch", sa.Integer(), nullable=True),
        sa.Column("entry", sa.Integer(), nullable=True),
        sa.Column("file", TEXT, nullable=True),
        sa.Column("file_digest", TEXT, nullable=True),
        sa.Column("subtrees", TEXT, nullable=True),
        sa.Column("subtrees_digest", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("reference"),
    )
    op.create_table(
        "lot_cells",
        sa.Column("lot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("lot"),
    )
    op.create_table(
        "lot_event",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("lot", sa.Integer(), nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("detail", TEXT, nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("chain", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("lot_event_lot", "lot_event", ["lot", "seq"], unique=False)
    op.create_table(
        "lot_share",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("lot", sa.Integer(), nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("first", sa.LargeBinary(), nullable=False),
        sa.Column("last", sa.LargeBinary(), nullable=False),
        sa.Column("accounts", sa.Integer(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("lot", "kind", "number", "first"),
        info={"append_only": True},
    )
    op.create_table(
        "mall_code",
        sa.Column("hash", TEXT, nullable=False),
        sa.Column("offer", TEXT, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("sealed", TEXT, nullable=False),
        sa.Column("order", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("hash"),
        sa.UniqueConstraint("order"),
    )
    op.create_index("mall_code_free", "mall_code", ["offer", "order", "number"], unique=False)
    op.create_table(
        "mall_offer",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("merchant", TEXT, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.Column("stock", sa.BigInteger(), nullable=True),
        sa.Column("sold", sa.BigInteger(), nullable=False),
        sa.Column("opens_at", TEXT, nullable=False),
        sa.Column("closes_at", TEXT, nullable=True),
        sa.Column("ended_at", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "mall_order",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("request", TEXT, nullable=True),
        sa.Column("offer", TEXT, nullable=False),
        sa.Column("merchant", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("unit", TEXT, nullable=False),
        sa.Column("price_points", sa.BigInteger(), nullable=False),
        sa.Column("price_fen", sa.BigInteger(), nullable=True),
        sa.Column("settlement_fen", sa.BigInteger(), nullable=False),
        sa.Column("terms", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("placed_at", TEXT, nullable=False),
        sa.Column("placed_day", TEXT, nullable=False),
        sa.Column("changed_at", TEXT, nullable=False),
        sa.Column("pay_until", TEXT, nullable=True),
        sa.Column("valid_until", TEXT, nullable=True),
        sa.Column("due_at", TEXT, nullable=True),
        sa.Column("address", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("mall_order_account", "mall_order", ["account", "placed_at", "id"], unique=False)
    op.create_index("mall_order_due", "mall_order", ["due_at"], unique=False)
    op.create_index("mall_order_merchant", "mall_order", ["merchant", "state", "id"], unique=False)
    op.create_table(
        "mall_order_event",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("order", TEXT, nullable=False),
        sa.Column("before", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("at", TEXT, nullable=False),
        sa.Column("by", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        info={"append_only": True},
    )
    op.create_index("mall_order_event_at", "mall_order_event", ["at"], unique=False)
    op.create_index("mall_order_event_order", "mall_order_event", ["order"], unique=False)
    op.create_table(
        "mall_payment",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("reference", TEXT, nullable=False),
        sa.Column("order", TEXT, nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("at", TEXT, nullable=False),
        sa.Column("by", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("order"),
        sa.UniqueConstraint("reference"),
        info={"append_only": True},
    )
    op.create_table(
        "market_auction",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seller", TEXT, nullable=False),
        sa.Column("lot", sa.Integer(), nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.Column("reserve_fen", sa.BigInteger(), nullable=False),
        sa.Column("opens_at", TEXT, nullable=False),
        sa.Column("closes_at", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("reference", TEXT, nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("changed_at", TEXT, nullable=False),
        sa.Column("note", TEXT, nullable=True),
        sa.Column("price_fen", sa.BigInteger(), nullable=True),
        sa.Column("sold", sa.BigInteger(), nullable=True),
        sa.Column("marginal", sa.Integer(), nullable=True),
        sa.Column("bids", sa.Integer(), nullable=True),
        sa.Column("digest", TEXT, nullable=True),
        sa.Column("entry", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("seller", "reference"),
    )
    op.create_table(
        "market_deal",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("seller", TEXT, nullable=False),
        sa.Column("buyer", TEXT, nullable=False),
        sa.Column("lot", sa.Integer(), nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.Column("price_fen", sa.BigInteger(), nullable=False),
        sa.Column("gross_fen", sa.BigInteger(), nullable=False),
        sa.Column("topup_fen", sa.BigInteger(), nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("due_day", TEXT, nullable=False),
        sa.Column("reference", TEXT, nullable=False),
        sa.Column("delivered", sa.Integer(), nullable=True),
        sa.Column("note", TEXT, nullable=True),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("changed_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("buyer", "reference"),
        sa.UniqueConstraint("delivered"),
    )
    op.create_index("market_deal_seller", "market_deal", ["seller", "id"], unique=False)
    op.create_index("market_deal_state", "market_deal", ["state", "due_day"], unique=False)
    op.create_table(
        "market_deal_event",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("deal", sa.Integer(), nullable=False),
        sa.Column("before", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("at", TEXT, nullable=False),
        sa.Column("by", TEXT, nullable=False),
        sa.Column("note", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        info={"append_only": True},
    )
    op.create_index("market_deal_event_deal", "market_deal_event", ["deal", "id"], unique=False)
    op.create_table(
        "market_offer",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seller", TEXT, nullable=False),
        sa.Column("lot", sa.Integer(), nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.Column("left", sa.BigInteger(), nullable=False),
        sa.Column("price_fen", sa.BigInteger(), nullable=False),
        sa.Column("until", TEXT, nullable=False),
        sa.Column("buyer", TEXT, nullable=True),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("reference", TEXT, nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("seller", "reference"),
    )
    op.create_table(
        "market_party",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("title", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("credit_code", TEXT, nullable=True),
        sa.Column("contact", TEXT, nullable=True),
        sa.Column("bank_account", TEXT, nullable=True),
        sa.Column("request", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("note", TEXT, nullable=True),
        sa.Column("applied_at", TEXT, nullable=False),
        sa.Column("changed_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("credit_code"),
    )
    op.create_table(
        "market_payment",
        sa.Column("entry", TEXT, nullable=False),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("booked_on", TEXT, nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("payer", TEXT, nullable=True),
        sa.Column("deal", sa.Integer(), nullable=True),
        sa.Column("pledge", sa.Integer(), nullable=True),
        sa.Column("holder", TEXT, nullable=False),
        sa.Column("used_fen", sa.BigInteger(), nullable=False),
        sa.Column("sent_fen", sa.BigInteger(), nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("by", TEXT, nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("changed_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("entry"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("market_payment_deal", "market_payment", ["deal", "id"], unique=False)
    op.create_index("market_payment_state", "market_payment", ["state", "id"], unique=False)
    op.create_table(
        "market_payment_use",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("entry", TEXT, nullable=False),
        sa.Column("purpose", TEXT, nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        info={"append_only": True},
    )
    op.create_index("market_payment_use_entry", "market_payment_use", ["entry"], unique=False)
    op.create_table(
        "market_pledge",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sponsor", TEXT, nullable=False),
        sa.Column("fen", sa.BigInteger(), nullable=False),
        sa.Column("per", TEXT, nullable=False),
        sa.Column("cap_fen", sa.BigInteger(), nullable=False),
        sa.Column("spent_fen", sa.BigInteger(), nullable=False),
        sa.Column("lot", sa.Integer(), nullable=True),
        sa.Column("vintage", sa.Integer(), nullable=True),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("reference", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("ended_at", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("sponsor", "reference"),
    )
    op.create_table(
        "market_pledge_use",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("pledge", sa.Integer(), nullable=False),
        sa.Column("deal", sa.Integer(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("pledge", "deal"),
        info={"append_only": True},
    )
    op.create_table(
        "market_return",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("entry", TEXT, nullable=True),
        sa.Column("reference", TEXT, nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("payee", TEXT, nullable=True),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("file", TEXT, nullable=True),
        sa.Column("note", TEXT, nullable=True),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("changed_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        sa.UniqueConstraint("reference"),
    )
    op.create_index("market_return_state", "market_return", ["state", "id"], unique=False)
    op.create_table(
        "market_return_file",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("adapter", TEXT, nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("fen", sa.BigInteger(), nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "money_move",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("reference", TEXT, nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("chain", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("money_move_account", "money_move", ["account", "seq"], unique=False)
    op.create_index("money_move_number", "money_move", ["number"], unique=False)
    op.create_index("money_move_reference", "money_move", ["kind", "reference", "account"], unique=True)
    op.create_table(
        "parted_use",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("giver", TEXT, nullable=False),
        sa.Column("unit", TEXT, nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("parted_use_giver", "parted_use", ["giver"], unique=False)
    op.create_index("parted_use_source", "parted_use", ["source"], unique=False)
    op.create_table(
        "partner_day",
        sa.Column("partner", TEXT, nullable=False),
        sa.Column("day", TEXT, nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("partner", "day"),
    )
    op.create_table(
        "partner_version",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("partner", TEXT, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.Column("recorded_at", TEXT, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("partner", "version"),
        info={"append_only": True},
    )
    op.create_table(
        "party_document",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("party", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sealed", TEXT, nullable=True),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("note", TEXT, nullable=True),
        sa.Column("received_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("party_document_party", "party_document", ["party", "received_at"], unique=False)
    op.create_table(
        "passing",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("scheme", TEXT, nullable=False),
        sa.Column("log", TEXT, nullable=False),
        sa.Column("to", TEXT, nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("unit", TEXT, nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("rehearsal", sa.Boolean(), nullable=False),
        sa.Column("transfer", sa.Integer(), nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("file", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("passing_account", "passing", ["account", "seq"], unique=False)
    op.create_index("passing_once", "passing", ["id", "log", "unit"], unique=True)
    op.create_index("passing_scheme_unit", "passing", ["scheme", "unit"], unique=False)
    op.create_table(
        "passing_scheme",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.Column("recorded_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", "version"),
    )
    op.create_table(
        "payback_escrow",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("fen", sa.BigInteger(), nullable=False),
        sa.Column("since", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("purpose", TEXT, nullable=True),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("ended_at", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("payback_escrow_state", "payback_escrow", ["state", "since"], unique=False)
    op.create_table(
        "payback_part",
        sa.Column("payout", TEXT, nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("fen", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("payout", "place"),
    )
    op.create_index("payback_part_account", "payback_part", ["account"], unique=False)
    op.create_table(
        "payback_payout",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.Column("payee", TEXT, nullable=True),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("day", TEXT, nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("changed_at", TEXT, nullable=False),
        sa.Column("file", TEXT, nullable=True),
        sa.Column("note", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("payback_payout_account", "payback_payout", ["account", "seq"], unique=False)
    op.create_index("payback_payout_file", "payback_payout", ["file"], unique=False)
    op.create_index("payback_payout_state", "payback_payout", ["state", "seq"], unique=False)
    op.create_table(
        "payback_run",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("deal", sa.Integer(), nullable=False),
        sa.Column("delivered", sa.Integer(), nullable=False),
        sa.Column("lot", sa.Integer(), nullable=False),
        sa.Column("shared_fen", sa.BigInteger(), nullable=False),
        sa.Column("accounts", sa.BigInteger(), nullable=False),
        sa.Column("nobodys_fen", sa.BigInteger(), nullable=False),
        sa.Column("entry", sa.Integer(), nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("chain", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("deal"),
    )
    op.create_table(
        "payback_share",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("first", sa.LargeBinary(), nullable=False),
        sa.Column("last", sa.LargeBinary(), nullable=False),
        sa.Column("accounts", sa.Integer(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("kind", "number", "first"),
        info={"append_only": True},
    )
    op.create_table(
        "payout_file",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("adapter", TEXT, nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("fen", sa.BigInteger(), nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "person",
        sa.Column("account", TEXT, nullable=False),
        sa.Column("created_at", TEXT, nullable=False),
        sa.Column("display_name", TEXT, nullable=True),
        sa.Column("erase_after", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("account"),
    )
    op.create_table(
        "person_identity",
        sa.Column("hash", TEXT, nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("issuer", TEXT, nullable=False),
        sa.Column("sealed", TEXT, nullable=False),
        sa.Column("origin", TEXT, nullable=False),
        sa.Column("added_at", TEXT, nullable=False),
        sa.Column("used_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_index("person_identity_account", "person_identity", ["account"], unique=False)
    op.create_table(
        "phone_code",
        sa.Column("phone", TEXT, nullable=False),
        sa.Column("code", TEXT, nullable=False),
        sa.Column("expires_at", TEXT, nullable=False),
        sa.Column("tries_left", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("phone"),
    )
    op.create_table(
        "plan",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.Column("chain", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("digest"),
    )
    op.create_table(
        "points_budget",
        sa.Column("unit", TEXT, nullable=False),
        sa.Column("sponsor", TEXT, nullable=False),
        sa.Column("spent", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("unit", "sponsor"),
    )
    op.create_table(
        "points_lot",
        sa.Column("unit", TEXT, nullable=False),
        sa.Column("account", sa.LargeBinary(length=16), nullable=False),
        sa.Column("last_day", TEXT, nullable=False),
        sa.Column("first_day", TEXT, nullable=False),
        sa.Column("collect_by", TEXT, nullable=False),
        sa.Column("granted", sa.BigInteger(), nullable=False),
        sa.Column("available", sa.BigInteger(), nullable=False),
        sa.Column("ended", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("unit", "account", "last_day", "first_day", "collect_by"),
    )
    op.create_index(
        "points_lot_owed",
        "points_lot",
        ["unit", "account"],
        unique=False,
        sqlite_where=sa.text("available < 0"),
        postgresql_where=sa.text("available < 0"),
    )
    op.create_table(
        "points_move",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("unit", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("reference", TEXT, nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("counter", TEXT, nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("lots", TEXT, nullable=False),
        sa.Column("memo", TEXT, nullable=True),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("chain", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("points_move_account", "points_move", ["account", "seq"], unique=False)
    op.create_index("points_move_reference", "points_move", ["unit", "kind", "reference"], unique=True)
    op.create_table(
        "points_open",
        sa.Column("unit", TEXT, nullable=False),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.Column("rules", TEXT, nullable=False),
        sa.Column("day", TEXT, nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("granted", sa.BigInteger(), nullable=False),
        sa.Column("taken_back", sa.BigInteger(), nullable=False),
        sa.Column("sponsors", TEXT, nullable=False),
        sa.Column("writes_off", sa.Integer(), nullable=False),
        sa.Column("file", TEXT, nullable=True),
        sa.Column("file_digest", TEXT, nullable=True),
        sa.Column("used_file", TEXT, nullable=True),
        sa.Column("used_digest", TEXT, nullable=True),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("unit"),
    )
    op.create_table(
        "points_rules",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("unit", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.Column("chain", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("digest"),
    )
    op.create_table(
        "points_run",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("unit", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("batch", sa.Integer(), nullable=True),
        sa.Column("rules", TEXT, nullable=True),
        sa.Column("day", TEXT, nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("granted", sa.BigInteger(), nullable=False),
        sa.Column("taken_back", sa.BigInteger(), nullable=False),
        sa.Column("ended", sa.BigInteger(), nullable=False),
        sa.Column("sponsors", TEXT, nullable=False),
        sa.Column("file", TEXT, nullable=True),
        sa.Column("file_digest", TEXT, nullable=True),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("chain", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("points_run_once", "points_run", ["unit", "kind", "batch"], unique=True)
    op.create_table(
        "points_used",
        sa.Column("unit", TEXT, nullable=False),
        sa.Column("account", sa.LargeBinary(length=16), nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("period", TEXT, nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("unit", "account", "key", "period"),
    )
    op.create_table(
        "posting",
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.Column("unit", TEXT, nullable=False),
        sa.Column("first", sa.LargeBinary(), nullable=False),
        sa.Column("last", sa.LargeBinary(), nullable=False),
        sa.Column("accounts", sa.Integer(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("batch", "unit", "first"),
    )
    op.create_table(
        "replacement",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("erasure", sa.Integer(), nullable=True),
        sa.Column("file", TEXT, nullable=True),
        sa.Column("file_digest", TEXT, nullable=True),
        sa.Column("erased", sa.BigInteger(), nullable=False),
        sa.Column("totals", TEXT, nullable=True),
        sa.Column("recorded_at", TEXT, nullable=False),
        sa.Column("chain", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("replacement_latest", "replacement", ["kind", "number", "seq"], unique=False)
    op.create_table(
        "retirement",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("holder", TEXT, nullable=False),
        sa.Column("lot", sa.Integer(), nullable=False),
        sa.Column("vintage", sa.Integer(), nullable=False),
        sa.Column("serials", TEXT, nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.Column("purpose", TEXT, nullable=False),
        sa.Column("market", TEXT, nullable=False),
        sa.Column("since", TEXT, nullable=False),
        sa.Column("until", TEXT, nullable=False),
        sa.Column("commitment", TEXT, nullable=False),
        sa.Column("request", TEXT, nullable=False),
        sa.Column("event", sa.Integer(), nullable=False),
        sa.Column("entry", sa.Integer(), nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("chain", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("event"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("retirement_lot", "retirement", ["lot", "seq"], unique=False)
    op.create_table(
        "retirement_addendum",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("retirement", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("sealed", TEXT, nullable=True),
        sa.Column("made_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("retirement_addendum_retirement", "retirement_addendum", ["retirement", "seq"], unique=False)
    op.create_table(
        "retirement_opening",
        sa.Column("retirement", TEXT, nullable=False),
        sa.Column("public", sa.Boolean(), nullable=False),
        sa.Column("sealed", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("retirement"),
    )
    op.create_table(
        "seal_key",
        sa.Column("only", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint('"only" = 1', name="seal_key_only_check"),
        sa.PrimaryKeyConstraint("only"),
    )
    op.create_table(
        "session",
        sa.Column("token_hash", TEXT, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("partner", TEXT, nullable=True),
        sa.Column("created_at", TEXT, nullable=False),
        sa.Column("expires_at", TEXT, nullable=False),
        sa.Column("agent", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("token_hash"),
    )
    op.create_index("session_subject", "session", ["role", "subject"], unique=False)
    op.create_table(
        "sign_in",
        sa.Column("state", TEXT, nullable=False),
        sa.Column("provider", TEXT, nullable=False),
        sa.Column("nonce", TEXT, nullable=False),
        sa.Column("verifier", TEXT, nullable=False),
        sa.Column("return_to", TEXT, nullable=False),
        sa.Column("expires_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("state"),
    )
    op.create_table(
        "signature_nonce",
        sa.Column("key", TEXT, nullable=False),
        sa.Column("nonce", TEXT, nullable=False),
        sa.Column("seen_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("key", "nonce"),
    )
    op.create_index("signature_nonce_seen", "signature_nonce", ["seen_at"], unique=False)
    op.create_table(
        "signing_key",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("partner", TEXT, nullable=False),
        sa.Column("algorithm", TEXT, nullable=False),
        sa.Column("public_key", TEXT, nullable=True),
        sa.Column("created_at", TEXT, nullable=False),
        sa.Column("revoked_at", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("signing_key_partner", "signing_key", ["partner"], unique=False)
    op.create_table(
        "staff",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("partner", TEXT, nullable=True),
        sa.Column("position", TEXT, nullable=True),
        sa.Column("password_hash", TEXT, nullable=True),
        sa.Column("code_secret", sa.Integer(), nullable=False),
        sa.Column("codes", sa.Boolean(), nullable=False),
        sa.Column("code_step", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("locked_until", TEXT, nullable=True),
        sa.Column("created_at", TEXT, nullable=False),
        sa.Column("disabled_at", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "staff_invitation",
        sa.Column("token_hash", TEXT, nullable=False),
        sa.Column("staff", TEXT, nullable=False),
        sa.Column("expires_at", TEXT, nullable=False),
        sa.Column("used_at", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("token_hash"),
    )
    op.create_table(
        "submission",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("partner", TEXT, nullable=True),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("received_at", TEXT, nullable=False),
        sa.Column("received_day", TEXT, nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("accepted", sa.BigInteger(), nullable=False),
        sa.Column("refused", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", TEXT, nullable=False),
        sa.Column("answer", TEXT, nullable=False),
        sa.Column("file", TEXT, nullable=False),
        sa.Column("file_digest", TEXT, nullable=False),
        sa.Column("verdicts", TEXT, nullable=False),
        sa.Column("verdicts_digest", TEXT, nullable=False),
        sa.Column("chain", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("fingerprint"),
    )
    op.create_table(
        "tally",
        sa.Column("last", sa.Integer(), nullable=False),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("first_day", TEXT, nullable=True),
        sa.Column("last_day", TEXT, nullable=True),
        sa.Column("cells", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("last", "first"),
    )
    op.create_table(
        "transfer",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("batches", sa.Integer(), nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("unit", TEXT, nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("chain", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("transfer_account", "transfer", ["account"], unique=False)
    op.create_table(
        "unit_block",
        sa.Column("lot", sa.Integer(), nullable=False),
        sa.Column("lo", sa.BigInteger(), nullable=False),
        sa.Column("hi", sa.BigInteger(), nullable=False),
        sa.Column("vintage", sa.Integer(), nullable=False),
        sa.Column("holder", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("tier", TEXT, nullable=False),
        sa.Column("held_for", TEXT, nullable=False),
        sa.Column("since", sa.Integer(), nullable=False),
        sa.CheckConstraint("lo >= 0 AND hi > lo AND hi <= 4294967296", name="unit_block_range_check"),
        sa.PrimaryKeyConstraint("lot", "lo"),
        info={
            "apart": ("lot", "lo", "hi"),
            "refusals": (
                (
                    "final",
                    "UPDATE",
                    "OLD.state IN ('cancelled', 'expired', 'exported', 'retired')",
                    "unit_block: what is retired, cancelled, expired or exported never changes",
                ),
                (
                    "final_kept",
                    "DELETE",
                    "OLD.state IN ('cancelled', 'expired', 'exported', 'retired')",
                    "unit_block: what is retired, cancelled, expired or exported never changes",
                ),
            ),
        },
    )
    op.create_index("unit_block_held_for", "unit_block", ["held_for", "state"], unique=False)
    op.create_index("unit_block_holder", "unit_block", ["holder", "lot", "lo"], unique=False)
    op.create_table(
        "unit_event",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("reference", TEXT, nullable=False),
        sa.Column("lot", sa.Integer(), nullable=False),
        sa.Column("detail", TEXT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("chain", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("unit_event_lot", "unit_event", ["lot", "seq"], unique=False)
    op.create_index("unit_event_reference", "unit_event", ["kind", "reference"], unique=True)
    op.create_table(
        "unit_label",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("reference", TEXT, nullable=False),
        sa.Column("lot", sa.Integer(), nullable=False),
        sa.Column("lo", sa.BigInteger(), nullable=False),
        sa.Column("hi", sa.BigInteger(), nullable=False),
        sa.Column("scheme", TEXT, nullable=False),
        sa.Column("scope", TEXT, nullable=False),
        sa.Column("tier", TEXT, nullable=False),
        sa.Column("granted_by", TEXT, nullable=False),
        sa.Column("evidence", TEXT, nullable=False),
        sa.Column("first_day", TEXT, nullable=False),
        sa.Column("until_day", TEXT, nullable=True),
        sa.Column("revokes", sa.Integer(), nullable=True),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("chain", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("reference"),
    )
    op.create_index("unit_label_lot", "unit_label", ["lot", "seq"], unique=False)
    op.create_table(
        "unit_lot",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("lot", sa.Integer(), nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("region", TEXT, nullable=False),
        sa.Column("programme", TEXT, nullable=False),
        sa.Column("vintage", sa.Integer(), nullable=False),
        sa.Column("unit", TEXT, nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.Column("tier", TEXT, nullable=False),
        sa.Column("registry", TEXT, nullable=True),
        sa.Column("foreign", TEXT, nullable=True),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("chain", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("lot"),
    )
    op.create_index("unit_lot_foreign", "unit_lot", ["registry", "foreign"], unique=True)
    op.create_table(
        "unit_reversal",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.Column("lot", sa.Integer(), nullable=False),
        sa.Column("reversed_mg", sa.BigInteger(), nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("batch", "lot"),
        info={"append_only": True},
    )
    op.create_table(
        "unsettled",
        sa.Column("submission", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("reports", sa.BigInteger(), nullable=False),
        sa.Column("next_close_day", TEXT, nullable=False),
        sa.Column("settled_through", TEXT, nullable=True),
        sa.Column("at_once", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("submission"),
    )
    op.create_table(
        "upload",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("partner", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("ending", TEXT, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", TEXT, nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("created_at", TEXT, nullable=False),
        sa.Column("changed_at", TEXT, nullable=False),
        sa.Column("submission", NUMBER, nullable=True),
        sa.Column("answer", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("upload_partner", "upload", ["partner", "created_at"], unique=False)
    op.create_index("upload_state", "upload", ["state"], unique=False)
    op.create_table(
        "verification_event",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("lot", sa.Integer(), nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("reference", TEXT, nullable=False),
        sa.Column("detail", TEXT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("chain", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("verification_event_reference", "verification_event", ["lot", "kind", "reference"], unique=True)
    op.create_table(
        "verifier",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.Column("recorded_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", "version"),
    )
    op.create_table(
        "webhook",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("partner", TEXT, nullable=False),
        sa.Column("url", TEXT, nullable=False),
        sa.Column("types", TEXT, nullable=False),
        sa.Column("secret", sa.Integer(), nullable=False),
        sa.Column("secret_changed_at", TEXT, nullable=False),
        sa.Column("created_at", TEXT, nullable=False),
        sa.Column("disabled_at", TEXT, nullable=True),
        sa.Column("disabled_why", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("webhook_partner", "webhook", ["partner"], unique=False)
    op.create_table(
        "webhook_attempt",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("message", NUMBER, nullable=False),
        sa.Column("at", TEXT, nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", TEXT, nullable=True),
        sa.Column("took_ms", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("webhook_attempt_of", "webhook_attempt", ["message"], unique=False)
    op.create_table(
        "webhook_message",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("webhook", TEXT, nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("body", TEXT, nullable=False),
        sa.Column("created_at", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("webhook_message_due", "webhook_message", ["state", "due_at"], unique=False)
    op.create_index("webhook_message_of", "webhook_message", ["webhook", "id"], unique=False)
