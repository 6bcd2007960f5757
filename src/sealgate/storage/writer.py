"""The one thread that writes: it takes everything that is queued, in one transaction, and answers after the commit.

A commit costs a sync of the disk however many rows it holds, so rows that wait while one commit runs share the next
(group commit). The steps of a batch — take, execute, commit, resolve — are methods of their own.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
import time
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, TypeAlias

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from sealgate.errors import StorageError
from sealgate.storage.backend import Backend, reason
from sealgate.storage.direct import Direct
from sealgate.storage.insert import ROWS, Insert

BATCH = 1000
"""The most jobs in one transaction, give or take those that came together with the last."""

LOG_SECONDS = 10.0
"""The same trouble is logged at most this often."""

PROBE_SECONDS = 0.25
"""After a failed commit, and while nobody writes, the writer looks this often whether it works again."""

_CHECK = text(
    "INSERT INTO meta (name, value) VALUES ('checked_at', :now) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)

_INSERT = attrgetter("insert")

_log = structlog.get_logger("sealgate.storage")


class Act:
    """In the place of a job's insert: its work is a function of `Direct`.

    Where the function has a ``prepare``, that is called before the transaction begins, again while it returns True.
    """


ACT = Act()
Groups: TypeAlias = "list[tuple[Insert | Act | None, list[Job]]]"
"""Neighbours in a batch that are done alike."""


class Job:
    """One thing to write and, where somebody waits, the future to tell.

    ``work`` is the values of a row for ``insert``, or what makes the row, maybe in several steps; without one a
    function of the connection.
    """

    __slots__ = ("error", "future", "insert", "result", "work")

    def __init__(self, insert: Insert | Act | None, work: Any, future: asyncio.Future[Any] | None) -> None:
        self.insert = insert
        self.work = work
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None


class Link:
    """The writer's connection. Rows go straight to the driver; functions get it as a SQLAlchemy connection.

    SQLAlchemy's transaction begins only when a function needs it, on top of the one the driver is already in.
    """

    def __init__(self, backend: Backend) -> None:
        self.connection = backend.writer.connect()
        driver: Any = self.connection.connection.driver_connection
        self.driver = driver
        self.cursor = driver.cursor()
        self.direct = Direct(self.cursor, backend.writer.dialect)
        self._begin = backend.begin

    def begin(self) -> None:
        self.direct.locked = False
        if self._begin is not None:
            self.cursor.execute(self._begin)

    def commit(self) -> None:
        if self.connection.in_transaction():
            self.connection.commit()
        else:
            self.driver.commit()

    def rollback(self) -> None:
        if self.connection.in_transaction():
            self.connection.rollback()
        else:
            self.driver.rollback()

    def close(self) -> None:
        """Let go of the connection, whatever state it is in."""
        try:
            # SQLite keeps a connection, and its locks, for as long as a statement lives: in an error's traceback, say.
            self.cursor.close()
            self.connection.invalidate()
        except Exception as error:
            _log.debug("storage_close_failed", error=reason(error))
        finally:
            self.connection.close()


class Writer:
    """Owns the queue, the thread and the connection. Jobs are done in the order they were put, idle ones first."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._errors = backend.writer.dialect.loaded_dbapi
        self._link: Link | None = None
        self._queue: queue.SimpleQueue[Job | tuple[Job, ...] | None] = queue.SimpleQueue()
        self._idle: list[Job] = []
        """Jobs that wait for the next batch without asking for one."""
        self._lock = threading.Lock()
        self._closed = False
        self._last = False
        self._logged = -LOG_SECONDS
        self.failing: str | None = None
        """Why the last commit failed; None where it did not."""
        self.ruined: str | None = None
        """Why nothing will be written any more (row H6)."""
        self.commits = 0
        self.lost = 0
        self.wrote_at: float | None = None
        """`time.monotonic` of the last commit, None when a batch has failed since."""
        self._thread = threading.Thread(target=self._run, name="sealgate-writer", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        return self._queue.qsize() + len(self._idle)

    def put(self, job: Job | tuple[Job, ...]) -> None:
        """Queue a job, or several for one transaction; from any thread. Raises `StorageError` after `close`."""
        with self._lock:
            if self._closed:
                raise StorageError("the storage is closed")
            self._queue.put(job)

    def put_idle(self, job: Job) -> None:
        """Let a job come with the next others, or at `hurry`. Raises `StorageError` after `close`.

        It is never later than what is put after it, and may be sooner than what was put before.
        """
        with self._lock:
            if self._closed:
                raise StorageError("the storage is closed")
            self._idle.append(job)

    def hurry(self) -> None:
        """Let what waits idly wait no longer."""
        if self._idle:
            self._queue.put(())

    def close(self) -> None:
        """Write what is queued, then end the thread. Blocks; a second call only waits."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def lose(self, error: BaseException) -> None:
        """Count a row that nobody waits for and that is not going to be written."""
        with self._lock:
            self.lost += 1
        self._complain("storage_row_lost", error, 1)

    def _run(self) -> None:
        while (batch := self._take()) or not self._last:
            if not batch:
                continue  # it was to hurry, and another batch had done that already
            try:
                self._execute(batch)
                self._commit()
            except Exception as error:
                self._abandon(batch, error)
            self._resolve(batch)
        if self._link is not None:
            self._link.close()

    def _take(self) -> list[Job]:
        """Everything queued, waiting for a first job, or a probe while commits fail; empty at the end."""
        batch: list[Job] = []
        hurried = False
        try:
            while not self._last and len(batch) < BATCH:
                wait = not (batch or hurried)
                job = self._queue.get(block=wait, timeout=PROBE_SECONDS if self.failing else None)
                if job is None:
                    self._last = True
                elif type(job) is tuple:
                    batch.extend(job)
                    hurried = hurried or not job
                else:
                    batch.append(job)  # type: ignore[arg-type]  # a Job, since it is no tuple
        except queue.Empty:
            batch = batch if batch or hurried else [Job(None, touch, None)]
        if self._idle:
            with self._lock:
                batch[:0], self._idle = self._idle, []
        return batch

    def _execute(self, batch: Sequence[Job]) -> None:
        if self.ruined is not None:
            raise StorageError(self.ruined)
        batch = _worked_out(batch)
        link = self._link = self._usable_link()
        groups: Groups = [(insert, list(jobs)) for insert, jobs in itertools.groupby(batch, _INSERT)]
        if not _is_one_statement(groups):
            link.begin()
        if not self._at_once(link, groups):
            self._one_by_one(link, groups)

    def _at_once(self, link: Link, groups: Groups) -> bool:
        """Without savepoints, which cost as much as what they hold; where anything fails, the transaction starts over.

        Not for functions that SQLAlchemy runs: for it the transaction would be over.
        """
        if not all(insert for insert, _ in groups):
            return False
        link.direct.together = True
        try:
            for insert, jobs in groups:
                if isinstance(insert, Insert):
                    insert.run(link.cursor, [job.work for job in jobs])
                else:
                    for job in jobs:
                        job.result = job.work(link.direct)
                    link.direct.flush()
        except BaseException as error:
            link.direct.forget()
            if isinstance(error, Exception) and self._is_fatal(error):
                raise
            link.rollback()
            link.begin()
            return False
        finally:
            link.direct.together = False
        return True

    def _one_by_one(self, link: Link, groups: Groups) -> None:
        for insert, jobs in groups:
            if isinstance(insert, Insert):
                self._insert(link, insert, jobs)
            else:
                for job in jobs:
                    (self._act if insert else self._call)(link, job)

    def _usable_link(self) -> Link:
        link = self._link
        if link is not None and self._backend.stale(link.driver):
            link.close()
            link = self._link = None
        return link or Link(self._backend)

    def _insert(self, link: Link, insert: Insert, jobs: Sequence[Job]) -> None:
        if (error := self._try_insert(link, insert, jobs)) is None:
            return
        if len(jobs) == 1:
            jobs[0].error = _failed(error)
            return
        for job in jobs:  # to find the bad ones, so that the others are committed
            if (error := self._try_insert(link, insert, [job])) is not None:
                job.error = _failed(error)

    def _try_insert(self, link: Link, insert: Insert, jobs: Sequence[Job]) -> Exception | None:
        link.cursor.execute("SAVEPOINT rows")
        try:
            insert.run(link.cursor, [job.work for job in jobs])
        except Exception as error:
            if self._is_fatal(error):
                raise
            link.cursor.execute("ROLLBACK TO SAVEPOINT rows")
            return error
        link.cursor.execute("RELEASE SAVEPOINT rows")
        return None

    def _call(self, link: Link, job: Job) -> None:
        """Run a function in a savepoint. If that cannot be rolled back the connection is lost, and so is the batch."""
        savepoint = link.connection.begin_nested()
        try:
            job.result = job.work(link.connection)
            savepoint.commit()
        except BaseException as error:  # whatever it is, it is the caller's and must not end this thread
            savepoint.rollback()
            job.error = _told(error)

    def _act(self, link: Link, job: Job) -> None:
        """The same for a function that needs the driver alone."""
        link.cursor.execute("SAVEPOINT act")
        try:
            job.result = job.work(link.direct)
            link.direct.flush()
            link.cursor.execute("RELEASE SAVEPOINT act")
        except BaseException as error:  # as above
            link.direct.forget()
            link.cursor.execute("ROLLBACK TO SAVEPOINT act")
            job.error = _failed(error) if isinstance(error, self._errors.Error) else _told(error)

    def _commit(self) -> None:
        assert self._link is not None
        self._link.commit()
        self.commits += 1
        if self.failing:
            self.failing = None
            _log.info("storage_works_again")
        self.wrote_at = time.monotonic()

    def _abandon(self, batch: Sequence[Job], error: Exception) -> None:
        """Nothing of the batch was acknowledged. The connection is opened anew for the next one.

        After a commit that failed the rows may still turn up: no database can promise that they are not there.
        """
        for job in batch:
            job.error = job.error or _failed(error)
        self.wrote_at = None
        self.failing = reason(error)
        if self._backend.ruined(error):
            self.ruined = self.failing
        if self._link is not None:
            self._link.close()
            self._link = None
        self._complain("storage_write_failed", self.failing, len(batch))

    def _resolve(self, batch: Sequence[Job]) -> None:
        """Tell all who wait, with one wake-up per event loop."""
        waiting: dict[asyncio.AbstractEventLoop, list[Job]] = {}
        for job in batch:
            if job.future is not None:
                waiting.setdefault(job.future.get_loop(), []).append(job)
            elif job.error is not None and job.insert is not None:
                self.lose(job.error)
        for loop, jobs in waiting.items():
            try:
                loop.call_soon_threadsafe(self._settle, jobs)
            except RuntimeError:
                _log.debug("storage_waiters_gone")  # their event loop was closed

    def _settle(self, jobs: Sequence[Job]) -> None:
        """In the event loop: hand results to those who still wait.

        Whoever was cancelled is skipped: the row is there, or is one of those that are lost. Of an act that was not
        carried out its own house keeps count, since it may be tried again.
        """
        for job in jobs:
            future = job.future
            assert future is not None
            if future.done():
                if job.error is not None and future.cancelled() and isinstance(job.insert, Insert):
                    self.lose(job.error)
            elif job.error is None:
                future.set_result(job.result)
            else:
                future.set_exception(job.error)

    def _is_fatal(self, error: Exception) -> bool:
        """Whether a failed insert speaks of the database or the connection rather than of the row."""
        dbapi = self._errors
        of_the_row = (dbapi.IntegrityError, dbapi.DataError, dbapi.ProgrammingError, dbapi.NotSupportedError)
        return isinstance(error, dbapi.Error) and not isinstance(error, of_the_row)

    def _complain(self, event: str, error: object, rows: int) -> None:
        now = time.monotonic()
        if now - self._logged >= LOG_SECONDS:
            self._logged = now
            _log.error(event, error=f"{error} (rows: {rows})")


def _is_one_statement(groups: Groups) -> bool:
    """Whether it is a transaction by itself: SQLite commits a lone statement at its end, and needs no BEGIN.

    Each call of its driver lets go of the interpreter's lock and waits for the event loop to give it back.
    """
    return len(groups) == 1 and isinstance(groups[0][0], Insert) and len(groups[0][1]) <= ROWS


def _worked_out(batch: Sequence[Job]) -> list[Job]:
    """Make the rows that are still to be made, while no lock is held for them; those jobs that can be carried out.

    In rounds, one step of each job: what a step needs is in the processor's caches when the next job takes the same
    step. A signature alone fills all of the nearest one.
    """
    unready = [job for job in batch if job.insert is not None]
    while unready:
        unready = [job for job in unready if _goes_on(job)]
    return [job for job in batch if job.error is None]


def _goes_on(job: Job) -> bool:
    """Take one step; whether there is another. What fails is its own job's alone."""
    try:
        if not isinstance(job.insert, Insert):
            prepare = getattr(job.work, "prepare", None)
            return prepare is not None and bool(prepare())
        if callable(job.work):
            job.work = job.work()
            return True
        if type(job.work) is not tuple:  # a tuple is what the driver takes
            job.work = job.insert.values(job.work)
    except Exception as error:  # whatever it is, it must not end this thread
        job.error = _failed(error)
    return False


def touch(connection: Connection) -> None:
    """Write something that nobody minds."""
    connection.execute(_CHECK, {"now": str(time.time_ns() // 1000)})


def _failed(error: BaseException) -> StorageError:
    """A new exception for each waiter: one instance raised in many tasks would gather all their tracebacks."""
    failed = StorageError(reason(error))
    failed.__cause__ = error
    return failed


def _told(error: BaseException) -> BaseException:
    """What the caller of a function that raised is given: its own exception, unless the database spoke."""
    if isinstance(error, SQLAlchemyError):
        return _failed(error)
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    # A future does not take StopIteration, and SystemExit would end the event loop.
    told = RuntimeError(f"the function raised {type(error).__name__}")
    told.__cause__ = error
    return told
