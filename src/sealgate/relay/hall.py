"""What every request needs and nobody owns alone: built once by `sealgate.app`, handed down as one value."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from sealgate.config import Settings
from sealgate.limits.budgets import Budgets
from sealgate.receipts.inference import Inference, NoInference
from sealgate.receipts.issuer import NoReceipts, Receipts
from sealgate.receipts.log import Log, NoLog
from sealgate.relay.catalog import Catalog
from sealgate.relay.kept import Kept
from sealgate.relay.load import Load
from sealgate.relay.recall import Recall
from sealgate.relay.turns import Turns
from sealgate.relay.walk import Means
from sealgate.sessions.sessions import Sessions
from sealgate.storage import Storage
from sealgate.telemetry.logs import Access, Logger
from sealgate.telemetry.metrics import Metrics


@dataclass(slots=True)
class Hall:
    """A reload replaces ``settings``, ``catalog`` and ``means`` together; a request keeps what it began with."""

    settings: Settings
    catalog: Catalog
    means: Means
    storage: Storage
    recall: Recall
    metrics: Metrics
    log: Logger
    access: Callable[[Access], None]
    """Writes a request's line into the log."""
    load: Load
    turns: Turns
    budgets: Budgets
    sessions: Sessions
    kept: Kept
    receipts: Receipts = field(default_factory=NoReceipts)
    transparency: Log | NoLog = field(default_factory=NoLog)
    inference: Inference | NoInference = field(default_factory=NoInference)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    """Where the gateway runs: asking for the running one is a system call each time."""
    draining: bool = False
