"""A ``tensorzero.toml`` as ours: models keep their names and routes, functions become models of their variants.

Source: tensorzero.com/docs, "Configuration Reference", "Configure models and providers", "Manage credentials".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NamedTuple

from sealgate.cli.moving import draft as drafts
from sealgate.cli.moving.draft import Draft, ModelDraft, PlainKey
from sealgate.cli.moving.source import Source, View, shown
from sealgate.formats.addresses import is_loopback
from sealgate.providers.table import KINDS


class Vendor(NamedTuple):
    """A provider type: its kind here, where its key is by default, and what its settings are called here."""

    kind: str
    key: str
    settings: Mapping[str, str] = MappingProxyType({})
    model: str = "model_name"


BASE = {"api_base": "base_url"}
VERTEX = {"project_id": "project", "location": "location"}
AWS = {"region": "aws_region"}
VENDORS: dict[str, Vendor] = {
    "openai": Vendor("openai", "env::OPENAI_API_KEY", BASE),
    "azure": Vendor("azure", "env::AZURE_API_KEY", {"endpoint": "base_url"}, "deployment_id"),
    "anthropic": Vendor("anthropic", "env::ANTHROPIC_API_KEY"),
    "aws_bedrock": Vendor("bedrock", "none", AWS, "model_id"),
    "aws_sagemaker": Vendor("sagemaker", "none", {**AWS, "endpoint_name": "endpoint", "hosted_provider": "carries"}),
    "deepseek": Vendor("deepseek", "env::DEEPSEEK_API_KEY"),
    "fireworks": Vendor("fireworks", "env::FIREWORKS_API_KEY"),
    "gcp_vertex_anthropic": Vendor("vertex", "none", VERTEX, "model_id"),
    "gcp_vertex_gemini": Vendor("vertex", "none", VERTEX, "model_id"),
    "google_ai_studio_gemini": Vendor("google", "env::GOOGLE_API_KEY"),
    "groq": Vendor("groq", "env::GROQ_API_KEY"),
    "hyperbolic": Vendor("hyperbolic", "env::HYPERBOLIC_API_KEY"),
    "mistral": Vendor("mistral", "env::MISTRAL_API_KEY"),
    "openrouter": Vendor("openrouter", "env::OPENROUTER_API_KEY"),
    "sglang": Vendor("sglang", "none", BASE),
    "tgi": Vendor("tgi", "none", BASE),
    "together": Vendor("together", "env::TOGETHER_API_KEY"),
    "vllm": Vendor("vllm", "none", BASE),
    "xai": Vendor("xai", "env::XAI_API_KEY"),
}
LONG = ("azure", "vllm", "sglang", "tgi", "sagemaker", "vertex")
"""Kinds whose routes need more than a name, so that ``type::name`` cannot stand for one."""
COSTS = {"/usage/prompt_tokens": "input_per_mtok", "/usage/completion_tokens": "output_per_mtok"}

CALLERS = "callers send it with each request: there are no functions here, only models"
TIMES = "time limits are set for all models, in [timeouts]"
OBSERVED = "there is no ClickHouse: /metrics, the log, the ledger and receipts say what happened"
LIMITS = "limits belong to keys, issuers and models: sealgate keys create --limit, [limits]"
AMAZON = "credentials of AWS are found by its own library"
PROVIDER: dict[str, str] = {
    "extra_body": "callers send it as tensorzero::extra_body",
    "extra_headers": "callers send them as tensorzero::extra_headers; extra_headers of a provider names those they may",
    "timeouts": TIMES,
    "timeout_ms": TIMES,
    "batch_cost": "there are no batches",
    "cost": "a route has a price of prompt tokens and one of completion tokens, from 0 up",
    "discard_unknown_chunks": "chunks that are not known are left out of an answer, never an error",
    "api_type": "providers are asked by chat completions",
    "include_encrypted_reasoning": "reasoning is kept between the steps of a tool loop: docs/guides/reasoning.md",
    "provider_tools": CALLERS,
    "credential_location": "Google's own library finds the credentials: set GOOGLE_APPLICATION_CREDENTIALS to the file",
    "allow_auto_detect_region": "the region is a setting: aws_region",
    **dict.fromkeys(("access_key_id", "secret_access_key", "session_token", "api_key"), AMAZON),
}
MODEL: dict[str, str] = {
    "timeouts": TIMES,
    "skip_relay": "there is no relay",
    "namespace": "a key lists the models it may use: sealgate keys create --model",
}
VARIANT: dict[str, str] = {
    "retries": "another route is asked without being told; `retries` of a provider asks the same once more",
    "timeouts": TIMES,
    "extra_body": PROVIDER["extra_body"],
    "extra_headers": PROVIDER["extra_headers"],
    **dict.fromkeys(("system_template", "user_template", "assistant_template", "templates", "input_wrappers"), CALLERS),
    **dict.fromkeys(("temperature", "top_p", "max_tokens", "seed", "presence_penalty", "frequency_penalty"), CALLERS),
    **dict.fromkeys(("stop_sequences", "json_mode", "reasoning_effort", "service_tier", "verbosity"), CALLERS),
    **dict.fromkeys(("thinking_budget_tokens", "logprobs"), CALLERS),
}
FUNCTION: dict[str, str] = {
    "description": "a model has no description",
    "evaluators": "nothing is evaluated here",
    "experimentation": "an experiment that adapts is not made: the routes are drawn by fixed weights",
    **dict.fromkeys(("tools", "tool_choice", "parallel_tool_calls", "output_schema", "schemas"), CALLERS),
    **dict.fromkeys(("system_schema", "user_schema", "assistant_schema"), CALLERS),
}
GATEWAY: dict[str, str] = {
    "observability": OBSERVED,
    "export": OBSERVED,
    "debug": "no content is ever logged; [telemetry] level says what is",
    "auth": "keys are always demanded: sealgate keys create --name NAME",
    "base_path": "the API is under /v1 and /api/v1",
    "cache": "answers are not cached",
    "disable_pseudonymous_usage_analytics": "nothing is ever reported to anyone",
    "template_filesystem_access": CALLERS,
    "fetch_and_encode_input_files_before_inference": "media_fetch of a provider says it",
    "relay": "there is no relay",
}
TOP: dict[str, str] = {
    "tools": CALLERS,
    "metrics": "there is no feedback",
    "evaluations": "nothing is evaluated here",
    "object_storage": "no content is stored",
    "clickhouse": OBSERVED,
    "postgres": "[storage] url names the gateway's own database",
    "rate_limiting": LIMITS,
    "optimizers": "models are not trained here",
    "autopilot": "models are not trained here",
    "provider_types": "it is a default that no provider here uses",
}


def convert(source: Source) -> Draft:
    """The draft; what became of each leaf is in ``source``."""
    root = source.root
    functions = root.table("functions")
    listed = [*root.table("models").value, *root.table("embedding_models").value, *functions.value]
    draft = Draft(drafts.reserve(listed))
    defaults = root.table("provider_types")
    for section, kind in (("models", "chat"), ("embedding_models", "embedding")):
        models = root.table(section)
        for name in models.value:
            _model(draft, models.table(name), name, kind, defaults)
    for name in functions.value:
        _function(draft, functions.table(name), name, defaults)
    _gateway(draft, root.table("gateway"))
    root.explain(TOP)
    return draft


def _model(draft: Draft, view: View, name: str, kind: str, defaults: View) -> None:
    target = f"models.{drafts.quoted(name)}"
    if reason := drafts.unnameable(name) or ("a model of this name was written before" if name in draft.models else ""):
        view.source.leave(view.place, reason)
        return
    made = ModelDraft(settings={"type": kind})
    providers = view.table("providers")
    for index, listed in enumerate(view.texts("routing")):
        place = (*view.place, "routing", index)
        if listed not in providers:
            view.source.leave(place, "the model has no provider of this name")
        elif _route(draft, providers.table(listed), made, defaults):
            view.source.carry(place, f"{target}.routes, in this order")
        else:
            view.source.leave(place, "the provider is not carried")
    if made.routes:
        draft.models[name] = made
    for each in providers.value:
        providers.leave(each, "no routing names it, or there is no such kind of provider here")
    view.explain(MODEL)
    if not view.value:
        view.source.leave(view.place, "the model has no provider")


def _route(draft: Draft, view: View, model: ModelDraft, defaults: View) -> bool:
    """Write the route of one provider of a model, if there is such a kind."""
    found = view.text("type")
    vendor = VENDORS.get(found or "")
    if found is None or vendor is None:
        reason = "there is no kind of provider for it; a server that speaks OpenAI's API is kind compatible"
        view.source.leave(view.place, reason)
        return False
    upstream = view.text(vendor.model) or view.text("endpoint_id")
    if upstream is None and found != "tgi":
        view.source.leave(view.place, f"it has no {vendor.model}")
        return False
    settings = _settings(view, found, vendor)
    settings["api_key"] = _key(view, found, vendor, defaults)
    remark = (
        "No key was named in the source: this is where it looks." if _silent(view, found, settings, defaults) else ""
    )
    table = draft.provider(_table(view, found), settings, model.tables, remark)
    if isinstance(settings["api_key"], PlainKey):
        view.leave("api_key_location", f"it is in plain text: set the variable that [providers.{table}] names to it")
    route: dict[str, Any] = {"provider": table, "model": upstream or "tgi"}
    _costs(view, route, model.settings["type"] == "chat")
    model.routes.append(route)
    for key in ("type", vendor.model, "endpoint_id", "api_key_location", *vendor.settings):
        view.carry(key, f"providers.{table}")
    view.explain(PROVIDER)
    return True


def _table(view: View, found: str) -> str:
    own = str(view.place[-1])
    return own if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}", own) else found


def _silent(view: View, found: str, settings: dict[str, Any], defaults: View) -> bool:
    named = "api_key_location" in view or found in defaults
    return not named and str(settings["api_key"]).startswith("env::")


def _settings(view: View, found: str, vendor: Vendor) -> dict[str, Any]:
    settings: dict[str, Any] = {"kind": vendor.kind}
    for key, ours in vendor.settings.items():
        value = _base(view, key, vendor) if ours == "base_url" else _setting(view, key, ours)
        if value is not None:
            settings[ours] = value
    if vendor.kind == "openai" and settings.get("base_url", KINDS["openai"].base_url) != KINDS["openai"].base_url:
        settings["kind"] = "compatible"
    if found == "gcp_vertex_anthropic":
        settings["api_model"] = "anthropic"
    return settings


def _base(view: View, key: str, vendor: Vendor) -> str | None:
    """The address; a kind that has one of its own needs none."""
    if key not in view and vendor.kind == "openai":
        return None
    text = view.text(key)
    usable = drafts.address(text) if text else None
    if usable is None:
        view.leave(key, "it is no address that can be used, or one with a user name or a query: set base_url")
        return drafts.UNSET_URL
    return usable.partition("/openai/deployments")[0] if vendor.kind == "azure" else usable


def _setting(view: View, key: str, ours: str) -> str | None:
    text = view.text(key)
    if ours == "carries":
        if text not in ("openai", "tgi"):
            view.leave(key, "the wire inside is OpenAI's or TGI's")
        return "tgi" if text == "tgi" else "openai"
    if text and re.fullmatch(r"[A-Za-z0-9._-]{1,100}", text) and text != "sdk":
        return text
    view.leave(key, f"it cannot be used as {ours}: set it")
    return None if ours == "endpoint" else drafts.UNSET


def _key(view: View, found: str, vendor: Vendor, defaults: View) -> str | PlainKey:
    """The place of the key: of the provider, else of its type in ``provider_types``, else the usual one."""
    own = defaults.table(found).table("defaults") if found in defaults else view
    chosen = view if "api_key_location" in view else own
    value = chosen.value.get("api_key_location")
    if isinstance(value, dict):
        inner = chosen.table("api_key_location")
        inner.leave("fallback", "a provider's key has one place; a list of keys is tried in turn")
        value = inner.text("default")
    if not isinstance(value, str):
        chosen.leave("api_key_location", "it is no text")
        return vendor.key
    place = _place(value)
    if place is None:
        chosen.leave(
            "api_key_location", "callers do not bring keys of providers: set the variable that is named instead"
        )
        return vendor.key
    if chosen is not view and not isinstance(place, PlainKey):
        chosen.carry("api_key_location", f"api_key of the providers of type {found}")
    return place


def _place(value: str) -> str | PlainKey | None:
    """``env::``, ``path::`` and ``none`` are the same here; None: only callers know it."""
    scheme, found, rest = value.partition("::")
    if value in ("none", "sdk"):
        return "none"
    if found and scheme == "dynamic":
        return None
    if found and scheme == "env" and drafts.variable(rest):
        return value
    return value if found and scheme == "path" and rest else PlainKey(value)


def _costs(view: View, route: dict[str, Any], chat: bool) -> None:
    given, usable = {}, []
    for entry in view.tables("cost"):
        ours = COSTS.get(entry.text("pointer") or "")
        each = entry.number("cost_per_million")
        price = None if each is None else drafts.per_mtok(each, 1)
        if ours and price is not None and ours not in given:
            given[ours] = price
            usable.append((entry, ours))
        else:
            entry.source.leave(entry.place, "only prices of prompt and completion tokens by the million are carried")
    if given.keys() >= set(COSTS.values()) or (given and not chat):
        route.update(given)
        for entry, ours in usable:
            entry.source.carry(entry.place, f"{ours} of the route")


def _function(draft: Draft, view: View, name: str, defaults: View) -> None:
    """A model by the function's name, so that ``tensorzero::function_name::NAME`` goes on; its prompts do not."""
    target = f"models.{drafts.quoted(name)}"
    if reason := drafts.unnameable(name) or ("a model has this name already" if name in draft.models else ""):
        view.source.leave(view.place, f"{reason}: its callers get that model" if name in draft.models else reason)
        return
    made = ModelDraft(settings={"type": "chat", "policy": "weighted"})
    made.remarks.append("It was a function: its prompts, tools and parameters are the callers' now.")
    variants = view.table("variants")
    shares = _shares(view, variants)
    carried: set[str] = set()
    for each in sorted(variants.value, key=lambda each: not shares.get(each)):
        if _variant(draft, made, variants.table(each), shares.get(each, Decimal(0)), target, defaults):
            carried.add(each)
    _experiment(view.table("experimentation"), carried)
    if made.routes:
        draft.models[name] = made
        view.carry("type", target)
        if not any(route["weight"] for route in made.routes):
            made.settings["policy"] = "order"
        draft.note(f"{shown(name)} was a function and is a model now: its prompts must come with the requests.")
    else:
        view.leave("type", "none of its variants names a model that was carried")
    view.explain(FUNCTION)


def _shares(view: View, variants: View) -> dict[str, Decimal]:
    """How often each variant is drawn: by the experiment, else by weights, else all alike."""
    experiment = view.table("experimentation")
    candidates = experiment.value.get("candidate_variants")
    if isinstance(candidates, dict):
        inner = experiment.table("candidate_variants")
        return {key: number for key in inner.value if (number := inner.number(key)) is not None and number >= 0}
    if isinstance(candidates, list):
        return dict.fromkeys(experiment.texts("candidate_variants"), Decimal(1))
    tables = {key: variants.table(key) for key in variants.value}
    weights = {key: number for key, table in tables.items() if (number := table.number("weight")) is not None}
    return {key: max(number, Decimal(0)) for key, number in weights.items()} or dict.fromkeys(tables, Decimal(1))


def _experiment(view: View, carried: set[str]) -> None:
    """What of an experiment is in the weights: the drawing, and variants that come last."""
    candidates = view.value.get("candidate_variants")
    if carried and view.value.get("type") in ("static", "static_weights", "uniform"):
        view.carry("type", "policy weighted")
    for key, value in candidates.items() if isinstance(candidates, dict) else ():
        if key in carried and isinstance(value, int | Decimal) and value >= 0:
            view.source.carry((*view.place, "candidate_variants", key), "weight of its route")
    for key in ("candidate_variants", "fallback_variants"):
        for index, each in enumerate(view.texts(key) if isinstance(view.value.get(key), list) else ()):
            if each in carried:
                view.source.carry((*view.place, key, index), "weight of its route; 0 is asked last")


def _variant(draft: Draft, made: ModelDraft, view: View, share: Decimal, target: str, defaults: View) -> bool:
    """Write the routes of a variant's model, if it names one."""
    if view.value.get("type", "chat_completion") != "chat_completion":
        view.source.leave(
            view.place, "a variant that asks several models and chooses is not made: callers can ask each"
        )
        return False
    named = view.text("model")
    routes = _routes_of(draft, named, made, defaults) if named else []
    if not routes:
        view.source.leave(view.place, "it names no model that was carried")
        return False
    view.carry("model", f"{target}.routes")
    view.carry("type", f"{target}.routes")
    view.carry("weight", f"{target}.routes weight")
    # The others of its model come last: they are what it falls back to.
    for first, route in zip([True] + [False] * len(routes), routes, strict=False):
        made.routes.append({**route, "weight": share if first else Decimal(0)})
    view.explain(VARIANT)
    return True


def _routes_of(draft: Draft, named: str, made: ModelDraft, defaults: View) -> list[dict[str, Any]]:
    """The routes of a model of the file, or of ``type::name``; at tables that the function has no route at yet."""
    if known := draft.models.get(named):
        taken = set(made.tables)
        routes = []
        for route in known.routes:
            table = draft.provider(route["provider"], draft.providers[route["provider"]].settings, taken)
            taken.add(table)
            routes.append({**route, "provider": table})
        return routes
    found, separator, name = named.partition("::")
    vendor = VENDORS.get(found)
    if (
        not separator
        or not name
        or vendor is None
        or vendor.kind in ("azure", "vllm", "sglang", "tgi", "sagemaker", "vertex")
    ):
        return []
    view = View(Source({}), (found,), {"type": found, vendor.model: name})
    single = ModelDraft(settings={"type": "chat"}, routes=list(made.routes))
    return single.routes[len(made.routes) :] if _route(draft, view, single, defaults) else []


def _gateway(draft: Draft, view: View) -> None:
    bind = view.text("bind_address")
    if bind:
        host, _, port = bind.rpartition(":")
        host = host.strip("[]")
        if (
            host
            and port.isascii()
            and port.isdigit()
            and int(port) <= 65_535
            and re.fullmatch(r"[A-Za-z0-9.:-]+", host)
        ):
            draft.tables["server"] = {"host": host, "port": int(port)}
            view.carry("bind_address", "server.host and server.port")
            if not is_loopback(host):
                draft.note("The gateway listens beyond this machine: [server] tls_cert, or a proxy before it.")
        view.leave("bind_address", "it is no address and port")
    number = view.number("global_outbound_http_timeout_ms")
    if number is not None and 0 < number <= 86_400_000:
        draft.tables.setdefault("timeouts", {})["total"] = number / 1000
        view.carry("global_outbound_http_timeout_ms", "timeouts.total")
    view.leave("global_outbound_http_timeout_ms", "it is beyond a day")
    auth = view.table("auth")
    if auth.value.get("enabled") is True:
        auth.carry("enabled", "auth.required, which it is")
    draft.note("Callers need keys: sealgate keys create --name NAME makes one.")
    view.explain(GATEWAY)
