"""Who acts at the command line, for the audit trail."""

from __future__ import annotations

import os
import pwd

from sealgate.storage.audit import Actor


def operator() -> Actor:
    """The operator by the name of the system's account, or its number where it has none, as in many containers.

    Not by the environment, in which anybody may write any name.
    """
    number = os.getuid()
    try:
        return Actor("cli", pwd.getpwuid(number).pw_name)
    except KeyError:
        return Actor("cli", f"uid {number}")
