"""A LiteLLM ``config.yaml`` as ours: deployments become routes, groups become models.

Source: docs.litellm.ai, "Config.yaml", "All settings", "Load balancing", "Reliability".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

from sealgate.cli.moving import draft as drafts
from sealgate.cli.moving import litellm_names as names
from sealgate.cli.moving.draft import Draft, ModelDraft, PlainKey
from sealgate.cli.moving.source import Source, View, shown
from sealgate.providers.table import KINDS

Look = Callable[[str], str | None]
"""A variable of the environment, for addresses and regions that the source reads from it; never for keys."""

FROM_ENVIRONMENT = "os.environ/"
MAX_RETRIES = 5
_AWS_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]")
_SETTINGS = {
    "aws_region_name": "aws_region",
    "vertex_project": "project",
    "vertex_ai_project": "project",
    "vertex_location": "location",
    "vertex_ai_location": "location",
    "api_version": "api_version",
}


class Deployment(NamedTuple):
    """One entry of ``model_list`` that has a place here."""

    entry: View
    params: View
    info: View
    group: str
    vendor: str
    model: str


def convert(source: Source, look: Look) -> Draft:
    """The draft; what became of each leaf is in ``source``."""
    root = source.root
    entries = root.tables("model_list")
    router = root.table("router_settings")
    written = [name for entry in entries if (name := entry.value.get("model_name")) and isinstance(name, str)]
    draft = Draft(drafts.reserve([*written, *router.table("model_group_alias").value]))
    deployments = [found for entry in entries if (found := _deployment(entry))]
    for found in sorted(deployments, key=_order):
        _route(draft, found, look)
    _router(draft, router)
    _library(draft, root.table("litellm_settings"))
    _server(draft, root.table("general_settings"))
    root.explain(names.TOP)
    _weights(draft, deployments)
    draft.note("Callers change their base URL: LiteLLM listens on port 4000 by default, this gateway on 3000.")
    return draft


def _deployment(entry: View) -> Deployment | None:
    """An entry as far as its names go; what has no place here is left as a whole, with the reason."""
    params, info = entry.table("litellm_params"), entry.table("model_info")
    group, full = entry.text("model_name"), params.text("model")
    reason = None
    vendor, model = _vendor(params, full or "")
    if group is None or full is None:
        reason = "the entry needs a model_name and litellm_params.model"
    elif refused := drafts.unnameable(group):
        reason = refused
    elif (mode := info.value.get("mode")) is not None and mode not in tuple(names.MODES):
        reason = "chat, embeddings and transcriptions are served; this is for something else"
    elif vendor not in names.VENDORS:
        reason = "there is no kind of provider for it; a server that speaks OpenAI's API is kind compatible"
    elif not model:
        reason = "it names no model"
    if reason:
        entry.source.leave(entry.place, reason)
        return None
    return Deployment(entry, params, info, group or "", vendor, model)


def _vendor(params: View, full: str) -> tuple[str, str]:
    """LiteLLM's name of the provider, and the provider's name of the model."""
    prefix, slash, rest = full.partition("/")
    if own := params.text("custom_llm_provider"):
        return own, rest if slash and prefix == own else full
    if slash and prefix in names.VENDORS:
        return prefix, rest
    for pattern, vendor in names.BARE:
        if pattern.match(full) and not slash:
            return vendor, full
    return (prefix if slash else ""), rest


def _order(found: Deployment) -> Decimal:
    """``order``: the smaller is asked first; those without come last."""
    number = found.params.number("order")
    return Decimal("Infinity") if number is None else number


def _route(draft: Draft, found: Deployment, look: Look) -> None:
    params = found.params
    params.carry("custom_llm_provider", "kind of the provider")
    settings, upstream = _settings(found, look)
    wild = "*" in found.group or "*" in upstream
    model = ModelDraft() if wild else draft.models.setdefault(found.group, ModelDraft())
    remark = ""
    if "api_key" not in params and str(settings["api_key"]).startswith("env::"):
        remark = "No key was named in the source: this is the variable it looks in."
    table = draft.provider(found.vendor.replace("_", "-"), settings, model.tables, remark)
    if isinstance(settings["api_key"], PlainKey):
        params.leave("api_key", f"it is in plain text: set the variable that [providers.{table}] names to it")
    for key in ("model", "api_key", "api_base", "base_url", *_SETTINGS):
        params.carry(key, f"providers.{table}")
    if wild:
        reason = f"there are no wildcards: callers reach any model of it as {table}::MODEL"
        found.entry.leave("model_name", reason)
        found.entry.source.leave(found.entry.place, "it belongs to a wildcard, which no model stands for")
        draft.note(f"Instead of {shown(found.group)}, callers name {table}::MODEL; any model of that provider.")
        return
    found.entry.carry("model_name", f"models.{drafts.quoted(found.group)}")
    route = {"provider": table, "model": upstream}
    _prices(found, route)
    model.routes.append(route)
    _facts(found, model)


def _settings(found: Deployment, look: Look) -> tuple[dict[str, Any], str]:
    """The provider's settings, and the name of the model there."""
    params, vendor = found.params, names.VENDORS[found.vendor]
    kind, model = vendor.kind, found.model
    settings: dict[str, Any] = {"kind": kind}
    base = _base(params, vendor, look)
    if base and kind == "openai" and base.rstrip("/") != KINDS["openai"].base_url:
        settings["kind"] = "compatible"
    if base:
        settings["base_url"] = base
    for key, ours in _SETTINGS.items():
        if key in params:
            _setting(params, key, ours, settings, look)
    if kind == "bedrock":
        model = _bedrock(model, settings)
    elif kind == "vertex":
        _vertex(model, settings)
    elif kind == "sagemaker":
        settings["carries"] = "openai" if found.vendor == "sagemaker_chat" else "tgi"
    elif kind == "fireworks" and not model.startswith("accounts/") and "*" not in model:
        model = f"accounts/fireworks/models/{model}"
    _needed(settings, look)
    settings["api_key"] = _key(params, vendor, settings)
    return settings, model


def _base(params: View, vendor: names.Vendor, look: Look) -> str | None:
    key = "api_base" if "api_base" in params else "base_url"
    if key == "api_base":
        params.leave("base_url", "api_base says it")
    if key not in params:
        return vendor.base_url or (drafts.UNSET_URL if vendor.kind in ("azure", "compatible") else None)
    text = _value(params, key, look)
    found = drafts.address(text) if text else None
    if found is None:
        params.leave(key, "it is no address that can be used, or one with a user name or a query: set base_url")
        return drafts.UNSET_URL
    if vendor.kind == "azure":
        return found.partition("/openai/deployments")[0]
    return found + vendor.suffix if vendor.suffix and found.count("/") == 2 else found


def _value(params: View, key: str, look: Look) -> str | None:
    """A setting that is no secret, from the environment where the source reads it there."""
    text = params.text(key)
    if text is None or not text.startswith(FROM_ENVIRONMENT):
        return text
    found = look(text.removeprefix(FROM_ENVIRONMENT))
    if found is None:
        params.leave(key, "it is read from the environment, and the variable is not set where this was converted")
    return found


def _setting(params: View, key: str, ours: str, settings: dict[str, Any], look: Look) -> None:
    kind = KINDS[settings["kind"]]
    if ours not in kind.reads:
        params.leave(key, f"it means nothing for kind {kind.name}")
        return
    text = _value(params, key, look)
    if ours == "api_version" and text in ("v1", "preview", "latest"):
        params.leave(key, "without api_version the API that has no versions is used, which is the same")
    elif ours in settings:
        params.leave(key, "another name of the same setting says it")
    elif text and re.fullmatch(r"[A-Za-z0-9._-]{1,100}", text):
        settings[ours] = text
    else:
        params.leave(key, f"it cannot be used as {ours}")


def _bedrock(model: str, settings: dict[str, Any]) -> str:
    """The model without LiteLLM's own words before it; a region among them is the account's."""
    for word in ("converse/", "converse_like/", "invoke/"):
        model = model.removeprefix(word)
    region, slash, rest = model.partition("/")
    if slash and _AWS_REGION.fullmatch(region):
        settings.setdefault("aws_region", region)
        return rest or model
    return model


def _vertex(model: str, settings: dict[str, Any]) -> None:
    if model.startswith("claude"):
        settings["api_model"] = "anthropic"
    elif "/" in model and not model.startswith("gemini/"):
        settings["api_model"] = "openai"


def _needed(settings: dict[str, Any], look: Look) -> None:
    """What the address of the provider is made of, said where the source does not have it."""
    kind = KINDS[settings["kind"]]
    for name in ("aws_region", "project", "location"):
        if name in kind.reads and name not in settings and "base_url" not in settings:
            found = (look("AWS_REGION") or look("AWS_DEFAULT_REGION")) if name == "aws_region" else None
            settings[name] = found or drafts.UNSET


def _key(params: View, vendor: names.Vendor, settings: dict[str, Any]) -> str | PlainKey:
    text = params.text("api_key")
    if text is None:
        # A key that nobody named must not go to another host than it is for.
        own = "base_url" not in settings or settings["base_url"] == vendor.base_url or vendor.kind == "azure"
        return (f"env::{vendor.key}" if vendor.key else drafts.usual_key(settings["kind"])) if own else "none"
    if text.startswith(FROM_ENVIRONMENT) and drafts.variable(text.removeprefix(FROM_ENVIRONMENT)):
        return f"env::{text.removeprefix(FROM_ENVIRONMENT)}"
    return "none" if text.lower() in names.NO_KEYS or not text else PlainKey(text)


def _prices(found: Deployment, route: dict[str, Any]) -> None:
    """Prices of a token as exact prices of a million; a chat model has both or none."""
    views = [view for view in (found.params, found.info) if view.value]
    given = {}
    for view in views:
        for key, ours in names.PRICES.items():
            number = view.number(key)
            if number is not None and ours not in given and (price := drafts.per_mtok(number)) is not None:
                given[ours] = price
        number = view.number("input_cost_per_second")
        if number is not None and (minute := drafts.per_mtok(number, 60)) is not None:
            given.setdefault("per_minute", minute)
    chat = _type(found) == "chat"
    both = {"input_per_mtok", "output_per_mtok"}
    usable = given.keys() >= both if chat else given.keys() & {*both, "per_minute"}
    for view in views:
        for key, ours in {**names.PRICES, "input_cost_per_second": "per_minute"}.items():
            if usable and ours in given:
                view.carry(key, f"models.{drafts.quoted(found.group)}.routes {ours}")
            else:
                view.leave(key, "a route has a price of prompt tokens and one of completion tokens, from 0 up")
    if usable:
        route.update(given)


def _type(found: Deployment) -> str:
    mode = found.info.value.get("mode")
    if isinstance(mode, str) and mode in names.MODES:
        return names.MODES[mode]
    if re.search(r"embed", found.model):
        return "embedding"
    return "transcription" if re.search(r"whisper|transcribe", found.model) else "chat"


def _facts(found: Deployment, model: ModelDraft) -> None:
    """What is said of the model as a whole; the first deployment of a group that says it is heard."""
    target = f"models.{drafts.quoted(found.group)}"
    kept = model.settings.setdefault("type", _type(found))
    if kept == _type(found):
        found.info.carry("mode", f"{target} type")
    else:
        found.info.leave("mode", "another entry of the same name says otherwise")
    for view, key in ((found.info, "max_output_tokens"), (found.info, "max_tokens"), (found.params, "max_tokens")):
        number = view.number(key)
        if number is None:
            continue
        if number < 1 or number != int(number) or number > 10**12:
            view.leave(key, "it is no number of tokens")
        elif model.settings.setdefault("max_output_tokens", int(number)) == number:
            view.carry(key, f"{target} max_output_tokens")
        else:
            view.leave(key, "the model has one max_output_tokens, and it is said otherwise before")
    found.params.explain(names.PARAMS)
    found.info.explain(names.INFO)
    for key in found.info.value:
        if key.startswith("supports_"):
            found.info.leave(key, names.SUPPORTS)


def _weights(draft: Draft, deployments: list[Deployment]) -> None:
    """LiteLLM draws by ``weight``, else by ``rpm``, else evenly; an ``order`` comes before all that."""
    for name, model in draft.models.items():
        group = [each for each in sorted(deployments, key=_order) if each.group == name]
        key = next((key for key in ("weight", "rpm", "tpm") if any(key in each.params for each in group)), None)
        ordered = any(_order(each).is_finite() for each in group)
        if ordered:
            model.settings["policy"] = "order"
            for each in group:
                each.params.carry("order", f"models.{drafts.quoted(name)}: the sequence of its routes")
                each.params.leave("weight", "the routes are asked in their order")
        elif key and model.settings.get("policy") == "weighted" and len(group) > 1:
            _weigh(name, model, group, key)
        for each in group:
            each.params.carry("order", f"models.{drafts.quoted(name)}: the sequence of its routes")
            each.params.leave("weight", "weights mean something between several routes that are drawn")


def _weigh(name: str, model: ModelDraft, group: list[Deployment], key: str) -> None:
    found = [max(each.params.number(key) or Decimal(0), Decimal(0)) for each in group]
    if not any(found):
        return
    for route, weight, each in zip(model.routes, found, group, strict=True):
        route["weight"] = weight
        if key == "weight":
            each.params.carry(key, f"models.{drafts.quoted(name)}.routes weight")
    if key != "weight":
        model.remarks.append(f"The weights are what was written as {key}; as a ceiling it is not carried.")


def _router(draft: Draft, router: View) -> None:
    strategy = router.text("routing_strategy")
    policy = names.STRATEGIES.get(strategy or "simple-shuffle")
    for model in draft.models.values():
        model.settings["policy"] = policy or "weighted"
    if policy:
        router.carry("routing_strategy", f"policy {policy} of the models")
    else:
        router.leave("routing_strategy", "there is no such policy; `weighted` is written instead")
    for alias, value in router.table("model_group_alias").value.items():
        place = (*router.place, "model_group_alias", alias)
        target = value.get("model") if isinstance(value, dict) else value
        reason = draft.alias(alias, target) if isinstance(target, str) else "it names no model"
        if reason:
            router.source.leave(place, reason)
        else:
            router.source.leave((*place, "hidden"), "every name of a model is listed")
            router.source.carry(place, f"models.{drafts.quoted(str(target))} aliases")
    _common(draft, router)
    router.explain(names.ROUTER)


def _library(draft: Draft, library: View) -> None:
    _common(draft, library)
    if library.value.get("json_logs") is True:
        draft.tables.setdefault("telemetry", {})["format"] = "json"
        library.carry("json_logs", "telemetry.format")
    library.leave("json_logs", "[telemetry] format says it; unset: JSON lines, but on a terminal")
    library.explain(names.LIBRARY)


def _server(draft: Draft, server: View) -> None:
    if "master_key" in server:
        draft.note("Callers need keys: sealgate keys create --admin --name operator makes the first.")
    server.explain(names.SERVER)


def _common(draft: Draft, view: View) -> None:
    """What can stand in ``router_settings`` and in ``litellm_settings``."""
    for key, ours in (("timeout", "total"), ("request_timeout", "total"), ("stream_timeout", "first_content")):
        number = view.number(key)
        times = draft.tables.setdefault("timeouts", {})
        if number is not None and 0 < number <= 86_400 and times.setdefault(ours, number) == number:
            view.carry(key, f"timeouts.{ours}")
        elif number is not None:
            view.leave(key, "it is beyond a day, or said otherwise before")
    number = view.number("num_retries")
    if number is not None:
        retries = max(0, min(int(number), MAX_RETRIES))
        for each in draft.providers.values():
            each.settings.setdefault("retries", retries)
        if draft.providers and all(each.settings["retries"] == number for each in draft.providers.values()):
            view.carry("num_retries", "retries of the providers")
        view.leave("num_retries", f"each provider has one number of retries, from 0 to {MAX_RETRIES}")
    for key in ("fallbacks", "default_fallbacks", "context_window_fallbacks", "content_policy_fallbacks"):
        if key in view:
            _fallbacks(view, key)


def _fallbacks(view: View, key: str) -> None:
    """Other models are never substituted here unless the caller says so; how it does is in the report."""
    for index, value in enumerate(view.value[key] if isinstance(view.value[key], list) else []):
        pairs = value.items() if isinstance(value, dict) else ()
        for name, others in pairs:
            if isinstance(others, list) and all(isinstance(other, str) for other in others):
                listed = ", ".join(map(drafts.quoted, others))
                reason = f'callers of {drafts.quoted(str(name))} ask for it themselves: "failover": [{listed}]'
                view.source.leave((*view.place, key, index, str(name)), reason)
    view.leave(key, 'callers ask for other models themselves: "failover": [names, five at most]')
