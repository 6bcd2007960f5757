"""What LiteLLM calls things: its provider prefixes, and why settings of its have no place here.

Source: docs.litellm.ai, "Config.yaml", "All settings" and the page of each provider.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Vendor(NamedTuple):
    """What a prefix of LiteLLM's comes to. ``base_url`` is for hosts that have no row of their own here."""

    kind: str
    key: str | None = None
    """The variable LiteLLM looks in where no key is set; None: the kind's usual one."""
    base_url: str | None = None
    suffix: str = ""
    """What is added to an address without a path."""


VENDORS: dict[str, Vendor] = {
    "openai": Vendor("openai"),
    "azure": Vendor("azure", "AZURE_API_KEY"),
    "anthropic": Vendor("anthropic", suffix="/v1"),
    "gemini": Vendor("google", "GEMINI_API_KEY"),
    "vertex_ai": Vendor("vertex"),
    "vertex_ai_beta": Vendor("vertex"),
    "bedrock": Vendor("bedrock"),
    "bedrock_converse": Vendor("bedrock"),
    "sagemaker": Vendor("sagemaker"),
    "sagemaker_chat": Vendor("sagemaker"),
    "groq": Vendor("groq"),
    "mistral": Vendor("mistral"),
    "deepseek": Vendor("deepseek"),
    "xai": Vendor("xai"),
    "openrouter": Vendor("openrouter"),
    "hyperbolic": Vendor("hyperbolic"),
    "together_ai": Vendor("together", "TOGETHERAI_API_KEY"),
    "fireworks_ai": Vendor("fireworks", "FIREWORKS_AI_API_KEY"),
    "hosted_vllm": Vendor("vllm"),
    "ollama": Vendor("ollama", suffix="/v1"),
    "ollama_chat": Vendor("ollama", suffix="/v1"),
    "lm_studio": Vendor("lmstudio"),
    "llamafile": Vendor("compatible"),
    "custom_openai": Vendor("compatible"),
    "openai_like": Vendor("compatible"),
    "litellm_proxy": Vendor("compatible"),
    "perplexity": Vendor("compatible", "PERPLEXITYAI_API_KEY", "https://api.perplexity.ai"),
    "deepinfra": Vendor("compatible", "DEEPINFRA_API_KEY", "https://api.deepinfra.com/v1/openai"),
    "cerebras": Vendor("compatible", "CEREBRAS_API_KEY", "https://api.cerebras.ai/v1"),
    "nvidia_nim": Vendor("compatible", "NVIDIA_NIM_API_KEY", "https://integrate.api.nvidia.com/v1"),
    "sambanova": Vendor("compatible", "SAMBANOVA_API_KEY", "https://api.sambanova.ai/v1"),
    "moonshot": Vendor("compatible", "MOONSHOT_API_KEY", "https://api.moonshot.ai/v1"),
}

BARE = (
    (re.compile(r"(gpt-|o[1-9](-|$)|chatgpt-|text-embedding-|whisper-)"), "openai"),
    (re.compile(r"claude-"), "anthropic"),
    (re.compile(r"gemini-"), "vertex_ai"),
)
"""Names without a prefix that LiteLLM knows the provider of."""

MODES = {
    "chat": "chat",
    "responses": "chat",
    "embedding": "embedding",
    "audio_transcription": "transcription",
}

NO_KEYS = frozenset({"none", "empty", "dummy", "fake", "fake-key", "not-needed", "na", "null"})
"""What people write where a server wants no key, in lower case."""

PRICES = {
    "input_cost_per_token": "input_per_mtok",
    "output_cost_per_token": "output_per_mtok",
    "cache_read_input_token_cost": "cached_input_per_mtok",
    "cache_creation_input_token_cost": "cache_write_per_mtok",
    "output_cost_per_reasoning_token": "reasoning_per_mtok",
}

STRATEGIES = {
    "simple-shuffle": "weighted",
    "latency-based-routing": "latency",
    "cost-based-routing": "price",
}

DEFAULTS = "the gateway sets no request parameters of its own: let the callers send it"
CALLBACK = "there are no callbacks: /metrics, the log and the ledger say what happened"
CACHE = "answers are not cached"
HEALTH = "the gateway judges the health of a route by itself: docs/guides/routing.md"
OWN_KEYS = "set the provider's credentials in the environment; AWS and Google are asked by their own libraries"
ADMIN = "it belongs to LiteLLM's own administration"
DATABASE = (
    "LiteLLM's database is not read; set [storage] url for the gateway's own, and take its keys over by their hashes"
)
REDIS = 'replicas count together by [limits] url = "env::REDIS_URL"'

PARAMS: dict[str, str] = {
    "rpm": "it is a ceiling of the deployment: here limits belong to callers (keys, or limits of a model), and a "
    "provider's own 429 cools the route",
    "tpm": "it is a ceiling of the deployment: here limits belong to callers (keys, or limits of a model), and a "
    "provider's own 429 cools the route",
    "max_parallel_requests": "it is a ceiling of the deployment: `concurrency` is a limit of keys and of models",
    "timeout": "time limits are set for all models, in [timeouts]",
    "stream_timeout": "time limits are set for all models, in [timeouts]",
    "max_retries": "retries are set once, by num_retries; another route is asked without being told",
    "num_retries": "retries are set once, by num_retries of the router; another route is asked without being told",
    "organization": "OpenAI's organization and project follow from the key",
    "litellm_credential_name": "named credentials are not followed: set api_key of the provider",
    "drop_params": "hints that a model does not take are always left out, and told in tresor.adjustments",
    "additional_drop_params": "hints that a model does not take are always left out; `refuses` of a route names them",
    "extra_headers": "no headers are added; callers may set those that extra_headers of a provider names",
    "headers": "no headers are added; callers may set those that extra_headers of a provider names",
    "extra_body": "callers send it as tensorzero::extra_body",
    "mock_response": "for answers without a provider there is the model sandbox",
    "tags": "there is no routing by tags: callers pin a region or provider",
    "max_budget": "budgets belong to keys: sealgate keys create --budget",
    "budget_duration": "budgets belong to keys: sealgate keys create --budget",
    "use_in_pass_through": "paths of providers are not passed through",
    **dict.fromkeys(("aws_access_key_id", "aws_secret_access_key", "aws_session_token", "aws_profile_name"), OWN_KEYS),
    **dict.fromkeys(("aws_role_name", "aws_session_name", "aws_web_identity_token", "aws_sts_endpoint"), OWN_KEYS),
    **dict.fromkeys(("vertex_credentials", "azure_ad_token", "tenant_id", "client_id", "client_secret"), OWN_KEYS),
    **dict.fromkeys(("temperature", "top_p", "top_k", "seed", "stop", "n", "user", "presence_penalty"), DEFAULTS),
    **dict.fromkeys(("frequency_penalty", "reasoning_effort", "thinking", "response_format", "tools"), DEFAULTS),
    **dict.fromkeys(("tool_choice", "max_completion_tokens", "stream", "logit_bias"), DEFAULTS),
}
INFO: dict[str, str] = {
    "id": "a route is named region/provider/model here",
    "base_model": "prices are those of the route; none are looked up by a model's name",
    "db_model": ADMIN,
    "max_input_tokens": "context_tokens is the longest prompt and answer together: set it if callers should see it",
    "access_groups": "a key lists the models it may use: sealgate keys create --model",
    "tier": "there are no tiers: a key lists the models it may use",
}
SUPPORTS = "what a model can do is what its provider usually can; set `capabilities` of the model where it is not so"

ROUTER: dict[str, str] = {
    "allowed_fails": HEALTH,
    "allowed_fails_policy": HEALTH,
    "cooldown_time": HEALTH,
    "disable_cooldowns": HEALTH,
    "retry_policy": HEALTH,
    "model_group_retry_policy": HEALTH,
    "retry_after": HEALTH,
    "routing_strategy_args": "policies have no arguments",
    "enable_pre_call_checks": "routes that cannot honour a request are never asked",
    "enable_tag_filtering": "there is no routing by tags: callers pin a region or provider",
    "set_verbose": "[telemetry] level says what is logged",
    "debug_level": "[telemetry] level says what is logged",
    "cache_responses": CACHE,
    "cache_kwargs": CACHE,
    "caching_groups": CACHE,
    "client_ttl": "connections to providers are kept by the gateway itself",
    "provider_budget_config": "budgets belong to keys: sealgate keys create --budget",
    **dict.fromkeys(("redis_host", "redis_port", "redis_password", "redis_url", "redis_db"), REDIS),
}
LIBRARY: dict[str, str] = {
    "drop_params": PARAMS["drop_params"],
    "modify_params": "a request is never changed but for what tresor.adjustments names",
    "cache": CACHE,
    "cache_params": CACHE,
    "set_verbose": "[telemetry] level says what is logged",
    "turn_off_message_logging": "no content is ever logged",
    "redact_user_api_key_info": "no key is ever logged",
    "max_budget": "budgets belong to keys: sealgate keys create --budget",
    "budget_duration": "budgets belong to keys: sealgate keys create --budget",
    "default_team_settings": "there are customers, not teams: docs/guides/accounts.md",
    "default_internal_user_params": "users come with tokens: docs/guides/tokens.md",
    "guardrails": "there are no guardrails",
    "ssl_verify": "certificates are always checked; ca_file of a provider names its authorities",
    **dict.fromkeys(("success_callback", "failure_callback", "callbacks", "service_callback"), CALLBACK),
    **dict.fromkeys(("service_callbacks", "langfuse_default_tags", "otel", "callback_settings"), CALLBACK),
}
SERVER: dict[str, str] = {
    "master_key": "make one: sealgate keys create --admin --name operator",
    "salt_key": "keys of providers stay in the environment, not in a database",
    "proxy_batch_write_at": "usage is written with each answer",
    "disable_spend_logs": "the ledger is always written; it holds no content",
    "store_model_in_db": "models are in this file only; LiteLLM's database may hold more of them: GET /model/info",
    "background_health_checks": HEALTH,
    "health_check_interval": HEALTH,
    "enable_jwt_auth": "say which issuers to believe: docs/guides/tokens.md",
    "litellm_jwtauth": "say which issuers to believe: docs/guides/tokens.md",
    "alerting": CALLBACK,
    "alerting_threshold": CALLBACK,
    "alerting_args": CALLBACK,
    "max_parallel_requests": "[server] max_in_flight bounds all requests, `concurrency` those of a key",
    "global_max_parallel_requests": "[server] max_in_flight bounds all requests, `concurrency` those of a key",
    "max_request_size_mb": "[server] max_body_bytes bounds a request",
    "pass_through_endpoints": "paths of providers are not passed through",
    "custom_auth": "callers come with keys or tokens; no code of others is run",
    "allowed_ips": "let the network decide who can connect",
    "public_routes": "only health, metrics and the list of models can be had without a key",
    **dict.fromkeys(("database_url", "database_connection_pool_limit", "database_type"), DATABASE),
    **dict.fromkeys(
        ("ui_access_mode", "admin_only_routes", "allowed_routes", "proxy_budget_rescheduler_min_time"), ADMIN
    ),
    **dict.fromkeys(("key_management_system", "key_management_settings", "use_redis_transaction_buffer"), ADMIN),
}
TOP: dict[str, str] = {
    "environment_variables": "set it in the environment the gateway is started in",
    "include": "other files are not followed: convert each by itself",
    "credential_list": "named credentials are not followed: set api_key of the providers",
    "guardrails": "there are no guardrails",
    "mcp_servers": "tools are run by the callers, not by the gateway",
    "mcp_tools": "tools are run by the callers, not by the gateway",
    "callback_settings": CALLBACK,
    "vector_store_registry": "there are no vector stores",
    "search_tools": "tools are run by the callers, not by the gateway",
    "files_settings": "there are no stored files",
    "finetune_settings": "models are not trained here",
}
