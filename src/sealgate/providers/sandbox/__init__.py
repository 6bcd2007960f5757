"""The sandbox: an honest, deterministic stand-in for a model, with no key and no network (``docs/sandbox.md``)."""

from sealgate.providers.sandbox.client import SandboxClient
from sealgate.providers.sandbox.models import MODELS

__all__ = ["MODELS", "SandboxClient"]
