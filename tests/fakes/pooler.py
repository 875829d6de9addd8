"""PgBouncer in transaction mode before a PostgreSQL: the same promise as RDS Proxy's, a server connection for one transaction.

The machine may not have it (`apt-get install pgbouncer`); whoever needs it asks `binary` first.
"""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import make_url

from local.postgres import ROLES, Postgres

_START_SECONDS = 20.0
_NOBODY = 65534

CONFIG = """
[databases]
* = host=127.0.0.1 port={upstream}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 500
query_wait_timeout = 60
server_idle_timeout = 5
logfile = {log}
"""


def binary(name: str | None = None) -> str | None:
    """Where it is, or None."""
    return shutil.which(name or "pgbouncer", path=f"{os.defpath}:/usr/sbin:/usr/local/sbin")


@contextmanager
def pooler(program: str, postgres: Postgres, *, size: int) -> Iterator[int]:
    """It runs, with at most `size` server connections for each role and database; the port that it listens on."""
    with tempfile.TemporaryDirectory(prefix="bevyly-pooler-") as name:
        folder = Path(name)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = int(free.getsockname()[1])
        users, config, log = (folder / each for each in ("users.txt", "pgbouncer.ini", "log"))
        users.write_text(
            "".join(f"{json.dumps(role)} {json.dumps(_password(postgres, role))}\n" for role in ROLES)
        )
        config.write_text(CONFIG.format(upstream=postgres.port, port=port, users=users, log=log, size=size))
        root = os.geteuid() == 0
        for path in (folder, users, config) if root else ():
            os.chown(path, _NOBODY, _NOBODY)  # it refuses to be root
        process = subprocess.Popen(
            [program, str(config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=_NOBODY if root else None,
            group=_NOBODY if root else None,
            extra_groups=() if root else None,
        )
        try:
            _wait_for(port, process, log)
            yield port
        finally:
            process.terminate()
            process.wait()


def through(url: str, port: int) -> str:
    """The same database, by the pooler."""
    return make_url(url).set(port=port).render_as_string(hide_password=False)


def _password(postgres: Postgres, role: str) -> str:
    return make_url(postgres.url(role, "any")).password or ""


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    said = log.read_text() if log.exists() else "nothing"
    raise RuntimeError(f"The pooler does not start. It says: {said[-2000:]}")
