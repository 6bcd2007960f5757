"""``sealgate keys`` as an operator uses it."""

import asyncio
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from sealgate.auth.caller import Caller
from sealgate.auth.keys import KeyStore
from sealgate.auth.pepper import load_pepper
from sealgate.cli.keys import app
from sealgate.config_tables import Budget, Limits
from sealgate.errors import Problem
from sealgate.storage import open_storage

OSIRIS = "sk-osiris-00c1d2e3f405162738495a6b7c8d9e0f"
Run = Callable[..., Result]


@pytest.fixture(scope="session")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which the database and the pepper have been made."""
    folder = tmp_path_factory.mktemp("begun") / "data"
    storage = open_storage(f"sqlite:///{folder}/sealgate.db")
    asyncio.run(load_pepper(storage, folder))
    storage.close()
    return folder


@pytest.fixture
def data(begun: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(begun, tmp_path / "data"))


@pytest.fixture
def config(data: Path, tmp_path: Path) -> Path:
    file = tmp_path / "sealgate.toml"
    file.write_text(f'[storage]\ndata_dir = "{data}"\n')
    return file


@pytest.fixture
def run(config: Path) -> Run:
    """Run a command with the test's configuration; ``fails`` says that exit code 1 is expected."""

    def invoke(*arguments: str, stdin: str | None = None, fails: bool = False) -> Result:
        result = CliRunner().invoke(app, [*arguments, "--config", str(config)], input=stdin)
        assert result.exit_code == int(fails), result.output
        return result

    return invoke


def found(data: Path, key: str) -> Caller | None:
    """What a server on the same data folder says to this key; None: it refuses."""

    async def ask() -> Caller | None:
        storage = open_storage(f"sqlite:///{data}/sealgate.db")
        try:
            return await KeyStore(storage, await load_pepper(storage, data)).find(key.encode())
        except Problem as problem:
            if problem.code.name != "invalid_api_key":
                raise
            return None
        finally:
            await storage.aclose()

    return asyncio.run(ask())


def document(result: Result) -> Any:
    """The one JSON document of ``--json``."""
    assert result.stderr == ""
    return json.loads(result.stdout)


def the_caller(data: Path, key: str) -> Caller:
    caller = found(data, key)
    assert caller is not None
    return caller


def test_create_prints_the_key_alone_on_stdout(run: Run, data: Path) -> None:
    result = run("create", "--name", "ci")

    key = result.stdout.strip()
    caller = the_caller(data, key)
    assert (caller.customer_id, caller.is_admin, caller.models) == ("default", False, None)
    assert "shown only now" in result.stderr
    assert key not in result.stderr


def test_create_takes_customer_admin_models_and_expiry(run: Run, data: Path) -> None:
    result = run(
        *("create", "--name", "ops", "--customer", "acme", "--admin", "--expires", "90d"),
        *("--model", "one", "--model", "two", "--json"),
    )

    made = document(result)
    caller = the_caller(data, made["key"])
    assert (caller.customer_id, caller.is_admin, caller.models) == ("acme", True, frozenset({"one", "two"}))
    assert caller.expires_at == pytest.approx((time.time() + 90 * 86400) * 1e6, abs=60e6)
    assert made["key"].startswith(made["key_prefix"])
    assert {name: made[name] for name in ("name", "customer", "is_admin", "models", "is_active")} == {
        "name": "ops",
        "customer": "acme",
        "is_admin": True,
        "models": ["one", "two"],
        "is_active": True,
    }


def test_create_makes_database_and_pepper_where_there_are_none(tmp_path: Path) -> None:
    file = tmp_path / "sealgate.toml"
    file.write_text(f'[storage]\ndata_dir = "{tmp_path}/fresh"\n')

    result = CliRunner().invoke(app, ["create", "--name", "ci", "--config", str(file)])

    assert the_caller(tmp_path / "fresh", result.stdout.strip()).customer_id == "default"
    assert "for the new customer default" in result.stderr


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2099-01-31", "2099-01-31T00:00:00Z"),
        ("2099-01-31T12:30", "2099-01-31T12:30:00Z"),
        ("2099-01-31T12:30+02:00", "2099-01-31T10:30:00Z"),
        ("2099-01-31T12:30:05Z", "2099-01-31T12:30:05Z"),
    ],
)
def test_an_expiry_is_a_date_or_a_time_in_utc_unless_it_says_otherwise(run: Run, written: str, meant: str) -> None:
    assert document(run("create", "--name", "ci", "--expires", written, "--json"))["expires_at"] == meant


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--expires", "tomorrow"), "--expires tomorrow: write a date"),
        (("--expires", "999999w"), "The expiry is too far in the future."),
        (("--expires", "9999999w"), "--expires 9999999w: write a date"),
        (("--expires", "9999-12-31T23:59:59-05:00"), "The expiry is too far in the future."),
        (("--expires", "2001-01-01"), "The expiry is in the past."),
        (("--customer", "a\tb"), "The customer must be 1 to 128 printable characters"),
        (("--model", ""), "The model must be 1 to 256 printable characters"),
        (("--name", " "), "The name must be 1 to 128 printable characters"),
    ],
)
def test_a_mistake_is_one_sentence_and_makes_no_key(run: Run, arguments: tuple[str, ...], sentence: str) -> None:
    result = run("create", "--name", "ci", *arguments, "--json", fails=True)

    assert result.stdout == ""
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert document(run("list", "--json")) == []


def test_a_bad_configuration_is_one_sentence(run: Run, config: Path, data: Path) -> None:
    config.write_text('[storage]\nurrl = "x"\n')
    assert "unknown key 'urrl'" in run("list", fails=True).stderr

    config.write_text('[storage]\nurl = "mysql://x"\n')
    assert "must begin with sqlite:///" in run("list", fails=True).stderr

    (data / "broken.db").write_bytes(b"no database at all" * 100)
    config.write_text(f'[storage]\nurl = "sqlite:///{data}/broken.db"\n')
    assert "is damaged or not a SQLite database" in run("create", "--name", "ci", fails=True).stderr


def test_a_lost_pepper_stops_new_keys_but_not_a_revocation(run: Run, data: Path) -> None:
    run("create", "--name", "ci")
    (data / "pepper").unlink()

    assert "put the file back or set auth.pepper" in run("create", "--name", "new", fails=True).stderr
    assert [key["name"] for key in document(run("list", "--json"))] == ["ci"]
    assert document(run("revoke", "ci", "--json"))["is_active"] is False


def test_an_operator_may_go_beyond_the_limit_and_is_told(run: Run) -> None:
    for number in range(10):
        assert "active keys" not in run("create", "--name", str(number)).stderr

    result = run("create", "--name", "eleventh")

    assert "This customer now has 11 active keys; without an operator it can have 10." in result.stderr


def test_list_shows_a_table_without_keys(run: Run) -> None:
    made = document(run("create", "--name", "c[red]i", "--admin", "--json"))
    document(run("create", "--name", "web", "--customer", "acme", "--expires", "2099-01-31T12:30Z", "--json"))
    run("revoke", "web")

    header, first, second = run("list").stdout.splitlines()

    assert header.split() == ["key", "name", "customer", "created", "expires", "state"]
    assert first.split() == [made["key_prefix"], "c[red]i", "default", made["created_at"][:10], "never", "admin"]
    assert second.split()[1:3] == ["web", "acme"]
    assert second.split()[-3:] == ["2099-01-31", "12:30", "revoked"]
    assert made["key"] not in header + first + second


def test_list_gives_json_for_one_customer(run: Run) -> None:
    run("create", "--name", "other")
    made = document(run("create", "--name", "web", "--customer", "acme", "--json"))
    del made["key"]

    assert document(run("list", "--customer", "acme", "--json")) == [made]
    assert document(run("list", "--customer", "nobody", "--json")) == []
    assert run("list", "--customer", "nobody").stderr == "The customer nobody has no keys.\n"


@pytest.mark.parametrize("by", ["id", "key_prefix", "name", "key"])
def test_revoke_ends_a_key_named_in_any_way(run: Run, data: Path, by: str) -> None:
    made = document(run("create", "--name", "ci", "--json"))

    said = run("revoke", made[by]).stderr

    assert said == f"Key 'ci' ({made['key_prefix']}) of customer default is revoked.\n"
    assert found(data, made["key"]) is None
    assert "was revoked already" in run("revoke", made[by]).stderr


def test_revoke_of_what_there_is_not_is_one_sentence(run: Run) -> None:
    run("create", "--name", "ci", "--customer", "acme")

    assert run("revoke", "nothing", fails=True).stderr == "sealgate: There is no such key.\n"
    assert run("revoke", "ci", "--customer", "default", fails=True).stderr == "sealgate: There is no such key.\n"


def test_import_reads_a_plain_key_on_stdin(run: Run, data: Path) -> None:
    result = run("import", "--name", "moved", "--customer", "acme", stdin=OSIRIS + "\r\n")

    assert the_caller(data, OSIRIS).customer_id == "acme"
    assert result.stdout == ""
    assert "sk-osiris-00c1" in result.stderr
    assert OSIRIS not in result.stderr


def test_import_takes_a_hash(run: Run, data: Path) -> None:
    made = document(run("import", "--name", "moved", "--sha256", hashlib.sha256(OSIRIS.encode()).hexdigest(), "--json"))

    assert the_caller(data, OSIRIS).key_id == made["id"]
    assert "key" not in made


def test_import_takes_a_hash_salted_by_a_prefix(run: Run, data: Path) -> None:
    salted = hashlib.sha256(f"pepper{OSIRIS}".encode()).hexdigest()

    run("import", "--name", "moved", "--sha256", salted, "--prefix", "pepper", "--expires", "1d", "--model", "m")

    assert the_caller(data, OSIRIS).models == frozenset({"m"})
    assert found(data, f"pepper{OSIRIS}") is None


@pytest.mark.parametrize(
    ("arguments", "stdin", "sentence"),
    [
        ((), "hunter2\n", "at least 128 bits"),
        ((), "", "1 to 512 printable ASCII characters"),
        ((), f"{OSIRIS}\n{OSIRIS}\n", "on one line"),
        ((), "$2b$12$LQv3c1yqBWVHxkd0LHAkCOYz6TtxMQJqhN8\n", "bcrypt hash"),
        (("--sha256", "$2b$12$LQv3c1yqBWVHxkd0LHAkCOYz6TtxMQJqhN8"), None, "bcrypt hash"),
        (("--sha256", "1234"), None, "64 hex digits"),
        (("--prefix", "salt"), OSIRIS, "--prefix says how a hash was made, so it needs --sha256"),
    ],
)
def test_import_refuses_in_one_sentence(run: Run, arguments: tuple[str, ...], stdin: str | None, sentence: str) -> None:
    result = run("import", "--name", "moved", *arguments, stdin=stdin, fails=True)

    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert document(run("list", "--json")) == []


@pytest.mark.anyio
async def test_a_revoke_by_another_process_is_seen_by_a_running_server_within_a_second(
    config: Path, data: Path
) -> None:
    """Row B6, with two real processes on one SQLite file."""
    storage = open_storage(f"sqlite:///{data}/sealgate.db")
    store = KeyStore(storage, await load_pepper(storage, data))
    await store.start()
    key = (await store.create(name="ci")).key.encode()
    await store.find(key)

    arguments = ("-m", "sealgate", "keys", "revoke", "ci", "--config", str(config))
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    assert b"is revoked" in said
    assert signature(KeyStore).parameters["poll_seconds"].default <= 0.5, "the second: two looks at the database"
    async with asyncio.timeout(20):
        while store.cached(key) is not None:  # noqa: ASYNC110 - another process tells us nothing
            await asyncio.sleep(0.005)
    with pytest.raises(Problem, match="invalid_api_key"):
        await store.find(key)
    await store.aclose()
    await storage.aclose()


def test_create_takes_limits_and_a_budget(run: Run, data: Path) -> None:
    options = ("--limit", "requests_per_minute=40", "--limit", "concurrency=2", "--budget", "25.00/month")
    made = document(run("create", "--name", "ci", *options, "--json"))

    caller = the_caller(data, made["key"])
    assert caller.limits == Limits(requests_per_minute=40, concurrency=2)
    assert caller.budget == Budget(Decimal("25.00"), "month")
    assert made["limits"] == {"requests_per_minute": 40, "concurrency": 2}
    assert made["budget"] == {"amount": "25.00", "period": "month", "rolling": False}


@pytest.mark.parametrize(
    "options",
    [
        ("--limit", "requests_per_minute"),
        ("--limit", "requests_per_minute=0"),
        ("--limit", "requests_per_minute=many"),
        ("--limit", "per_minute=5"),
        ("--budget", "-5"),
        ("--budget", "NaN"),
        ("--budget", "5/year"),
        ("--budget", "5 EUR"),
    ],
)
def test_a_limit_or_budget_that_cannot_be_is_refused_by_name(run: Run, options: tuple[str, str]) -> None:
    assert options[0] in run("create", "--name", "ci", *options, fails=True).stderr


def test_default_shows_the_oldest_active_key_until_another_is_chosen(run: Run) -> None:
    assert "no active key" in run("default", fails=True).stderr
    run("create", "--name", "one")
    run("create", "--name", "two")
    assert document(run("default", "--json"))["name"] == "one"

    chosen = document(run("default", "two", "--json"))

    assert (chosen["name"], chosen["is_default"]) == ("two", True)
    assert [each["is_default"] for each in document(run("list", "--json"))] == [False, True]
    assert "'two'" in run("default").stderr
    run("revoke", "two")
    assert document(run("default", "--json"))["name"] == "one"
    assert run("default", "two", fails=True).stderr
    assert run("default", "unknown", fails=True).stderr


@pytest.mark.parametrize("how", ["plain", "hash", "salted"])
@pytest.mark.parametrize(
    "key", ["tr-" + "0c1d2e3f4a5b6978" * 6, OSIRIS, "sk-Ab12Cd." + "0c1d2e3f4a5b6978" * 4, "Qw3rTy7uIo9pAsDfGhJk2w"]
)
def test_a_key_of_every_format_is_taken_over_in_every_way(run: Run, data: Path, key: str, how: str) -> None:
    if how == "plain":
        run("import", "--name", "moved", stdin=key)
    elif how == "hash":
        run("import", "--name", "moved", "--sha256", hashlib.sha256(key.encode()).hexdigest())
    else:
        run("import", "--name", "moved", "--prefix", "p:", "--sha256", hashlib.sha256(f"p:{key}".encode()).hexdigest())
    assert the_caller(data, key).customer_id == "default"
