"""One request, understood: what every operation has in common for the plan, the walk and the settlement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from sealgate.config_types import ModelType
from sealgate.formats.sound import Sound
from sealgate.providers.base import Adjustment, Json, Prompt


class Named(Protocol):
    """How a request says which model it wants, and for whom: the same fields in every operation's body."""

    model: str | None
    region: str | None
    provider: str | None
    failover: list[str] | None

    @property
    def user(self) -> str | None:
        """The caller's own user."""


class Ask(msgspec.Struct, kw_only=True):
    """One request to a model."""

    named: Named
    model: str
    type: ModelType
    """What a model must be for."""
    prompt: Prompt
    episode_id: str | None = None
    """The one that the request names; else it begins one, which bears its own id."""
    session_id: str | None = None
    """The session that the request names."""
    include_usage: bool = False
    media: frozenset[str] | None = None
    """What kinds of media its messages hold, where that was looked for."""
    media_param: str | None = None
    """Where the first medium given by https URL stands, if there is one."""
    adjustments: list[Adjustment]
    size: int
    """Bytes of the body without its media, for estimates of prompt tokens."""
    fields: Json | None = None
    """The body as it was parsed, the gateway's own fields included, where it is JSON. Never changed."""
    sound: Sound | None = None
    """Of a transcription: what the file's header says, where it tells its length."""
    audio_ms: int = 0
    """Milliseconds of the sound, guessed from its size where the header does not tell."""
    choices: int = 1
    max_tokens: int | None = None
    """Most tokens of the answer, where the request says so."""
    stops: Sequence[str] = ()
    """Stop texts, where the dialect of the answer says which of them has ended it."""
    names: Mapping[str, str] = {}
    """What the caller calls the fields of the prompt, where that is not what they are called there; what begins with a
    dot is a part of a place."""
    strict: bool = False
    """Whether a route that would drop a parameter must not be asked."""
