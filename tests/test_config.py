"""Configuration: what is accepted, what is refused and how it says so, and that secrets stay secret."""

import re
from decimal import Decimal
from pathlib import Path

import pytest

import sealgate
from sealgate.config import Secret, load
from sealgate.config_template import render
from sealgate.errors import ConfigError

CONTRACT = """
[server]
host = "127.0.0.1"
port = 3000
[storage]
url = "sqlite:///.sealgate/sealgate.db"
[providers.acme]
kind = "openai"
base_url = "https://llm.acme.example/v1"
api_key = "env::ACME_KEY"
region = "eu"
[models."gemma-4-31b"]
type = "chat"
aliases = ["gemma4"]
routes = [ { provider = "acme", model = "google/gemma-4-31b-it", weight = 2, input_per_mtok = 0.2 } ]
[auth.issuers.corp]
issuer = "https://id.corp.example/"
audience = ["sealgate"]
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> Path:
        file = tmp_path / "sealgate.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return write


def test_the_documented_example_loads(write) -> None:
    settings = load(write(CONTRACT), {"ACME_KEY": "k-123"})
    assert settings.providers["acme"].api_key == (Secret("k-123"),)
    assert settings.providers["acme"].region == "eu"
    route = settings.models["gemma-4-31b"].routes[0]
    assert (route.weight, route.input_per_mtok) == (2, Decimal("0.2"))
    assert settings.auth.issuers["corp"].audience == ("sealgate",)


def test_everything_is_optional() -> None:
    settings = load(None, {})
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 3000)
    assert settings.database_url == "sqlite:///.sealgate/sealgate.db"
    assert settings.discovers


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nprot = 1", "unknown key 'prot' in [server]; did you mean 'port'?"),
        ("[sever]", "unknown key 'sever' in the top level; did you mean 'server'?"),
        ('[providers.a]\nkind="openai"\nbase_ur="x"', "in [providers.a]; did you mean 'base_url'?"),
        ('[models.m]\nroutes=[{provider="a",model="m",wieght=1}]', "did you mean 'weight'?"),
        ('[models.m]\nroutes=[{provider="acm",model="m"}]\n[providers.acme]\nkind="openai"', "did you mean 'acme'?"),
        ('[server]\nport = "3000"', "server.port: Expected `int`, got `str`"),
        ("[server]\nport = true", "server.port"),
        ("[timeouts]\nconnect = 0", "timeouts.connect"),
        ("server = 1", "server: Expected `object`"),
        ("[server\n", "is not valid TOML"),
        ('[providers.a]\nkind="openai"\napi_key="env::NOPE"', "the environment variable NOPE, which is not set"),
        ('[providers.a]\nkind="openai"\napi_key="path::/nowhere/key"', "cannot be read"),
        ('[providers.a]\nkind="openai"\napi_key=""', "write none where there is no key"),
        ('[providers."a/b"]\nkind="openai"', "providers"),
        ('[server]\ntls_cert="cert.pem"', "server: tls_cert and tls_key go together"),
        ('[server]\ntrusted_proxies=["10.0.0.1/8"]', "server: trusted_proxies: 10.0.0.1/8 has host bits set"),
        (
            '[server]\ncors_origins=["https://app.example/"]',
            "server: cors_origins: 'https://app.example/' is not an origin",
        ),
        ('[server]\nhost="0.0.0.0"\n[auth]\nrequired=false', "allowed only on a loopback address"),
    ],
)
def test_what_cannot_work_is_refused_with_the_place_and_the_mend(write, text: str, said: str) -> None:
    file = write(text)
    with pytest.raises(ConfigError) as error:
        load(file, {})
    assert said in str(error.value)
    assert "NODEFAULT" not in str(error.value)


def test_the_environment_overrides_every_fixed_key(write) -> None:
    file = write("[server]\nport = 1")
    environ = {"SEALGATE_SERVER__PORT": "8080", "SEALGATE_SERVER__HOSTS": '["a.example"]',
               "SEALGATE_AUTH__REQUIRED": "false", "SEALGATE_TIMEOUTS__GAP": "7.5"}  # fmt: skip
    settings = load(file, environ)
    assert settings.server.port == 8080
    assert settings.server.hosts == ("a.example",)
    assert settings.auth.required is False
    assert settings.timeouts.gap == 7.5


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("SEALGATE_SERVER__PROT", "1", "did you mean 'SEALGATE_SERVER__PORT'?"),
        ("SEALGATE_SERVER__PORT", "many", "SEALGATE_SERVER__PORT"),
        ("SEALGATE_NOWHERE__X", "1", "sets nothing"),
    ],
)
def test_a_wrong_variable_is_refused(variable: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        load(None, {variable: value})


def test_the_file_named_by_the_environment_is_read(write) -> None:
    assert load(None, {"SEALGATE_CONFIG": str(write("[server]\nport = 77"))}).server.port == 77


def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no configuration file"):
        load(tmp_path / "missing.toml", {})


def test_keys_come_from_environment_files_lists_or_not_at_all(write, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file\n")
    text = f'[providers.a]\nkind="openai"\napi_key=["env::K","path::{tmp_path}/key","plain"]\n'
    text += '[providers.b]\nkind="openai"\napi_key="none"'
    settings = load(write(text), {"K": "from-env"})
    assert [key.reveal() for key in settings.providers["a"].api_key] == ["from-env", "from-file", "plain"]
    assert settings.providers["b"].api_key == ()


def test_a_secret_is_never_shown(write) -> None:
    settings = load(
        write('[providers.a]\nkind="openai"\napi_key="canary-secret"'),
        {"SEALGATE_AUTH__PEPPER": "canary-pepper-canary-pepper-canary"},
    )
    assert "canary" not in repr(settings)
    assert "canary" not in str(settings.providers["a"].api_key[0])


def test_the_written_template_loads_and_changes_nothing(write) -> None:
    assert load(write(render()), {}) == load(None, {})


ISSUER = '[auth.issuers.corp]\nissuer = "https://id.corp.example/"\naudience = ["sealgate"]\n'


def test_an_issuer_has_careful_defaults_and_tables_of_its_own(write) -> None:
    text = ISSUER + 'algorithms = ["ES256", "ES384"]\n[auth.issuers.corp.limits]\nrequests_per_minute = 40\n'
    corp = load(write(text), {}).auth.issuers["corp"]
    assert (corp.algorithms, corp.create_users, corp.leeway) == (("ES256", "ES384"), False, 60)
    assert corp.limits is not None
    assert corp.limits.requests_per_minute == 40
    assert load(write(ISSUER), {}).auth.issuers["corp"].algorithms == ("RS256",)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('algorithms = ["HS256"]', "algorithms.*HS256"),
        ('algorithms = ["none"]', "algorithms.*none"),
        ('algorithms = ["RS256", "ES256"]', "one family.*ECDSA and RSA"),
        ("algorithms = []", "algorithms"),
        ("leeway = 61", "leeway"),
        ('jwks_url = "http://id.corp.example/keys"', "jwks_url.*https"),
        ('jwks_url = "file:///keys.json"', "jwks_url"),
        ('audience_claim = "scope"', "audience_claim"),
        ('customer = ""', "customer"),
        ("audiense = 1", "audiense.*did you mean 'audience'"),
        ("limits = { requests = 1 }", "unknown key 'requests'"),
    ],
)
def test_an_issuer_that_cannot_be_trusted_is_refused(write, line: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(write(ISSUER + line), {})


@pytest.mark.parametrize(
    "text",
    [
        '[auth.issuers.corp]\nissuer = "https://id.corp.example/"\n',
        '[auth.issuers.corp]\nissuer = "https://id.corp.example/"\naudience = []\n',
        '[auth.issuers.corp]\nissuer = "http://id.corp.example/"\naudience = ["x"]\n',
        '[auth.issuers.corp]\nissuer = "corp"\naudience = ["x"]\n',
        ISSUER + ISSUER.replace("corp]", "twin]"),
    ],
)
def test_an_issuer_without_an_audience_or_without_https_is_refused(write, text: str) -> None:
    with pytest.raises(ConfigError, match=r"auth\.issuers"):
        load(write(text), {})


def test_an_issuer_whose_name_is_no_address_says_where_its_keys_are(write) -> None:
    text = '[auth.issuers.old]\nissuer = "accounts.corp"\naudience = ["x"]\njwks_url = "http://127.0.0.1:9/keys"\n'
    assert load(write(text), {}).auth.issuers["old"].issuer == "accounts.corp"


def test_the_guide_on_tokens_shows_configurations_that_load(write) -> None:
    page = (Path(__file__).parents[1] / "docs" / "guides" / "tokens.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```toml\n(.*?)^```$", page, re.M | re.S)
    assert [next(iter(load(write(block), {}).auth.issuers)) for block in blocks] == ["corp", "google"]
    source = Path(sealgate.__file__).parent / "auth"
    text = "".join((source / name).read_text() for name in ("claims.py", "jwt.py", "tokens.py", "keyring.py"))
    reasons = set(re.findall(r'(?:Refused|TokenProblem)\("(\w+)"\)', text)) | {"nbf", "iat"}
    table = page.partition("| `reason` |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", re.sub(r"`iss`|`create_users`", "", table))) == reasons
