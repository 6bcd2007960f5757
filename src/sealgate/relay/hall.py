"""What every request needs and nobody owns alone: built once by `sealgate.app`, handed down as one value."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sealgate.config import Settings
from sealgate.relay.catalog import Catalog
from sealgate.relay.upstreams import Upstreams
from sealgate.storage import Storage
from sealgate.telemetry.logs import Logger
from sealgate.telemetry.metrics import Metrics


@dataclass(slots=True)
class Hall:
    """A reload replaces ``settings``, ``catalog`` and ``upstreams`` together; a request keeps what it began with."""

    settings: Settings
    catalog: Catalog
    upstreams: Upstreams
    storage: Storage
    metrics: Metrics
    log: Logger
    access: Callable[[dict[str, Any]], None]
    """Writes a request's line into the log."""
    draining: bool = False
    background: set[asyncio.Task[None]] = field(default_factory=set)
