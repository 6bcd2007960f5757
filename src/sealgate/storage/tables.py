"""The tables, for both engines. Times are unix microseconds in UTC, ids are text, structured values are JSON as text.

A change here needs a migration in ``migrations/versions``; a test compares the two on both engines.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

customers = Table(
    "customers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("id", Text, primary_key=True),
    Column("issuer", Text, nullable=False),
    Column("sub", Text, nullable=False),
    Column("customer_id", Text, ForeignKey("customers.id"), nullable=False, index=True),
    Column("email", Text),
    Column("name", Text),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("issuer", "sub"),
)
"""People whom an issuer's tokens name. ``issuer`` is the exact `iss`, so that renaming its table changes nobody."""

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("customer_id", Text, ForeignKey("customers.id"), nullable=False, index=True),
    Column("lookup", Text, nullable=False, index=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("key_prefix", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("is_admin", Boolean, nullable=False),
    Column("is_default", Boolean, nullable=False),
    Column("models", Text),
    Column("settings", Text),
    Column("limits", Text),
    Column("budget", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
)

revisions = Table(
    "revisions",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Text, primary_key=True),
    Column("at", BigInteger, nullable=False, index=True),
    Column("actor_kind", Text, nullable=False),
    Column("actor_id", Text),
    Column("customer_id", Text),
    Column("action", Text, nullable=False),
    Column("object", Text),
    Column("address", Text),
    Column("request_id", Text),
    Column("detail", Text, nullable=False),
    Index(None, "customer_id", "at"),
)
"""Who changed what. No foreign keys: a row outlives what it speaks of."""

ledger = Table(
    "ledger",
    metadata,
    Column("id", Text, primary_key=True),
    Column("request_id", Text, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("key_id", Text),
    Column("endpoint", Text, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("model", Text, nullable=False),
    Column("requested_route", Text),
    Column("routed_model", Text),
    Column("provider", Text),
    Column("upstream_model", Text),
    Column("reported_model", Text),
    Column("outcome", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("code", Text),
    Column("attempts", Integer, nullable=False),
    Column("failover", Boolean, nullable=False),
    Column("prompt_tokens", BigInteger),
    Column("completion_tokens", BigInteger),
    Column("cached_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
    Column("usage_source", Text),
    Column("first_content_us", BigInteger),
    Column("duration_us", BigInteger, nullable=False),
    Column("episode_id", Text),
    Column("session_id", Text),
    Column("end_user", Text),
    Column("user_id", Text),
    Column("cache_write_tokens", BigInteger),
    Column("cost", BigInteger),
    Column("currency", Text),
    Column("receipt_id", Text),
    Column("receipt", Text),
    Column("log_index", BigInteger),
    Index(None, "customer_id", "created_at"),
)
"""One row per request. No foreign keys: a row outlives the key and the customer it speaks of.

``receipt_id`` is ``id`` in its dashed form, so it needs no index of its own."""

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", Text, primary_key=True),
    Column("public", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("active_from", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

# All are partial, so that the usual row (no episode, a request id of our own making, a receipt that was logged or
# need not be) adds no entry to them: an index entry costs about as much as the row itself.
# The migration makes these partial on PostgreSQL too; to say so here would load that dialect at each start.
Index(
    "ix_ledger_episode_id",
    ledger.c.episode_id,
    sqlite_where=ledger.c.episode_id.is_not(None),
)
Index(
    "ix_ledger_request_id",
    ledger.c.request_id,
    sqlite_where=ledger.c.request_id != ledger.c.id,
)
Index(
    "ix_ledger_unlogged",
    ledger.c.id,
    sqlite_where=ledger.c.receipt.is_not(None) & ledger.c.log_index.is_(None),
)
Index(
    "ix_ledger_session_id",
    ledger.c.session_id,
    ledger.c.id,
    sqlite_where=ledger.c.session_id.is_not(None),
)

intents = Table(
    "intents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("bucket", BigInteger, nullable=False),
    Column("reserved", BigInteger, nullable=False),
    Column("owner", Text, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    Column("entry", Text, nullable=False),
    Index(None, "scope", "period", "bucket"),
)
"""One row per request under a budget that is being answered; ``entry`` is its ledger row as far as it is known.

``owner`` is the process that answers it, and says so again at ``seen_at``.
"""

spending = Table(
    "spending",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("period", Text, primary_key=True),
    Column("bucket", BigInteger, primary_key=True),
    Column("spent", BigInteger, nullable=False),
)
"""The sum of the ledger's costs of one budget in one piece of time, which begins at ``bucket``."""

leases = Table(
    "leases",
    metadata,
    Column("id", Text, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("bucket", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("owner", Text, nullable=False),
    Index(None, "scope", "period", "bucket"),
)
"""Blocks of budgets that a process holds back, for requests that it answers without asking first.

``amount`` is what is left of the block: it goes down with each settlement and with each intent that is written.
"""

reasoning_state = Table(
    "reasoning_state",
    metadata,
    Column("name", LargeBinary, primary_key=True),
    Column("made_at", BigInteger, primary_key=True),
    Column("begun_at", BigInteger, nullable=False, index=True),
    Column("sealed", LargeBinary, nullable=False),
)
"""The reasoning of open tool loops, encrypted, each under a name that tells nothing; `sealgate.relay.recall`."""

responses = Table(
    "responses",
    metadata,
    Column("id", Text, primary_key=True),
    Column("customer_id", Text, nullable=False),
    Column("previous", Text),
    Column("sealed", LargeBinary, nullable=False),
)
"""Answers of the Responses API that are kept, encrypted, by the id of their request; `sealgate.relay.kept`."""

sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("customer_id", Text, nullable=False),
    Column("holder", Text, nullable=False),
    Column("key_id", Text),
    Column("user_id", Text),
    Column("model", Text, nullable=False),
    Column("automated", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("route", Text),
    Column("revision", BigInteger, nullable=False, index=True),
    Index(None, "holder", "created_at"),
)
"""What groups the requests of one ``holder``: a key, or a user without one. No foreign keys, as in the ledger.

``ended_at`` is NULL while nobody has noted an end; one that just expired ends when it expires. ``route`` is where it
began, for one that goes on where an expired one was; where it stands now is what the ledger says of its last answer.
``revision`` is that of the topic ``sessions`` when the row last changed.
"""

# Both partial on PostgreSQL too, as above.
Index("ix_sessions_open", sessions.c.holder, unique=True, sqlite_where=sessions.c.ended_at.is_(None))
Index("ix_sessions_due", sessions.c.expires_at, sqlite_where=sessions.c.ended_at.is_(None))

automation = Table(
    "automation",
    metadata,
    Column("customer_id", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("is_enabled", Boolean, nullable=False),
    Column("session_duration", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False, index=True),
)
"""Who wants sessions made: a customer (``user_id`` empty), or one of several users of a customer. Seconds."""

logs = Table(
    "logs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("origin", Text, nullable=False, unique=True),
    Column("vkey", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("sealed", Text),
    Column("sealed_at", BigInteger),
    Column("writer", Text),
    Column("writer_until", BigInteger),
)
"""Transparency logs. ``sealed`` is why nothing more is entered; ``writer`` is who may enter, and until when."""

log_entries = Table(
    "log_entries",
    metadata,
    Column("log", Integer, primary_key=True),
    Column("position", BigInteger, primary_key=True),
    Column("entry", LargeBinary, nullable=False),
)
"""What a log consists of, in its order; the files of the log are made of it. Never changed, never deleted."""

log_statements = Table(
    "log_statements",
    metadata,
    Column("log", Integer, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("position", BigInteger),
)
"""Which entries a log has that are not receipts', by what they say, and where; NULL in rows of an older schema."""

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("log", Integer, primary_key=True),
    Column("size", BigInteger, primary_key=True),
    Column("root", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("signed_at", BigInteger, nullable=False),
)
"""What was signed: one root for each size, ever."""

cosignatures = Table(
    "cosignatures",
    metadata,
    Column("log", Integer, primary_key=True),
    Column("size", BigInteger, primary_key=True),
    Column("witness", Text, primary_key=True),
    Column("line", Text, nullable=False),
)
"""What witnesses, by their vkeys, signed of a checkpoint."""
