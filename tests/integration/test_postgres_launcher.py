"""The launcher on real processes: what survives a stop, a kill, an odd path."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pg8000
import pytest
from sqlalchemy import create_engine, text

import local
from local.postgres import APP, FORGETFUL, OWNER, ROLES, SYSTEM, Postgres, PostgresError, throwaway

REPOSITORY = Path(local.__file__).parent.parent


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """One cluster for all of them, in a directory that only its owner may enter, with a space in its name."""
    place = tmp_path_factory.mktemp("a place") / "only mine"
    place.mkdir(mode=0o700)
    with Postgres(place / "my data", settings=FORGETFUL) as server:
        server.execute("CREATE TABLE kept (n int)")
        server.execute("INSERT INTO kept VALUES (42)")
        yield server


@pytest.fixture(autouse=True)
def _running(server: Postgres) -> Iterator[None]:
    yield
    server.start()


def log_in(server: Postgres, role: str, database: str = "postgres") -> str:
    engine = create_engine(server.url(role, database), connect_args={"ssl_context": False})
    try:
        with engine.connect() as connection:
            return str(connection.execute(text("SELECT current_user")).scalar_one())
    finally:
        engine.dispose()


def is_gone(pid: int, within: float = 5) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            if not Path(f"/proc/{pid}/cmdline").read_bytes():
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def kept(server: Postgres) -> object:
    return server.execute("SELECT n FROM kept")[0][0]


def test_a_restart_keeps_data_and_passwords(server: Postgres) -> None:
    before = server.password_file.read_text()
    server.stop()
    with pytest.raises(pg8000.InterfaceError):
        server.execute("SELECT 1")
    again = Postgres(server.data_dir, settings=FORGETFUL)
    with again:
        assert kept(again) == 42
        assert again.password_file.read_text() == before
        assert [log_in(again, role) for role in ROLES] == list(ROLES)


def test_starting_twice_and_stopping_twice_do_no_harm(server: Postgres) -> None:
    pid = server.pid
    server.start()
    assert server.pid == pid
    server.stop()
    server.stop()
    server.start()
    assert kept(server) == 42


def test_a_killed_server_starts_again_with_what_was_committed(server: Postgres) -> None:
    os.kill(server.pid, signal.SIGKILL)
    assert server._server is not None
    assert server._server.wait(5) == -signal.SIGKILL
    server.start()
    assert kept(server) == 42


def test_a_killed_starter_leaves_no_server_behind(server: Postgres) -> None:
    server.stop()
    starter, pid = start_elsewhere(server.data_dir)
    starter.kill()
    starter.wait()
    assert is_gone(pid)
    server.start()
    assert kept(server) == 42


def test_a_server_that_another_starter_left_is_stopped_first(server: Postgres) -> None:
    server.stop()
    starter, pid = start_elsewhere(server.data_dir)
    try:
        server.start()
        assert is_gone(pid)
        assert kept(server) == 42
    finally:
        starter.kill()
        starter.wait()


def test_a_pid_file_naming_a_stranger_is_no_obstacle(server: Postgres) -> None:
    lines = (server.data_dir / "postmaster.pid").read_text().splitlines()
    server.stop()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        (server.data_dir / "postmaster.pid").write_text("\n".join([str(stranger.pid), *lines[1:]]))
        server.start()
        assert stranger.poll() is None
        stranger.kill()
    assert kept(server) == 42


def test_only_loopback_is_listened_on(server: Postgres) -> None:
    assert server.execute("SHOW listen_addresses") == [["127.0.0.1"]]
    assert server.execute("SHOW unix_socket_directories") == [[""]]
    assert listening_addresses(server.port) == {"127.0.0.1"}


def test_nobody_gets_in_with_a_wrong_password_or_reads_the_right_one(server: Postgres) -> None:
    assert stat.S_IMODE(server.password_file.stat().st_mode) == 0o600
    stranger = Postgres(server.data_dir)
    stranger.port = server.port
    stranger._passwords = dict.fromkeys((server.superuser, *ROLES), "guess")
    with pytest.raises(pg8000.DatabaseError, match="28P01"):
        stranger.execute("SELECT 1")
    assert "trust" not in {row[0] for row in server.execute("SELECT auth_method FROM pg_hba_file_rules")}


def test_the_roles_have_no_more_rights_than_they_need(server: Postgres) -> None:
    rights = server.execute(
        "SELECT rolname FROM pg_roles WHERE rolname LIKE 'bevyly%' AND NOT rolsuper AND NOT rolbypassrls "
        "AND NOT rolcreaterole AND NOT rolcreatedb AND rolcanlogin ORDER BY rolname"
    )
    assert [row[0] for row in rights] == sorted(ROLES)
    members = server.execute(
        "SELECT roleid::regrole::text, member::regrole::text FROM pg_auth_members "
        "WHERE member::regrole::text LIKE 'bevyly%'"
    )
    assert members == [[SYSTEM, OWNER]]


def test_databases_belong_to_the_owner_are_utf8_and_can_be_copied(server: Postgres) -> None:
    server.create_database("first one")
    server.execute("CREATE TABLE copied AS SELECT 'é' AS letter", database="first one")
    server.create_database("second", template="first one")
    try:
        assert log_in(server, APP, "second") == APP
        assert server.execute("SELECT letter FROM copied", database="second") == [["é"]]
        assert server.execute(
            "SELECT datdba::regrole::text, pg_encoding_to_char(encoding) "
            "FROM pg_database WHERE datname = 'second'"
        ) == [[OWNER, "UTF8"]]
        assert server.execute("SHOW data_checksums") == [["on"]]
    finally:
        for name in ("first one", "second", "second"):
            server.drop_database(name)


def test_a_start_that_fails_shows_the_end_of_the_log(server: Postgres) -> None:
    server.stop()
    with pytest.raises(PostgresError, match=r"(?s)does not start.*no_such_setting"):
        Postgres(server.data_dir, settings={"no_such_setting": "1"}).start()


def test_lost_passwords_are_said_to_be_lost(server: Postgres) -> None:
    server.stop()
    aside = server.password_file.rename(server.password_file.with_suffix(".aside"))
    with pytest.raises(PostgresError, match="Put the file back"):
        Postgres(server.data_dir).start()
    aside.rename(server.password_file)


def test_durability_is_the_default_and_can_be_given_up(server: Postgres) -> None:
    assert server.execute("SHOW fsync") == [["off"]]
    server.stop()
    with Postgres(server.data_dir) as durable:
        assert durable.execute("SHOW fsync") == [["on"]]
        assert durable.execute("SHOW synchronous_commit") == [["on"]]


def test_an_interrupted_first_start_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "data.unfinished").mkdir()
    (tmp_path / "data.unfinished" / "PG_VERSION").write_text("18")
    with Postgres(tmp_path / "data", settings=FORGETFUL) as server:
        assert server.execute("SELECT 1") == [[1]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "data.log", "data.passwords.json"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_root_becomes_nobody_where_namespaces_are_not_allowed(server: Postgres) -> None:
    with TemporaryDirectory(dir="/var/tmp") as name:
        place = Path(name)
        with pytest.raises(PostgresError, match="closed to the user nobody"):
            Postgres(place / "data", settings=FORGETFUL, root_becomes="nobody").start()
        place.chmod(0o755)
        with Postgres(place / "data", settings=FORGETFUL, root_becomes="nobody") as theirs:
            assert Path(f"/proc/{theirs.pid}").stat().st_uid == 65534
            theirs.execute("CREATE TABLE kept AS SELECT 42 AS n")
        with Postgres(place / "data", settings=FORGETFUL, root_becomes="alias") as ours:
            assert kept(ours) == 42


def test_a_throwaway_is_gone_afterwards() -> None:
    with throwaway() as server:
        place, pid = server.data_dir.parent, server.pid
        assert place.exists()
    assert not place.exists()
    assert is_gone(pid, within=0.5)


def start_elsewhere(data_dir: Path) -> tuple[subprocess.Popen[str], int]:
    """A starter in a process of its own, and its server's pid."""
    program = (
        "import sys, time; from pathlib import Path; from local.postgres import Postgres\n"
        "server = Postgres(Path(sys.argv[1])); server.start(); print(server.pid, flush=True); time.sleep(60)"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", program, str(data_dir)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    with starter.stdout as said:
        return starter, int(said.readline())


def listening_addresses(port: int) -> set[str]:
    """By the kernel's own list: addresses are in hexadecimal, bytes reversed; 0A is LISTEN."""
    found = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            address, _, state = line.split()[1:4]
            if state == "0A" and int(address.split(":")[1], 16) == port:
                raw = bytes.fromhex(address.split(":")[0])
                found.add(".".join(str(byte) for byte in reversed(raw)) if len(raw) == 4 else raw.hex())
    return found
