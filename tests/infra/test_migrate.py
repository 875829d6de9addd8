"""The function that migrates, on a database as RDS hands it over: a master who is no superuser, and none of our roles."""

import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest
from pg8000.exceptions import DatabaseError

from infra.deploy import migrate as tool
from infra.deploy.cloud import DeployError
from local.postgres import Postgres, throwaway
from migrations import function
from migrations.function import Login, MigrationError, Server, make_roles, migrate, verifier
from tests.fakes.certificates import self_signed
from tests.fakes.tls_front import TlsFront

MASTER: Final = Login("bevyly_master", "master")
LOGINS: Final[Mapping[str, Login]] = {
    "OWNER": Login("bevyly_owner", "owner's"),
    "APP": Login("bevyly_app", "it's a \\ secret: ''"),
    "SYSTEM": Login("bevyly_system", "päss"),
}

pytestmark = pytest.mark.slow


@pytest.fixture
def fresh() -> Iterator[Postgres]:
    with throwaway() as server:
        for role in ("bevyly_owner", "bevyly_app", "bevyly_system"):
            server.execute(f"DROP ROLE {role}")
        server.execute(f"CREATE ROLE {MASTER.role} LOGIN CREATEROLE CREATEDB PASSWORD '{MASTER.password}'")
        server.execute(f"CREATE DATABASE bevyly OWNER {MASTER.role}")
        yield server


@pytest.fixture
def server(fresh: Postgres) -> Server:
    return Server("127.0.0.1", fresh.port, "bevyly", tls=False)


def may_enter(server: Server, login: Login) -> bool:
    with server.connected(login) as connection:
        return bool(connection.run("SELECT current_user")[0][0] == login.role)


def test_the_first_start_makes_the_roles_and_the_newest_revision(fresh: Postgres, server: Server) -> None:
    done = make_roles(server, LOGINS, lambda: MASTER)
    assert [each for each in done if each.endswith(": made")] == [
        f"{each.role}: made" for each in LOGINS.values()
    ]
    said = migrate(server, LOGINS["OWNER"])
    assert (said["from"], said["to"] > "0000") == (None, True)
    assert all(may_enter(server, login) for login in LOGINS.values())
    (strong,) = fresh.execute(
        "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'bevyly_%' AND (rolsuper OR rolbypassrls)"
    )
    assert strong == [0]


def test_the_second_start_changes_nothing_and_asks_no_master(server: Server) -> None:
    make_roles(server, LOGINS, lambda: MASTER)
    first = migrate(server, LOGINS["OWNER"])

    def nobody() -> Login:
        raise AssertionError("nobody needs the master")

    assert make_roles(server, LOGINS, nobody) == []
    assert migrate(server, LOGINS["OWNER"]) == {"from": first["to"], "to": first["to"]}


def test_a_new_password_in_the_secret_is_the_roles_password(server: Server) -> None:
    make_roles(server, LOGINS, lambda: MASTER)
    changed = {**LOGINS, "APP": Login("bevyly_app", "another")}
    assert make_roles(server, changed, lambda: MASTER) == ["bevyly_app: a new password"]
    assert may_enter(server, changed["APP"])
    with pytest.raises(DatabaseError):
        may_enter(server, LOGINS["APP"])


def test_two_migrations_at_once_are_refused(server: Server) -> None:
    make_roles(server, LOGINS, lambda: MASTER)
    with server.connected(LOGINS["OWNER"]) as other:
        other.run("SELECT pg_advisory_lock(:key)", key=function._LOCK)
        with pytest.raises(MigrationError, match="under way"):
            migrate(server, LOGINS["OWNER"])


def test_a_database_that_cannot_prove_who_it_is_gets_no_password(fresh: Postgres, tmp_path: Path) -> None:
    """Seen red with a context that does not verify."""
    certificate = self_signed(tmp_path, "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    trusted = certificate.read_text().partition("-----BEGIN PRIVATE KEY")[0]
    for authorities, expected in ((trusted, True), (None, False)):
        with TlsFront(fresh.port, context) as front:
            tls = function._tls("db.example", authorities)
            assert isinstance(tls, ssl.SSLContext)
            there = Server("127.0.0.1", front.port, "bevyly", tls)
            if expected:
                assert may_enter(there, MASTER)
            else:
                with pytest.raises(ssl.SSLCertVerificationError):
                    may_enter(there, MASTER)


def test_only_loopback_is_spoken_to_without_tls() -> None:
    assert function._tls("127.0.0.1", None) is False
    for host in ("10.0.0.1", "localhost", "cluster.example"):
        context = function._tls(host, None)
        assert isinstance(context, ssl.SSLContext)
        assert context.check_hostname
        assert context.verify_mode == ssl.CERT_REQUIRED


def test_no_statement_holds_a_password() -> None:
    salt = b"sixteen bytes..."
    made = verifier("pencil", salt)
    assert made.startswith("SCRAM-SHA-256$4096:")
    assert "pencil" not in made
    assert verifier("pencil", salt) == made != verifier("pencils", salt)


def test_authorities_are_read_from_a_file_or_refused_in_words(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path, "127.0.0.1")
    assert tool.authorities(certificate).startswith("-----BEGIN CERTIFICATE")
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("nothing")
    for path in (wrong, tmp_path / "missing.pem"):
        with pytest.raises(DeployError, match="DATABASE_CA"):
            tool.authorities(path)
