"""``sealgate doctor``: against providers that are well, and against each way in which they are not."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sealgate.cli import app, doctor
from sealgate.providers import discover
from sealgate.providers.table import KINDS
from sealgate.testing import (
    Behaviour,
    Received,
    ScriptedUpstream,
    ThreadedUpstream,
    answer,
    empty,
    error,
    html,
    json_answer,
    not_json,
    quota,
    redirect,
    refusing,
    reset,
    silent,
)

KEY = "canary-key-91b7c2"
SECOND = "second-canary-5e20"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty folder, no keys in the environment, nothing on the usual ports, and little patience."""
    monkeypatch.chdir(tmp_path)
    for kind in KINDS.values():
        for variable in kind.key_variables:
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(discover, "KINDS", {name: replace(kind, port=None) for name, kind in KINDS.items()})
    monkeypatch.setattr(doctor, "LIMIT", 2.0)


def row(base_url: str, *keys: str, kind: str = "openai", name: str = "acme", more: str = "") -> str:
    given = f"api_key = {json.dumps(keys)}\n" if keys else ""
    return f'[providers.{name}]\nkind = "{kind}"\nbase_url = "{base_url}"\n{given}{more}\n'


def model(name: str = "m", upstream: str = "test-model", provider: str = "acme") -> str:
    return f'[models.{name}]\nroutes = [{{ provider = "{provider}", model = "{upstream}" }}]\n'


def run(text: str, *arguments: str) -> Result:
    Path("sealgate.toml").write_text(text)
    result = CliRunner().invoke(app, ["doctor", *arguments])
    assert not result.exception or isinstance(result.exception, SystemExit), result.exception
    assert KEY not in result.output
    assert SECOND not in result.output
    return result


def checks(text: str, *arguments: str) -> dict[tuple[str, str], tuple[str, str]]:
    """State and sentence of each line, by subject and check; the exit code says whether one is wrong."""
    result = run(text, "--json", *arguments)
    document = json.loads(result.stdout)
    found = {(each["subject"], each["check"]): (each["state"], each["says"]) for each in document["checks"]}
    assert len(found) == len(document["checks"])
    well = all(state != "wrong" for state, _ in found.values())
    assert (document["ok"], result.exit_code) == (well, 0 if well else 1)
    return found


def of_acme(text: str, *arguments: str) -> dict[str, tuple[str, str]]:
    found = checks(text, "acme", *arguments)
    assert {subject for subject, _ in found} == {"acme"}
    return {check: line for (_, check), line in found.items()}


def posts(upstream: ThreadedUpstream) -> list[Received]:
    return [each for each in upstream.requests if each.method == "POST"]


@pytest.fixture
def upstream() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as found:
        yield found


# A provider that is well


def test_all_is_well(upstream: ThreadedUpstream) -> None:
    found = of_acme(row(upstream.base_url, KEY) + model())
    assert re.fullmatch(r"test-model answered in \d\.\d\d s", found.pop("global/acme/m")[1])
    assert found == {
        "address": ("ok", f"{upstream.base_url} connects"),
        "key": ("ok", "accepted"),
        "models": ("ok", "1 listed"),
    }
    sent = posts(upstream)[0]
    assert sent.json == {
        "model": "test-model", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 16,
    }  # fmt: skip
    assert sent.headers["authorization"] == f"Bearer {KEY}"


def test_the_table_has_one_line_for_each_check_and_the_verdict(upstream: ThreadedUpstream) -> None:
    result = run(row(upstream.base_url, KEY) + model(), "acme")
    lines = [line.split() for line in result.stdout.splitlines() if line.strip()]
    assert [line[:3] for line in lines[1:-1]] == [
        ["ok", "acme", "address"], ["ok", "acme", "key"], ["ok", "acme", "models"], ["ok", "acme", "global/acme/m"],
    ]  # fmt: skip
    assert lines[-1] == ["All", "is", "well."]
    assert result.exit_code == 0


def test_without_completions_nothing_is_posted_and_names_are_held_against_the_list(upstream: ThreadedUpstream) -> None:
    found = of_acme(row(upstream.base_url, KEY) + model() + model("n", "tset-model"), "--no-completion")
    assert found["global/acme/m"] == ("ok", "test-model is listed")
    assert found["global/acme/n"] == ("wrong", "its list has no model 'tset-model'; did you mean 'test-model'?")
    assert posts(upstream) == []


def test_a_model_that_answers_is_well_though_it_is_not_listed(upstream: ThreadedUpstream) -> None:
    state, says = of_acme(row(upstream.base_url, KEY) + model(upstream="fine-tuned"))["global/acme/m"]
    assert state == "ok"
    assert says.startswith("fine-tuned answered in ")
    assert says.endswith(", though it is not listed")


def test_a_kind_without_a_list_is_judged_by_its_routes(upstream: ThreadedUpstream) -> None:
    upstream.handler = lambda got: answer("Hi") if got.path.endswith("/chat/completions") else None
    found = of_acme(row(upstream.origin, KEY, kind="azure") + model())
    assert found["key"] == ("ok", "accepted")
    assert found["models"] == ("ok", "no list is asked for at this kind of provider")
    assert found["global/acme/m"][0] == "ok"
    assert "/models" not in {each.path for each in upstream.requests}


def test_only_chat_models_are_asked(upstream: ThreadedUpstream) -> None:
    embedding = model("e").replace("[models.e]\n", '[models.e]\ntype = "embedding"\n')
    state, says = of_acme(row(upstream.base_url, KEY) + embedding)["global/acme/e"]
    assert (state, "otherwise not checked" in says) == ("ok", True)
    assert posts(upstream) == []


def test_a_server_without_keys_needs_none(upstream: ThreadedUpstream) -> None:
    found = of_acme(row(upstream.base_url, kind="vllm") + model())
    assert found["key"] == ("ok", "none is needed")


# Each way of not being well


def on_chat(behaviour: Behaviour) -> Callable[[Received], Behaviour | None]:
    return lambda got: behaviour if got.method == "POST" else None


def on_list(behaviour: Behaviour) -> Callable[[Received], Behaviour | None]:
    return lambda got: behaviour if got.path.endswith("/models") else None


@pytest.mark.parametrize(
    ("handler", "check", "says"),
    [
        (on_chat(error(401)), "key", "the key is refused; check api_key"),
        (on_chat(quota()), "key", "the quota is gone; pay or raise the limit"),
        (on_chat(error(429)), "key", "the rate limit of this key is reached"),
        (on_chat(error(404)), "global/acme/m", "has no model 'test-model', or this key may not use it (404: "),
        (on_chat(html(404)), "global/acme/m", "answers 404 without saying why; check base_url"),
        (on_chat(html()), "global/acme/m", "does not answer as its API does, or is a web page; check kind"),
        (on_chat(silent()), "global/acme/m", "too slow: connected, but no answer came in time"),
        (on_chat(silent(after_head=True)), "global/acme/m", "too slow"),
        (on_chat(reset()), "global/acme/m", "breaks the connection before its answer is whole"),
        (on_chat(error(503)), "global/acme/m", "is overloaded at the moment"),
        (on_chat(error(500)), "global/acme/m", "fails by its own fault"),
        (on_chat(redirect()), "global/acme/m", "answers with a redirect, which is never followed"),
        (on_chat(empty()), "global/acme/m", "does not answer as its API does"),
        (on_chat(not_json()), "global/acme/m", "does not answer as its API does"),
        (on_chat(error(400)), "global/acme/m", "takes the key but refuses a plain request (400: "),
        (lambda _: html(), "models", "answers with a web page, not an API; check base_url"),
        (lambda _: html(404), "models", "answers with a web page, not an API"),
        (lambda _: error(401), "key", "the key is refused"),
        (lambda _: silent(), "models", "too slow"),
    ],
)  # fmt: skip
def test_a_fault_is_said_in_a_sentence(
    upstream: ThreadedUpstream,
    monkeypatch: pytest.MonkeyPatch,
    handler: Callable[[Received], Behaviour | None],
    check: str,
    says: str,
) -> None:
    monkeypatch.setattr(doctor, "LIMIT", 0.4)
    upstream.handler = handler
    state, sentence = of_acme(row(upstream.base_url, KEY) + model())[check]
    assert state == "wrong"
    assert sentence.startswith(says)


def test_where_nobody_listens_nothing_more_is_asked() -> None:
    with refusing() as base_url:
        found = of_acme(row(base_url, KEY) + model())
    [(state, says)] = found.values()
    assert state == "wrong"
    assert says.startswith(f"cannot be reached at {base_url.split('/')[2]}; check base_url, and that the server runs")


def test_a_name_that_is_none_cannot_be_reached() -> None:
    state, says = of_acme(row("http://llm.acme.invalid/v1", KEY) + model())["address"]
    assert (state, says.partition(";")[0]) == ("wrong", "cannot be reached at llm.acme.invalid")


def certificate(folder: Path, name: str) -> Path:
    """A certificate for that name and its key in one file; it is its own authority."""
    binary = shutil.which("openssl")
    if binary is None:
        pytest.skip("the openssl program is needed to make a certificate")
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    words += ["-subj", f"/CN={name}", "-addext", f"subjectAltName={name}", "-keyout", "it.key", "-out", "it.crt"]
    subprocess.run([binary, *words], cwd=folder, check=True, capture_output=True)
    both = folder / "it.pem"
    both.write_text((folder / "it.crt").read_text() + (folder / "it.key").read_text())
    return both


@pytest.mark.parametrize(
    ("name", "trusted", "says"),
    [
        ("DNS:other.example", True, "shows the certificate of another name; check base_url"),
        ("IP:127.0.0.1", False, "shows a certificate that is not accepted; where it is your own authority's"),
        ("IP:127.0.0.1", True, None),
    ],
)
def test_a_certificate_is_verified(tmp_path: Path, name: str, trusted: bool, says: str | None) -> None:
    file = certificate(tmp_path, name)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    with ScriptedUpstream.in_thread(tls=context) as upstream:
        more = f'ca_file = "{file}"' if trusted else ""
        found = of_acme(row(upstream.base_url, KEY, more=more) + model())
        if says is None:
            assert found["address"] == ("ok", f"{upstream.base_url} connects, certificate verified")
            assert found["global/acme/m"][0] == "ok"
        else:
            [(state, sentence)] = found.values()
            assert (state, f"127.0.0.1:{upstream.port} {says}" in sentence) == ("wrong", True)
            assert upstream.requests == []


def test_a_model_that_is_gone_has_a_nearest_name(upstream: ThreadedUpstream) -> None:
    upstream.handler = on_chat(error(404))
    upstream.on_model("gemma-4-31b-it", answer("Hi"))
    says = of_acme(row(upstream.base_url, KEY) + model(upstream="gemma-4-31b"))["global/acme/m"][1]
    assert says.endswith("; did you mean 'gemma-4-31b-it'?")


def test_what_a_provider_says_of_a_key_is_shown_without_the_key(upstream: ThreadedUpstream) -> None:
    upstream.handler = on_chat(error(401, message=f"Incorrect API key provided: {KEY}."))
    assert of_acme(row(upstream.base_url, KEY) + model())["key"][1].endswith(
        "(401: Incorrect API key provided: [redacted].)"
    )


def test_a_key_that_is_missing_is_asked_for(upstream: ThreadedUpstream) -> None:
    upstream.handler = lambda got: error(401) if got.path.startswith("/v1/") else None
    found = of_acme(row(upstream.base_url) + model())
    assert found["key"] == (
        "wrong", "asks for a key, and none is set; set api_key (401: Incorrect API key provided.)",
    )  # fmt: skip
    assert posts(upstream) == []


def test_a_key_that_may_not_list_may_still_answer(upstream: ThreadedUpstream) -> None:
    upstream.handler = on_list(error(403))
    found = of_acme(row(upstream.base_url, KEY) + model())
    assert found["key"] == ("ok", "accepted")
    assert found["models"][0] == "note"
    assert found["global/acme/m"][0] == "ok"


def test_a_server_without_a_list_is_judged_by_its_routes(upstream: ThreadedUpstream) -> None:
    upstream.handler = on_list(error(404, message="Not Found"))
    found = of_acme(row(upstream.base_url, KEY) + model())
    assert found["models"] == ("note", "has no list of models (404)")
    assert [found[check][0] for check in ("key", "global/acme/m")] == ["ok", "ok"]


def test_a_route_whose_key_fails_says_so_and_leaves_the_advice_to_the_key(upstream: ThreadedUpstream) -> None:
    upstream.handler = on_chat(quota())
    found = of_acme(row(upstream.base_url, KEY) + model())
    assert found["global/acme/m"] == ("wrong", "not answered: the quota is gone")


def test_the_machines_own_credentials_are_looked_for(
    upstream: ThreadedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any network: the metadata service of a cloud's machine is not asked."""
    pytest.importorskip("botocore")
    for name, value in {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "none",
                        "AWS_SHARED_CREDENTIALS_FILE": "none"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(doctor, "LIMIT", 20.0)  # the library alone takes its time to be imported
    text = row(upstream.origin, kind="bedrock", more='aws_region = "eu-central-1"') + model()
    state, says = of_acme(text)["key"]
    assert state == "wrong"
    assert says.startswith("refuses the credentials that this machine has, or there are none")
    assert posts(upstream) == []


def test_a_list_for_everybody_proves_no_key(upstream: ThreadedUpstream) -> None:
    text = row(upstream.base_url, KEY) + model()
    says = "not known: the list of models needs none, and no route was answered by it"
    assert of_acme(text, "--no-completion")["key"] == ("note", says)

    def strict(got: Received) -> Behaviour | None:
        return error(401) if got.headers.get("authorization") != f"Bearer {KEY}" else None

    upstream.handler = strict
    assert of_acme(text, "--no-completion")["key"] == ("ok", "accepted for the list of models")


# Several keys


@pytest.mark.parametrize("refused", [error(401), quota()])
def test_each_key_is_checked_and_routes_answer_by_those_that_work(
    upstream: ThreadedUpstream, refused: Behaviour
) -> None:
    upstream.handler = lambda got: refused if got.headers.get("authorization") == f"Bearer {KEY}" else None
    found = of_acme(row(upstream.base_url, KEY, SECOND) + model() + model("n"))
    assert [found[check][0] for check in ("key 1", "key 2", "global/acme/m", "global/acme/n")] == [
        "wrong", "ok", "ok", "ok",
    ]  # fmt: skip


def test_the_second_key_is_tried_on_one_route_only(upstream: ThreadedUpstream) -> None:
    found = of_acme(row(upstream.base_url, KEY, SECOND) + model() + model("n"))
    assert (found["key 1"], found["key 2"]) == (("ok", "accepted"), ("ok", "accepted"))
    assert sorted(each.headers["authorization"] for each in posts(upstream)) == sorted(
        [f"Bearer {KEY}", f"Bearer {KEY}", f"Bearer {SECOND}"]
    )


# Which are looked at


def test_every_account_is_looked_at_and_one_fault_is_nobody_elses(upstream: ThreadedUpstream) -> None:
    with refusing() as base_url:
        text = row(upstream.base_url, KEY) + row(base_url, SECOND, name="gone") + model()
        found = checks(text)
    assert found["acme", "global/acme/m"][0] == "ok"
    assert found["gone", "address"][0] == "wrong"


def test_a_provider_that_is_none_is_refused_with_the_nearest(upstream: ThreadedUpstream) -> None:
    result = run(row(upstream.base_url, KEY), "acm")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is no provider 'acm'; did you mean 'acme'?" in result.stderr
    assert upstream.requests == []


def test_a_configuration_that_cannot_work_is_refused() -> None:
    result = run('[providers.acme]\nkind = "opnai"\n')
    assert (result.exit_code, result.stdout) == (1, "")
    assert "did you mean 'openai'?" in result.stderr


# Without a configuration


def test_the_sandbox_passes_and_says_what_was_found() -> None:
    found = checks("")
    assert found["this machine", "environment"] == ("ok", "no provider is configured; found sandbox (built in)")
    assert found["sandbox", "address"] == ("ok", "built in, nothing to connect to")
    assert found["sandbox", "local/sandbox/sandbox"][1].startswith("sandbox answered in ")
    assert {state for state, _ in found.values()} == {"ok"}


def place(monkeypatch: pytest.MonkeyPatch, kind: str, **fields: Any) -> None:
    """Put a kind's own address elsewhere, everywhere it is looked up."""
    moved = replace(KINDS[kind], **fields)
    monkeypatch.setitem(KINDS, kind, moved)
    monkeypatch.setattr(discover, "KINDS", {**discover.KINDS, kind: moved})


def test_keys_and_servers_that_were_found_are_checked_but_cost_nothing(
    upstream: ThreadedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    place(monkeypatch, "mistral", base_url=f"{upstream.origin}/mistral")
    place(monkeypatch, "ollama", base_url=upstream.base_url, port=upstream.port)
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    listed = {"data": [{"id": "mistral-small"}]}
    upstream.handler = lambda got: (lambda _: json_answer(listed)) if got.path == "/mistral/models" else None
    found = checks("")
    assert found["this machine", "environment"][1] == (
        "no provider is configured; found sandbox (built in), mistral (MISTRAL_API_KEY), "
        f"ollama ({upstream.base_url})"
    )  # fmt: skip
    assert found["mistral", "models"] == ("ok", "1 listed")
    assert found["ollama", "local/ollama/test-model"] == ("ok", "test-model is listed")
    assert posts(upstream) == []


# This machine


def test_the_machine_is_looked_at(upstream: ThreadedUpstream) -> None:
    found = checks(row(upstream.base_url, KEY))
    assert found["storage", "database"] == ("ok", "the first start will make .sealgate/sealgate.db")
    assert found["storage", "data_dir"] == ("ok", ".sealgate will be made by the first start")
    assert found["this machine", "clock"] == ("ok", "is set")
    assert found["this machine", "descriptors"][1].startswith("soft limit ")
    assert not Path(".sealgate").exists(), "looking makes nothing"


def test_settings_to_think_about_are_noted_and_nothing_is_wrong(upstream: ThreadedUpstream) -> None:
    found = checks(row(upstream.base_url, KEY) + "[auth]\nrequired = false\n")
    assert found["settings", "auth.required"][0] == "note"


def test_a_clock_that_differs_from_the_providers_is_noted(upstream: ThreadedUpstream) -> None:
    date = {"date": "Sun, 01 Nov 2020 00:00:00 GMT"}
    upstream.handler = lambda got: (lambda _: json_answer({}, 404, date)) if got.path == "/v1" else None
    state, says = of_acme(row(upstream.base_url, KEY) + model())["clock"]
    assert state == "note"
    assert "ahead of the provider's" in says
