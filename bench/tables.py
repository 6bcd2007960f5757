"""Results as Markdown tables: what the run prints and what the documentation shows are the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bench.targets import aims

Results = dict[str, Any]
Row = tuple[str, ...]


def everything(results: Results) -> str:
    measures = results["measures"]
    makers = {
        "whole": _whole,
        "stream": _stream,
        "latency": _latency,
        "delay": _delay,
        "memory": _memory,
        "start": _start,
        "growth": _growth,
        "crowd": _crowd,
        "limits": _limits,
        "receipts": _receipts,
        "log": _log,
        "accounts": _accounts,
    }
    parts = [make(measures[name]) for name, make in makers.items() if name in measures]
    return "\n\n".join([*parts, *_aims(measures), *_absent(results)])


def machine(results: Results) -> str:
    """Two or three lines on what was measured where."""
    facts = results["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    return (
        f"{results['date']}, commit {facts['commit']}, {results['seconds']:.0f} s. "
        f"{facts['cpu']}, {facts['cores']} cores, {facts['kernel']}, {facts['python']}; {facts['pinning']}. "
        f"Load average at the start {facts['load_average']}.\n{packages}."
    )


def _table(title: str, head: Row, rows: Iterable[Row]) -> str:
    lines = [f"**{title}**", "", _line(head), _line(("---",) * len(head)), *map(_line, rows)]
    return "\n".join(lines)


def _line(cells: Row) -> str:
    return "| " + " | ".join(cells) + " |"


def _ratio(figures: Results) -> str:
    found = figures.get("ratio")
    return f"**{found['median']:.2f}** ({found['min']:.2f} to {found['max']:.2f})" if found else "1"


def _others(figures: Results) -> str:
    return f"{figures['others']:.0%}"


def _circumstances(measure: Results, name: str, figures: Results) -> Row:
    load = f"{figures['load']:.0%}" if name != "direct" else ""
    return load, f"{figures['used']} of {measure['rounds']}", _others(figures)


def _whole(measure: Results) -> str:
    head = ("program", "CPU µs", "times the bare relay", "rounds, spread", "answers/s", "others")
    rows = (
        (
            name,
            f"{f['cpu_us']:.1f}",
            _ratio(f),
            f"{len(f['values'])} of {measure['rounds']}, {f['spread']:.0%}",
            str(f["per_second"]),
            _others(f),
        )
        for name, f in measure["subjects"].items()
    )
    return _table("Whole answers, 64 connections", head, rows)


def _stream(measure: Results) -> str:
    head = ("program", "CPU ms", "times the bare relay", "rounds, spread", "others")
    rows = (
        (
            name,
            f"{f['cpu_ms']:.2f}",
            _ratio(f),
            f"{len(f['values'])} of {measure['rounds']}, {f['spread']:.0%}",
            _others(f),
        )
        for name, f in measure["subjects"].items()
    )
    return _table("Streams of 202 events, 64 at a time", head, rows)


def _latency(measure: Results) -> str:
    head = ("program", "p50 ms", "p99 ms", "max ms", "added p50", "added p99", "load", "rounds", "others")
    rows = (
        (
            name,
            *(f"{f[key]:.2f}" for key in ("p50_ms", "p99_ms", "max_ms")),
            *(f"{f[key]:.2f}" if key in f else "" for key in ("added_p50_ms", "added_p99_ms")),
            *_circumstances(measure, name, f),
        )
        for name, f in measure["subjects"].items()
    )
    return _table(f"Latency at {measure['per_second']} requests/s, from due to answered", head, rows)


def _delay(measure: Results) -> str:
    head = (
        "streams",
        "program",
        "events",
        "p50 / p99 / max ms",
        "over 5 ms",
        "role p50",
        "finish p50",
        "[DONE] p50",
        "load",
        "rounds",
        "others",
    )
    rows = (
        (
            str(part["streams"]),
            name,
            str(f["content"]["events"]),
            " / ".join(f"{f['content'][key]:.2f}" for key in ("p50_ms", "p99_ms", "max_ms")),
            str(f["content"]["late"]),
            *(f"{f[kind]['p50_ms']:.2f}" for kind in ("role", "finish", "end")),
            *_circumstances(part, name, f),
        )
        for part in measure.values()
        for name, f in part["subjects"].items()
    )
    return _table("Delay of each content event", head, rows)


def _memory(measure: Results) -> str:
    head = ("program", "RSS MB", "PSS MB", "RSS MB at the end", "PSS MB at the end")
    keys = ("rss_mb", "pss_mb", "rss_mb_after", "pss_mb_after")
    rows = ((name, *(f"{f[key]:.1f}" for key in keys)) for name, f in measure["subjects"].items())
    return _table("Memory after the start", head, rows)


def _start(measure: Results) -> str:
    rows = (
        (name, f"{f['seconds']:.2f}", f"{f['cpu_seconds']:.2f}", str(len(f["values"])), _others(f))
        for name, f in measure["subjects"].items()
    )
    return _table("Start to first answer", ("program", "s", "CPU s", "starts", "others"), rows)


def _growth(measure: Results) -> str:
    sizes = [size for size in next(iter(measure["prompts"].values())) if size not in ("ms_per_mb", "others")]
    prompts = (
        (name, *(f"{f[size]:.2f}" for size in sizes), f"{f['ms_per_mb']:.2f}") for name, f in measure["prompts"].items()
    )
    many = (
        (
            f"{measure[kind]['count']} {kind}",
            f"{f['small_us']:.1f}",
            f"{f['large_us']:.1f}",
            _ratio(f),
            f"{f['start_seconds']:.2f}",
        )
        for kind in ("keys", "models")
        for f in (measure[kind],)
    )
    return "\n\n".join(
        [
            _table("Growth with the prompt, CPU ms per answer", ("program", *sizes, "per MB"), prompts),
            _table("Growth of Sealgate, CPU µs per answer", ("", "with one", "with all", "times", "start s"), many),
        ]
    )


def _crowd(measure: Results) -> str:
    head = ("streams", "program", "events/s", "p50 / p99 / max ms", "load", "others")
    rows = (
        (
            str(step["streams"]),
            name,
            f"{step['per_second']:.0f}",
            " / ".join(f"{step[key]:.1f}" for key in ("p50_ms", "p99_ms", "max_ms")) if "p99_ms" in step else "refused",
            f"{step['load']:.0%}" if "load" in step and name != "direct" else "",
            _others(step) if "others" in step else "",
        )
        for name, subject in measure["subjects"].items()
        for step in subject["steps"]
    )
    most = ", ".join(
        f"{name} {subject['carried']}" for name, subject in measure["subjects"].items() if name != "direct"
    )
    title = f"A crowd: delay of each event of streams at {measure['pace_per_second']} events/s"
    return f"{_table(title, head, rows)}\n\nStreams carried with p99 below {measure['most_ms']} ms: {most}."


def _limits(measure: Results) -> str:
    rows = []
    for name, one in measure["subjects"].items():
        ratio = one.get("ratio", {"median": 1.0})["median"]
        rows.append((name, f"{one['cpu_us']:.1f}", f"{one.get('added_us', 0.0):+.1f}", f"{ratio:.2f}"))
    title = f"Limits, all four kinds: CPU µs per whole answer ({measure['rounds']} rounds)"
    return _table(title, ("limited", "CPU µs", "added", "ratio"), rows)


def _receipts(measure: Results) -> str:
    rows = []
    for name, one in measure["subjects"].items():
        added = (f"{one['added_us']:+.1f}", f"{one['per_floor']:.2f}") if "added_us" in one else ("", "")
        rows.append((name, f"{one['cpu_us']:.1f}", *added, _ratio(one) if "ratio" in one else "", _others(one)))
    title = f"Receipts: CPU µs per whole answer ({measure['used']} of {measure['rounds']} rounds)"
    head = ("receipts", "CPU µs", "added", "added, as a share of the bare relay", "times without", "others")
    return _table(title, head, rows)


def _log(measure: Results) -> str:
    rows = ((work, f"{f['small_ms']:.2f}", f"{f['large_ms']:.2f}", _ratio(f)) for work, f in measure["work"].items())
    small, large = (f"{size:,}".replace(",", " ") for size in measure["sizes"].values())
    title = f"The transparency log: ms in one of {small} entries and in one of {large} ({measure['rounds']} rounds)"
    return _table(title, ("work", "small", "large", "large / small"), rows)


def _accounts(measure: Results) -> str:
    keys = measure["keys"]
    said = f"All of it with {keys['many']} keys is {_ratio(keys)} times what it is with {keys['few']}."
    slow = measure["slow"]
    parts = (
        _beside_none("Accounts", measure),
        _beside_none(f"Accounts, where each answer takes {slow['milliseconds']:.0f} ms", slow),
    )
    return "\n\n".join([*parts, said])


def _beside_none(what: str, measure: Results) -> str:
    rows = []
    for name, one in measure["subjects"].items():
        shares = (f"{one['per_floor']:+.2f}", f"{one['least_per_floor']:+.2f}")
        rows.append((name, f"{one['cpu_us']:.1f}", f"{one['added_us']:+.1f}", *shares, _ratio(one)))
    title = f"{what}: CPU µs per whole answer ({measure['rounds']} rounds, others {_others(measure)})"
    head = ("on", "CPU µs", "added", "added, as a share of the bare relay", "the same of the best rounds", "times none")
    return _table(title, head, rows)


def _aims(measures: Results) -> list[str]:
    rows = [
        (aim.name, f"{found:.2f} {aim.unit}", f"{aim.most:g} {aim.unit}", verdict)
        for aim, found, verdict in aims(measures)
    ]
    return [_table("Aims", ("figure", "measured", "at most", "reached"), rows)] if rows else []


def _absent(results: Results) -> list[str]:
    absent = results.get("absent", {})
    return ["Peers: " + "; ".join(f"{name} {why}" for name, why in absent.items()) + "."] if absent else []
