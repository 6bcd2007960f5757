"""How the providers on OpenAI's wire differ from OpenAI: one `Flavour` each.

Sources: the providers' own references and what their SDKs read; the differences are those that clients trip over: the
form of an error, where usage comes and what it counts, the name of the reasoning, how calls are streamed.
"""

from __future__ import annotations

from collections.abc import Mapping

from sealgate.testing.flavours import Flavour, Said, counted, plain
from sealgate.testing.reply import Json, Reply, Usage

# The form of an error


def _azure(said: Said) -> Json:
    return {"error": {"code": said.code or str(said.status), "message": said.text}}


def _flat(said: Said) -> Json:
    return {"object": "error", "message": said.text, "type": said.kind, "param": None, "code": said.code}


def _mistral(said: Said) -> Json:
    if said.status == 422:
        place = {"type": "extra_forbidden", "loc": ["body", "temperature"], "msg": said.text, "input": 9}
        return _flat(said) | {"message": {"detail": [place]}}
    return _flat(said)


def _words(said: Said) -> Json:
    return {"error": said.text}


def _xai(said: Said) -> Json:
    return {"code": said.kind, "error": said.text}


def _tgi(said: Said) -> Json:
    return {"error": said.text, "error_type": said.kind}


def _with_status(said: Said) -> Json:
    """vLLM's and llama.cpp's: the code is the status."""
    return {"error": {"message": said.text, "type": said.kind, "param": None, "code": said.status}}


def _openrouter(said: Said) -> Json:
    return {"error": {"code": said.status, "message": said.text, "metadata": {}}}


# What usage counts


def _cached_inside(usage: Usage) -> Json:
    return {**plain(usage), "prompt_tokens_details": {"cached_tokens": usage.cached}}


def _cache_beside(usage: Usage) -> Json:
    """DeepSeek's: hits and misses, which make up the prompt."""
    reasoning = {"completion_tokens_details": {"reasoning_tokens": usage.reasoning}}
    hits = {"prompt_cache_hit_tokens": usage.cached, "prompt_cache_miss_tokens": usage.prompt - usage.cached}
    return {**plain(usage), **hits, **reasoning}


def _reasoning_beside(usage: Usage) -> Json:
    """xAI's: the total has the reasoning, the completion has not."""
    return counted(usage) | {"completion_tokens": usage.completion - usage.reasoning}


# What a message says


def _unsaid(message: Json, reply: Reply) -> Json:  # noqa: ARG001
    return {name: value for name, value in message.items() if name != "reasoning_content"}


def _as_reasoning(message: Json, reply: Reply) -> Json:  # noqa: ARG001
    return {"reasoning" if name == "reasoning_content" else name: value for name, value in message.items()}


def _with_details(message: Json, reply: Reply) -> Json:
    """OpenRouter's: the text once more, signed, in ``reasoning_details``."""
    found = _as_reasoning(message, reply)
    if (text := found.get("reasoning")) is None:
        return found
    signed = {"type": "reasoning.text", "text": text, "signature": reply.signature, "index": 0}
    return {**found, "reasoning_details": [{**signed, "format": "unknown"}]}


def _as_thinking(message: Json, reply: Reply) -> Json:
    """Mistral's: parts of the content."""
    found = _unsaid(message, reply)
    if (thought := message.get("reasoning_content")) is None:
        return found
    said = [{"type": "text", "text": found["content"]}] if found.get("content") else []
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": thought}], "closed": True}
    return {**found, "content": [thinking, *said]}


def _without_index(message: Json, reply: Reply) -> Json:  # noqa: ARG001
    """SGLang's calls do not always say which they are."""
    calls = message.get("tool_calls")
    if not calls or any("id" not in call for call in calls):
        return message
    return {**message, "tool_calls": [{k: v for k, v in call.items() if k != "index"} for call in calls]}


def _in_arrays(logprobs: Json) -> Json:
    """Together's: one array of tokens, one of numbers."""
    content = logprobs["content"]
    return {"tokens": [each["token"] for each in content], "token_logprobs": [each["logprob"] for each in content]}


def _overloaded(said: Said) -> Json:
    return {"object": "error", "message": said.text, "type": "InternalServerError", "param": None, "code": 500}


def _in_choices(said: Said) -> Json:
    ended = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
    return {"object": "chat.completion.chunk", **_openrouter(said), "choices": [ended]}


_ENGINE = {
    "rate_limit": Said(429, "RateLimitError", None, "Too many requests."),
    "auth": Said(401, "AuthenticationError", None, "Unauthorized"),
    "not_found": Said(404, "NotFoundError", None, "The model `x` does not exist."),
    "bad_request": Said(400, "BadRequestError", None, "temperature must be non-negative, got -1.0."),
    "context_length": Said(400, "BadRequestError", None,
                           "This model's maximum context length is 4096 tokens. However, you requested 9000 tokens."),
    "overload": Said(503, "ServiceUnavailable", None, "The server is overloaded."),
    "server_error": Said(500, "InternalServerError", None, "EngineCore encountered an issue."),
}  # fmt: skip

FLAVOURS: Mapping[str, Flavour] = {
    "openai": Flavour(message=_unsaid),
    "compatible": Flavour(),
    "azure": Flavour(
        _azure,
        {
            "rate_limit": Said(429, "", "429", "Requests have exceeded the call rate limit. Please retry later."),
            "quota": Said(429, "", "insufficient_quota", "You exceeded your current quota."),
            "auth": Said(401, "", "401", "Access denied due to invalid subscription key or wrong API endpoint."),
            "not_found": Said(404, "", "DeploymentNotFound", "The API deployment for this resource does not exist."),
            "content_filter": Said(400, "", "content_filter", "The response was filtered due to the prompt."),
        },
        message=_unsaid,
        first=({"choices": [], "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}]},),
    ),
    "together": Flavour(
        said={
            "quota": Said(402, "insufficient_quota", None, "You have reached your spending limit."),
            "context_length": Said(403, "invalid_request_error", None, "Input tokens + max_new_tokens must be less."),
        },
        usage=plain,
        message=_as_reasoning,
        reasons={"stop": "eos"},
        logprobs=_in_arrays,
    ),
    "deepseek": Flavour(
        said={"quota": Said(402, "unknown_error", "invalid_request_error", "Insufficient Balance")},
        usage=_cache_beside,
    ),
    "fireworks": Flavour(
        said={"quota": Said(412, "invalid_request_error", None, "Account is suspended: spending limit.")},
        usage=_cached_inside,
        usage_at="finish",
    ),
    "mistral": Flavour(
        _mistral,
        {
            "rate_limit": Said(429, "rate_limited", "1300", "Requests rate limit exceeded"),
            "quota": Said(402, "payment_required", None, "Your credits are used up."),
            "auth": Said(401, "unauthorized", None, "Unauthorized"),
            "not_found": Said(404, "invalid_model", "1500", "Invalid model"),
            "bad_request": Said(422, "invalid_request_error", None, "Input should be less than or equal to 1.5"),
            "context_length": Said(400, "invalid_request_error", "3051",
                                   "Prompt contains 9000 tokens, too large for model with 8192 maximum context length"),
            "content_filter": Said(403, "guardrail", None, "A guardrail of the account has objected."),
        },
        usage=plain,
        usage_at="finish",
        message=_as_thinking,
        whole_calls=True,
    ),
    "hyperbolic": Flavour(
        _flat,
        {"quota": Said(402, "insufficient_funds", None, "Please add funds to your account.")},
        usage=plain,
        message=_unsaid,
    ),
    "xai": Flavour(
        _xai,
        {
            "quota": Said(403, "The caller does not have permission to execute the specified operation", None,
                          "Your team has used all available credits or reached its monthly spending limit."),
            "auth": Said(400, "Client specified an invalid argument", None,
                         "Incorrect API key provided: xa***ey. You can obtain an API key from https://console.x.ai."),
            "context_length": Said(400, "Client specified an invalid argument", None,
                                   "This model's maximum prompt length is 131072 but the request contains 140000."),
            "content_filter": Said(403, "The caller does not have permission to execute the specified operation", None,
                                   "Content violates usage guidelines."),
        },
        usage=_reasoning_beside,
        reasons={"tool_calls": ""},
    ),
    "groq": Flavour(usage=counted, message=_as_reasoning),
    "openrouter": Flavour(
        _openrouter,
        {
            "quota": Said(402, "", None, "Insufficient credits. Add more."),
            "not_found": Said(404, "", None, "No endpoints found for this model."),
            "context_length": Said(400, "", None, "This endpoint's maximum context length is 8192 tokens."),
            "content_filter": Said(403, "", None, "Input requires moderation and was flagged."),
        },
        message=_with_details,
        broken=_in_choices,
    ),
    "vllm": Flavour(_with_status, _ENGINE, usage=_cached_inside, message=_as_reasoning),
    "vllm-legacy": Flavour(_flat, _ENGINE, usage=plain, broken=_overloaded),
    "sglang": Flavour(
        _flat,
        _ENGINE | {
            "context_length": Said(400, "BadRequestError", None,
                                   "The input (9000 tokens) is longer than the model's context length (8192 tokens)."),
        },
        usage=_cached_inside,
        message=_without_index,
    ),
    "tgi": Flavour(
        _tgi,
        {
            "rate_limit": Said(429, "overloaded", None, "Model is overloaded"),
            "overload": Said(503, "overloaded", None, "Model is overloaded"),
            "not_found": Said(404, "not_found", None, "Not found"),
            "bad_request": Said(422, "validation", None, "Input validation error: `temperature` must be positive"),
            "context_length": Said(422, "validation", None, "Input validation error: `inputs` tokens + `max_new_tokens`"
                                   " must be <= 4096. Given: 4000 `inputs` tokens and 500 `max_new_tokens`"),
            "server_error": Said(500, "generation", None, "Request failed during generation: out of memory"),
            "auth": Said(401, "unauthorized", None, "Unauthorized"),
        },
        usage=plain,
        message=_unsaid,
    ),
    "llamacpp": Flavour(
        _with_status,
        {
            "auth": Said(401, "authentication_error", None, "Invalid API Key"),
            "not_found": Said(404, "not_found_error", None, "File Not Found"),
            "bad_request": Said(400, "invalid_request_error", None, "Failed to parse grammar"),
            "context_length": Said(400, "exceed_context_size_error", None,
                                   "the request exceeds the available context size. try increasing it"),
            "overload": Said(503, "unavailable_error", None, "Loading model"),
        },
        usage=plain,
    ),
    "ollama": Flavour(
        said={
            "not_found": Said(404, "not_found_error", None, 'model "x" not found, try pulling it first'),
            "overload": Said(503, "api_error", None, "server busy, please try again"),
        },
        usage=plain,
        message=_as_reasoning,
    ),
    "lmstudio": Flavour(
        _words,
        {
            "context_length": Said(400, "", None, "Trying to keep the first 9000 tokens when the context length is"
                                   " only 4096 tokens. Load the model with a larger context length"),
        },
        usage=plain,
    ),
}  # fmt: skip
