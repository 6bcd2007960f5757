"""Other programs for the same job, measured beside ours where they are installed; none of them is needed."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench import shape
from bench.children import free_port
from bench.loadgen import Target
from bench.subjects import CALLER_KEY, NotStartedError, Stage, Subject, started

_NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    client_max_body_size 32m;
    client_body_buffer_size 2m;
    keepalive_requests 10000000;
    upstream canned {{ server 127.0.0.1:{canned}; keepalive 256; keepalive_requests 10000000; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://canned;
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_set_header Connection "";
            proxy_set_header Authorization "Bearer {key}";
        }}
    }}
}}
"""


async def start_nginx(stage: Stage, command: str) -> Subject:
    """nginx as a plain proxy: it checks no key and reads no body; the price of moving the bytes."""
    folder = stage.children.folder / "nginx"
    folder.mkdir(exist_ok=True)
    port = free_port()
    file = folder / "nginx.conf"
    file.write_text(_NGINX.format(folder=folder, canned=stage.canned.port, port=port, key=shape.UPSTREAM_KEY))
    words = [command, "-p", str(folder), "-c", str(file), "-e", "stderr"]
    return await started(stage, "nginx", words, Target(port, CALLER_KEY))


DRIVEN: dict[str, Callable[[Stage, str], Awaitable[Subject]]] = {"nginx": start_nginx}
KNOWN = ("nginx", "envoy", "litellm", "portkey")
"""What is looked for; those that are not in `DRIVEN` are only named."""


async def start_peers(stage: Stage) -> tuple[list[Subject], dict[str, str]]:
    """Those that run, and for each of the others one line that says why it does not."""
    running: list[Subject] = []
    absent: dict[str, str] = {}
    for name in KNOWN:
        command = _find(name)
        if command is None:
            absent[name] = "not installed"
        elif name not in DRIVEN:
            absent[name] = "installed, but this harness does not know how to start it"
        else:
            try:
                running.append(await DRIVEN[name](stage, command))
            except NotStartedError as error:
                absent[name] = f"installed, but {error}"
    return running, absent


def _find(name: str) -> str | None:
    """nginx is often installed where an ordinary user's PATH does not look."""
    found = shutil.which(name)
    beside = Path("/usr/sbin") / name
    return found or (str(beside) if beside.is_file() else None)
