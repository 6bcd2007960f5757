"""The log writes declared fields only, as JSON lines, and never an exception's message."""

import asyncio
import io
import json

from sealgate.telemetry.logs import Access, configure, where
from sealgate.telemetry.registry import LOG_FIELDS


def lines(out: io.BytesIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_an_undeclared_field_is_dropped() -> None:
    out = io.BytesIO()
    configure(out=out).log.warning("thing_happened", provider="acme", prompt="canary")
    [line] = lines(out)
    assert line["event"] == "thing_happened"
    assert line["provider"] == "acme"
    assert set(line) <= set(LOG_FIELDS)
    assert "canary" not in out.getvalue().decode()


def test_levels_below_the_set_one_are_silent() -> None:
    out = io.BytesIO()
    logs = configure("warning", out=out)
    logs.log.info("routine")
    logs.access(Access("r"))
    logs.log.error("broken")
    assert [line["event"] for line in lines(out)] == ["broken"]


def test_routine_lines_are_written_together_and_errors_at_once() -> None:
    out = io.BytesIO()

    async def main() -> tuple[int, int]:
        logs = configure(out=out)
        logs.access(Access("r", status=200))
        before = len(out.getvalue())
        logs.log.error("broken")
        return before, len(lines(out))

    assert asyncio.run(main()) == (0, 2)
    assert [line["event"] for line in lines(out)] == ["request", "broken"]
    assert lines(out)[0]["status"] == 200


def test_a_requests_line_has_declared_fields_and_leaves_out_what_there_is_not() -> None:
    out = io.BytesIO()
    configure(out=out).access(Access("r", status=200, stream=False, attempts=0))
    [line] = lines(out)
    assert set(line) == {"event", "level", "timestamp", "request_id", "status", "stream", "attempts"}
    assert (line["event"], line["level"], line["stream"], line["attempts"]) == ("request", "info", False, 0)
    assert set(Access.__struct_fields__) < set(LOG_FIELDS)


def test_a_terminal_gets_text() -> None:
    out = io.BytesIO()
    logs = configure(form="console", out=out)
    logs.log.warning("thing_happened", provider="acme")
    logs.access(Access("r-1"))
    assert "thing_happened" in out.getvalue().decode()
    assert "r-1" in out.getvalue().decode()


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    out = io.BytesIO()
    logs = configure(out=out)
    out.close()
    logs.log.error("broken")


def test_where_names_places_and_no_values() -> None:
    try:
        raise ValueError("canary")
    except ValueError as error:
        text = where(error)
    assert "test_logs.py" in text
    assert "canary" not in text
