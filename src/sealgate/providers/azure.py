"""Azure OpenAI: OpenAI's wire at a resource of one's own.

Source: Azure OpenAI REST API reference. Without ``api_version`` the version-less API is used, where the deployment is
the model; with it the older API, where the deployment is a part of the path.
"""

from __future__ import annotations

from urllib.parse import quote

from sealgate.errors import Failure, UpstreamError
from sealgate.providers.base import Account, Operation
from sealgate.providers.openai import PATHS


class AzureHost:
    """``{resource}/openai/v1/chat/completions`` with the header ``api-key``."""

    def url(self, account: Account, model: str, *, stream: bool, operation: Operation = "chat") -> str:  # noqa: ARG002
        root = account.base_url.removesuffix("/openai/v1").removesuffix("/openai")
        if account.api_version is None:
            return f"{root}/openai/v1{PATHS[operation]}"
        deployment = quote(account.deployment or model, safe="")
        if deployment in (".", ".."):
            raise UpstreamError(Failure.MODEL_GONE, "A deployment's name is not only dots.")
        version = quote(account.api_version, safe="")
        return f"{root}/openai/deployments/{deployment}{PATHS[operation]}?api-version={version}"

    def credential(self, secret: str) -> dict[str, str]:
        return {"api-key": secret}

    def signer(self, account: Account) -> None:  # noqa: ARG002
        return None


AZURE = AzureHost()
