"""The contract of `Storage`, on both engines."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, insert, select, text
from tests.storage.conftest import Gate, Outside, hold
from tests.storage.rows import make_row

from sealgate.errors import ConfigError, Problem, StorageError
from sealgate.storage import Storage, bump, open_storage
from sealgate.storage.tables import customers, keys, ledger, meta

pytestmark = pytest.mark.anyio


@pytest.fixture
async def ticks() -> AsyncIterator[list[int]]:
    """Grows while the event loop is alive."""
    seen: list[int] = []

    async def tick() -> None:
        while True:
            seen.append(1)
            await asyncio.sleep(0.002)

    task = asyncio.create_task(tick())
    yield seen
    task.cancel()


def add_customer(connection: Connection, id_: str) -> str:
    connection.execute(insert(customers).values(id=id_, name=id_, created_at=1))
    return id_


def key_of(customer: str) -> dict[str, Any]:
    return {
        "id": "k",
        "customer_id": customer,
        "lookup": "l",
        "digest": b"digest",
        "key_prefix": "sk",
        "name": "n",
        "is_admin": False,
        "is_default": True,
        "created_at": 1,
    }


async def test_an_appended_row_is_there_for_everyone_when_append_returns(storage: Storage, outside: Outside) -> None:
    await storage.append(ledger, make_row(7, end_user="zoë", failover=True, prompt_tokens=2**40))

    with outside.engine.connect() as connection:
        (found,) = connection.execute(select(ledger)).mappings()
    expected = dict.fromkeys(ledger.c.keys()) | make_row(7, end_user="zoë", failover=True, prompt_tokens=2**40)
    assert dict(found) == expected


async def test_bytes_and_truth_values_come_back_as_such(storage: Storage) -> None:
    await storage.write(lambda connection: add_customer(connection, "acme"))
    await storage.append(keys, key_of("acme"))

    (found,) = await storage.read(lambda connection: connection.execute(select(keys)).mappings().all())

    assert (found["digest"], found["is_admin"], found["is_default"]) == (b"digest", False, True)


async def test_append_nowait_writes_the_row_soon(storage: Storage, outside: Outside) -> None:
    storage.append_nowait(ledger, make_row())

    await storage.write(lambda _: None)

    assert outside.count() == 1
    assert storage.lost_appends == 0


async def test_a_column_that_does_not_exist_is_refused_at_once(storage: Storage, outside: Outside) -> None:
    with pytest.raises(ValueError, match="no column colour"):
        await storage.append(ledger, make_row(colour="red"))
    with pytest.raises(ValueError, match="no column colour"):
        storage.append_nowait(ledger, make_row(colour="red"))

    assert outside.count() == 0


async def test_a_row_the_database_refuses_is_a_storage_error(storage: Storage) -> None:
    await storage.append(ledger, make_row())

    with pytest.raises(StorageError, match=r"(?i)unique"):
        await storage.append(ledger, make_row())
    with pytest.raises(StorageError, match=r"(?i)null"):
        await storage.append(ledger, make_row(2, model=None))


async def test_an_error_never_repeats_a_value_of_the_row(storage: Storage) -> None:
    """Rows hold what callers sent, and the text of a storage error is logged."""
    for broken in ({"status": {"secret": 1}}, {"end_user": "secret\udc80"}, {"prompt_tokens": 2**70}):
        with pytest.raises(StorageError) as caught:
            await storage.append(ledger, make_row(**broken))
        assert "secret" not in str(caught.value)
        assert str(2**70) not in str(caught.value)


async def test_write_returns_the_result_after_the_commit(storage: Storage, outside: Outside) -> None:
    assert await storage.write(lambda connection: add_customer(connection, "acme")) == "acme"

    assert outside.count(customers) == 1


async def test_write_keeps_an_exception_that_is_not_the_databases(storage: Storage, outside: Outside) -> None:
    def refuse(connection: Connection) -> None:
        add_customer(connection, "acme")
        raise Problem("not_found")

    with pytest.raises(Problem) as caught:
        await storage.write(refuse)

    assert caught.value.code.name == "not_found"
    assert outside.count(customers) == 0


async def test_write_turns_a_database_error_into_a_storage_error(storage: Storage) -> None:
    with pytest.raises(StorageError, match="nowhere"):
        await storage.write(lambda connection: connection.execute(text("SELECT 1 FROM nowhere")))
    with pytest.raises(StorageError, match=r"(?i)foreign key"):
        await storage.write(lambda connection: connection.execute(insert(keys).values(key_of("nobody"))))


@pytest.mark.parametrize("raised", [SystemExit, StopIteration, KeyboardInterrupt])
async def test_whatever_a_function_raises_the_writer_goes_on(storage: Storage, raised: type[BaseException]) -> None:
    def fail(_connection: Connection) -> None:
        raise raised

    with pytest.raises(RuntimeError, match=raised.__name__):
        await storage.write(fail)

    await storage.append(ledger, make_row())


async def test_one_hundred_parallel_writers_lose_no_update(storage: Storage) -> None:
    values = await asyncio.gather(*[storage.write(lambda connection: bump(connection, "keys")) for _ in range(100)])

    assert sorted(values) == list(range(1, 101))


async def test_jobs_are_done_in_the_order_they_were_given(storage: Storage) -> None:
    storage.append_nowait(ledger, make_row(1))
    seen = storage.write(lambda connection: connection.execute(select(ledger.c.id)).scalars().all())

    assert list(await seen) == [make_row(1)["id"]]


async def test_read_sees_what_was_committed(storage: Storage) -> None:
    await storage.append(ledger, make_row())

    assert await storage.read(lambda connection: connection.execute(select(ledger.c.model)).scalar()) == "gemma"


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_all_statements_of_a_read_see_one_state_on_sqlite(storage: Storage) -> None:
    """PostgreSQL gives each statement its own view (READ COMMITTED); no query here depends on more."""
    loop = asyncio.get_running_loop()

    def look(connection: Connection) -> tuple[int, int]:
        before = len(connection.execute(select(ledger.c.id)).all())
        asyncio.run_coroutine_threadsafe(storage.append(ledger, make_row()), loop).result(10)
        return before, len(connection.execute(select(ledger.c.id)).all())

    assert await storage.read(look) == (0, 0)


async def test_a_read_cannot_write(storage: Storage, outside: Outside) -> None:
    with pytest.raises(StorageError, match=r"(?i)read-?only"):
        await storage.read(lambda connection: add_customer(connection, "acme"))

    assert outside.count(customers) == 0


async def test_a_read_keeps_an_exception_that_is_not_the_databases(storage: Storage) -> None:
    def refuse(_connection: Connection) -> None:
        raise Problem("not_found")

    with pytest.raises(Problem):
        await storage.read(refuse)


async def test_more_reads_than_threads_all_get_their_answer(storage: Storage) -> None:
    answers = await asyncio.gather(
        *[storage.read(lambda connection, n=n: connection.execute(text(f"SELECT {n}")).scalar()) for n in range(30)]
    )

    assert answers == list(range(30))


async def test_a_locked_database_fails_the_writers_but_never_the_event_loop(
    storage: Storage, outside: Outside, ticks: list[int]
) -> None:
    """Matrix row H4."""
    with outside.lock():
        appends = await asyncio.gather(*[storage.append(ledger, make_row(n)) for n in range(5)], return_exceptions=True)
        with pytest.raises(StorageError, match=r"(?i)lock"):
            await storage.check()

    assert {type(result) for result in appends} == {StorageError}
    assert len(ticks) > 5
    await storage.append(ledger, make_row(9))
    assert outside.ids() == {make_row(9)["id"]}


async def test_check_passes_on_a_writable_database(storage: Storage, outside: Outside) -> None:
    await storage.check()

    assert outside.count(meta) == 1


async def test_check_costs_nothing_while_commits_succeed(storage: Storage) -> None:
    await storage.append(ledger, make_row())
    commits = storage.commits

    for _ in range(100):
        await storage.check()

    assert storage.commits == commits


async def test_check_does_not_wait_for_a_stuck_writer_for_ever(
    storage: Storage, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_patience", 0.02)
    stuck = await hold(storage, gate)

    with pytest.raises(StorageError, match="not taken a write"):
        await storage.check()

    gate.opened.set()
    await stuck


async def test_aclose_writes_everything_that_is_queued(url: str, storage: Storage, outside: Outside) -> None:
    for number in range(1500):
        storage.append_nowait(ledger, make_row(number))

    await storage.aclose()

    assert outside.count() == 1500
    assert storage.pending == 0


async def test_a_closed_storage_refuses_everything(storage: Storage) -> None:
    await storage.append(ledger, make_row(1))
    await storage.aclose()
    await storage.aclose()

    for call in (
        storage.append(ledger, make_row()),
        storage.write(lambda _: None),
        storage.read(lambda _: None),
        storage.check(),
    ):
        with pytest.raises(StorageError, match="closed"):
            await call
    storage.append_nowait(ledger, make_row())
    assert storage.lost_appends == 1


async def test_what_was_written_is_there_after_opening_again(url: str, storage: Storage) -> None:
    await storage.append(ledger, make_row())
    await storage.aclose()

    again = open_storage(url)
    assert await again.read(lambda connection: len(connection.execute(select(ledger.c.id)).all())) == 1
    await again.aclose()


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "sealgate.db",
        "mysql://host/db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///a.db?mode=ro",
        "sqlite://host/a.db",
        "postgresql://u:secret@[bad/db",
        "postgresql://u:secret@host:port/db",
    ],
)
async def test_an_address_that_cannot_work_is_a_config_error_without_the_password(bad: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_storage(bad)

    assert "secret" not in str(caught.value)


def test_a_start_on_an_up_to_date_file_imports_no_more_than_it_needs(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    open_storage(url).close()
    program = (
        "import sys; from sealgate.storage import open_storage; open_storage(sys.argv[1]).close(); "
        "print([name for name in ('alembic', 'psycopg', 'mako') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", program, url], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_one_storage_serves_several_event_loops_one_after_the_other(storage: Storage, outside: Outside) -> None:
    for number in range(3):
        asyncio.run(storage.append(ledger, make_row(number)))

    assert outside.count() == 3


@pytest.mark.anyio
async def test_a_row_is_not_waited_for_beyond_its_limit_and_is_written_all_the_same(tmp_path: Path) -> None:
    """Others who wait, without a limit or with a later one, go on waiting; all three rows are there in the end."""
    storage = open_storage(f"sqlite:///{tmp_path}/sealgate.db")
    held, let_go = threading.Event(), threading.Event()

    def holds(_: Connection) -> None:
        held.set()
        let_go.wait(10)

    writing = asyncio.create_task(storage.write(holds))
    await asyncio.to_thread(held.wait)
    now = asyncio.get_running_loop().time()
    patient = asyncio.create_task(storage.append(ledger, make_row(1)))
    later = asyncio.create_task(storage.append(ledger, make_row(2), now + 60))
    with pytest.raises(StorageError, match="not written in time"):
        await storage.append(ledger, make_row(3), now + 0.05)
    assert not patient.done()
    assert not later.done()
    let_go.set()
    await asyncio.gather(writing, patient, later)
    assert await storage.read(lambda c: c.execute(select(func.count()).select_from(ledger)).scalar()) == 3
    await storage.aclose()


async def test_rows_of_one_transaction_are_worked_out_in_turns_step_by_step(storage: Storage) -> None:
    """So that the same work comes side by side; a later step that fails is its own row's fault alone."""
    taken: list[str] = []

    def steps(name: str, number: int | None) -> Callable[[], Any]:
        def first() -> Any:
            taken.append(f"first of {name}")
            return second

        def second() -> Any:
            taken.append(f"second of {name}")
            if number is None:
                raise RuntimeError("no key")
            return make_row(number)

        return first

    await storage.append(ledger, steps("a", 1), beside=[(ledger, steps("b", None)), (ledger, steps("c", 2))])
    assert taken == [f"{step} of {name}" for step in ("first", "second") for name in "bca"]
    assert await storage.read(lambda c: c.execute(select(func.count()).select_from(ledger)).scalar()) == 2
    assert storage.lost_appends == 1
