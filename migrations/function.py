"""The Lambda function that migrates: inside the VPC, by TLS that is verified, with passwords it reads itself.

It makes the three database roles as the master when they are not there or have another password, gives the database to
its owner, and brings it to the newest revision. All of it can be repeated. Two at once are refused.
"""

import base64
import hashlib
import hmac
import ipaddress
import json
import os
import secrets
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pg8000.exceptions import DatabaseError
from pg8000.native import Connection, identifier, literal
from sqlalchemy import URL

OWNER, APP, SYSTEM = "bevyly_owner", "bevyly_app", "bevyly_system"
_LOCK: Final = 0x6265_7679  # of the advisory lock that one migration holds
_REFUSED: Final = frozenset({"28P01", "28000"})  # a wrong password, no such role
_CONNECT_SECONDS: Final = 20
_ROUNDS: Final = 4096  # PostgreSQL's own


class MigrationError(RuntimeError):
    """The database was not migrated; what it says holds no secret."""


@dataclass(frozen=True, slots=True)
class Login:
    """A role and its password."""

    role: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Server:
    """Where the database is, and how its certificate is checked."""

    host: str
    port: int
    database: str
    tls: ssl.SSLContext | Literal[False]

    def url(self, login: Login) -> str:
        made = URL.create(
            "postgresql+pg8000", login.role, login.password, self.host, self.port, self.database
        )
        return made.render_as_string(hide_password=False)

    @contextmanager
    def connected(self, login: Login) -> Iterator[Connection]:
        connection = Connection(
            login.role,
            host=self.host,
            port=self.port,
            database=self.database,
            password=login.password,
            ssl_context=self.tls,
            timeout=_CONNECT_SECONDS,
        )
        try:
            yield connection
        finally:
            connection.close()


def handler(event: Mapping[str, Any], _context: Any) -> dict[str, Any]:
    """What was done: `roles`, `from`, `to`, `revisions`.

    Args:
        event: `certificateAuthorities`, in PEM, of the database's certificate; without, the system's.

    The environment says where: DATABASE_HOST, DATABASE_PORT, DATABASE_NAME, and the ARNs MASTER_SECRET, OWNER_SECRET,
    APP_SECRET, SYSTEM_SECRET.
    """
    given = os.environ  # noqa: TID251 - a function of its own, without the product's settings
    server = Server(
        given["DATABASE_HOST"],
        int(given.get("DATABASE_PORT", "5432")),
        given["DATABASE_NAME"],
        _tls(given["DATABASE_HOST"], event.get("certificateAuthorities")),
    )
    logins = {role: _login(given[f"{role}_SECRET"]) for role in ("OWNER", "APP", "SYSTEM")}
    done = make_roles(server, logins, lambda: _login(given["MASTER_SECRET"]))
    return {"roles": done, **migrate(server, logins["OWNER"])}


def make_roles(server: Server, logins: Mapping[str, Login], master: Any) -> list[str]:
    """Make the roles that cannot sign in as their secrets say. Returns what was done; the master is asked only then.

    Args:
        server: of the database.
        logins: OWNER, APP and SYSTEM.
        master: says the master's login.
    """
    wrong = [login for login in logins.values() if not _may_enter(server, login)]
    if not wrong:
        return []
    done = []
    with server.connected(master()) as connection:
        for login in wrong:
            known = connection.run("SELECT 1 FROM pg_roles WHERE rolname = :role", role=login.role)
            verb = "ALTER" if known else "CREATE"
            connection.run(
                f"{verb} ROLE {identifier(login.role)} LOGIN PASSWORD {literal(verifier(login.password))}"
            )
            done.append(f"{login.role}: {'a new password' if known else 'made'}")
        done += _grants(connection, server.database, logins)
    return done


def _grants(connection: Connection, database: str, logins: Mapping[str, Login]) -> list[str]:
    owner, system = logins["OWNER"].role, logins["SYSTEM"].role
    master = connection.run("SELECT current_user")[0][0]
    done = []
    for group, member in ((system, owner), (owner, master)):
        has = connection.run(
            "SELECT 1 FROM pg_auth_members WHERE roleid = CAST(:g AS regrole) AND member = CAST(:m AS regrole)"
            " AND inherit_option AND set_option",
            g=group,
            m=member,
        )
        if not has:
            connection.run(f"GRANT {identifier(group)} TO {identifier(member)} WITH INHERIT TRUE, SET TRUE")
            done.append(f"{member} may act as {group}")
    (told,) = connection.run(
        "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = :name", name=database
    )
    if told[0] != owner:
        connection.run(f"ALTER DATABASE {identifier(database)} OWNER TO {identifier(owner)}")
        done.append(f"{database} belongs to {owner}")
    return done


def migrate(server: Server, owner: Login) -> dict[str, Any]:
    """Bring the database to the newest revision. Raises MigrationError while another migration runs."""
    from migrations import runner  # noqa: PLC0415 - alembic and every model; the roles need neither

    with server.connected(owner) as guard:
        if not guard.run("SELECT pg_try_advisory_lock(:key)", key=_LOCK)[0][0]:
            raise MigrationError("Another migration of this database is under way.")
        before = _revision(guard)
        runner.upgrade(server.url(owner), connect_args={"ssl_context": server.tls})
        after = _revision(guard)
    return {"from": before, "to": after}


def _revision(connection: Connection) -> str | None:
    if connection.run("SELECT to_regclass('alembic_version')")[0][0] is None:
        return None
    rows = connection.run("SELECT version_num FROM alembic_version")
    return rows[0][0] if rows else None


def _may_enter(server: Server, login: Login) -> bool:
    try:
        with server.connected(login):
            return True
    except DatabaseError as error:
        said = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
        if said.get("C") in _REFUSED:
            return False
        raise


def verifier(password: str, salt: bytes | None = None) -> str:
    """What PostgreSQL keeps of a password (SCRAM-SHA-256): no statement, and no log of one, holds the password."""
    salt = salt or secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ROUNDS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    served = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, served64 = (base64.b64encode(each).decode() for each in (salt, stored, served))
    return f"SCRAM-SHA-256${_ROUNDS}:{salt64}${stored64}:{served64}"


def _login(arn: str) -> Login:
    import boto3  # noqa: PLC0415 - only in AWS

    said = json.loads(boto3.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"])
    return Login(said["username"], said["password"])


def _tls(host: str, authorities: str | None) -> ssl.SSLContext | Literal[False]:
    """Verifies the certificate and the name in it; without TLS on loopback only."""
    try:
        if ipaddress.ip_address(host).is_loopback:
            return False
    except ValueError:
        pass  # a name
    return ssl.create_default_context(cadata=authorities)
