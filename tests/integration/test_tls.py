"""The way to a database off this machine: encrypted, to the right server, or not at all.

PostgreSQL's wheel speaks no TLS, so `TlsFront` does, in front of the real server. Each refusal was seen red once: with
`check_hostname` off, with CERT_NONE, with stock pg8000's `ssl_context=None`, and with the driver's own check taken out.
"""

import dataclasses
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import certifi
import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import InterfaceError

from chalicelib.bootstrap import Context
from chalicelib.db import driver
from local import databases
from local.postgres import APP, OWNER, Postgres
from local.processes import StackError
from migrations import runner
from tests.conftest import a_database, settings_of
from tests.fakes.certificates import LAST_YEAR, Authority, self_signed
from tests.fakes.tls_front import WANTS_TLS, TlsFront

HOST = "database.example"
"""Leads to this machine, and is no address of it by its name."""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.fixture(autouse=True)
def resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network's names, as a hosts file would have them."""
    real = socket.getaddrinfo

    def resolve(host: Any, *args: Any, **options: Any) -> Any:
        return real("127.0.0.1" if host == HOST else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def serving(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def engine_to(front: TlsFront, postgres: Postgres, *, host: str = HOST, **options: Any) -> Engine:
    url = make_url(postgres.url(APP, "template_bevyly")).set(host=host, port=front.port)
    return driver.create(url, timeout=5, **options)


def refusal(front: TlsFront, postgres: Postgres, **options: Any) -> str:
    """What connecting says. Whatever it is, nothing was said in the clear, and the password is not in it."""
    engine = engine_to(front, postgres, **options)
    with pytest.raises(InterfaceError) as refused:
        engine.connect()
    said = str(refused.value)
    password = make_url(postgres.url(APP, "x")).password
    assert password is not None
    assert password not in said + repr(refused.value.orig)
    assert front.clear == WANTS_TLS
    return said


def test_a_query_works_through_verified_tls(postgres: Postgres, authority: Authority) -> None:
    context = driver.verifying_context(str(authority.file))
    with TlsFront(postgres.port, serving(authority.issue(HOST))) as front:
        engine = engine_to(front, postgres, ssl_context=context)
        with engine.begin() as connection:
            assert connection.execute(text("SELECT current_user::text")).scalar_one() == APP
            assert connection.execute(text("SELECT repeat('x', 300000)")).scalar_one() == "x" * 300_000
            ours = connection.connection.dbapi_connection
            assert isinstance(ours, driver.Connection)
            ours._used_at = 0
            ours.ping()
            assert ours._usock.version() in {"TLSv1.2", "TLSv1.3"}
        engine.dispose()
        assert front.clear == WANTS_TLS


def test_a_certificate_for_another_host_is_refused(postgres: Postgres, authority: Authority) -> None:
    context = driver.verifying_context(str(authority.file))
    with TlsFront(postgres.port, serving(authority.issue("other.example"))) as front:
        said = refusal(front, postgres, ssl_context=context)
        assert f"The database at {HOST}:{front.port} is not trusted: Hostname mismatch" in said
    assert "Put the name that the certificate has into the URL" in said


def test_an_address_is_no_name(postgres: Postgres, authority: Authority) -> None:
    context = driver.verifying_context(str(authority.file))
    with TlsFront(postgres.port, serving(authority.issue(HOST))) as front:
        said = refusal(front, postgres, host="127.0.0.1", ssl_context=context)
    assert "IP address mismatch" in said
    assert "Put the name that the certificate has into the URL" in said


def test_a_certificate_of_another_authority_is_refused(
    postgres: Postgres, authority: Authority, tmp_path: Path
) -> None:
    context = driver.verifying_context(str(authority.file))
    with TlsFront(postgres.port, serving(Authority(tmp_path, "another").issue(HOST))) as front:
        said = refusal(front, postgres, ssl_context=context)
    assert "let DATABASE_CA_FILE name a file with its authorities" in said


def test_without_a_file_only_amazons_public_authorities_count(
    postgres: Postgres, authority: Authority
) -> None:
    with TlsFront(postgres.port, serving(authority.issue(HOST))) as front:
        said = refusal(front, postgres)
    assert "let DATABASE_CA_FILE name a file with its authorities" in said


def test_a_self_signed_certificate_is_refused(
    postgres: Postgres, authority: Authority, tmp_path: Path
) -> None:
    context = driver.verifying_context(str(authority.file))
    with TlsFront(postgres.port, serving(self_signed(tmp_path, HOST))) as front:
        said = refusal(front, postgres, ssl_context=context)
    assert "self-signed certificate" in said
    assert "let DATABASE_CA_FILE name a file with its authorities" in said


def test_an_expired_certificate_is_refused(postgres: Postgres, authority: Authority) -> None:
    context = driver.verifying_context(str(authority.file))
    with TlsFront(postgres.port, serving(authority.issue(HOST, until=LAST_YEAR))) as front:
        said = refusal(front, postgres, ssl_context=context)
    assert "certificate has expired. Renew the server's certificate" in said


def test_tls_older_than_1_2_is_refused(postgres: Postgres, authority: Authority) -> None:
    old = serving(authority.issue(HOST))
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    context = driver.verifying_context(str(authority.file))
    with TlsFront(postgres.port, old) as front:
        said = refusal(front, postgres, ssl_context=context)
    assert "It has to speak TLS 1.2 or newer." in said


def test_a_server_without_tls_or_somebody_who_takes_it_away_gets_nothing(
    postgres: Postgres, authority: Authority
) -> None:
    context = driver.verifying_context(str(authority.file))
    with TlsFront(postgres.port, None) as front:
        said = refusal(front, postgres, ssl_context=context)
        assert f"The database at {HOST}:{front.port} offers no TLS, and without it nothing is sent." in said


@pytest.mark.parametrize("answer", [b"E\0\0\0\x08Sbad", b"R\0\0\0\x08\0\0\0\0"], ids=["error", "you are in"])
def test_any_other_answer_to_the_request_for_tls_ends_it(
    postgres: Postgres, authority: Authority, answer: bytes
) -> None:
    context = driver.verifying_context(str(authority.file))
    with TlsFront(postgres.port, None, answer=answer) as front:
        assert "offers no TLS" in refusal(front, postgres, ssl_context=context)


def test_what_is_smuggled_in_before_the_handshake_is_not_taken_for_the_servers_word(
    postgres: Postgres, authority: Authority
) -> None:
    smuggled = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I"  # "you are in", in the clear
    context = driver.verifying_context(str(authority.file))
    with TlsFront(postgres.port, serving(authority.issue(HOST)), answer=b"S" + smuggled) as front:
        assert "No TLS with the database" in refusal(front, postgres, ssl_context=context)


def test_a_name_that_leads_to_this_machine_is_still_not_spoken_to_in_the_clear(postgres: Postgres) -> None:
    with TlsFront(postgres.port, None) as front:
        assert "offers no TLS" in refusal(front, postgres)


def _forgiving(**changes: Any) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for name, value in changes.items():
        setattr(context, name, value)
    return context


@pytest.mark.parametrize(
    "context",
    [
        False,
        True,
        _forgiving(check_hostname=False, verify_mode=ssl.CERT_NONE),
        _forgiving(check_hostname=False),
        _forgiving(minimum_version=ssl.TLSVersion.MINIMUM_SUPPORTED),
    ],
    ids=["none", "unchecked", "any certificate", "any host", "any version"],
)
def test_less_than_verified_tls_is_refused_before_a_byte_is_sent(postgres: Postgres, context: Any) -> None:
    with TlsFront(postgres.port, None) as front:
        engine = engine_to(front, postgres, ssl_context=context)
        with pytest.raises(ValueError, match="verifying SSLContext"):
            engine.connect()
        assert front.clear == b""


def test_a_host_behind_the_urls_question_mark_is_the_one_that_counts(postgres: Postgres) -> None:
    with TlsFront(postgres.port, None) as front:
        url = make_url(postgres.url(APP, "template_bevyly")).set(port=front.port, query={"host": HOST})
        with pytest.raises(ValueError, match="verifying SSLContext"):
            driver.create(url).connect()
        assert front.clear == b""


def test_loopback_needs_none(postgres: Postgres) -> None:
    for host in ("127.0.0.1", "localhost"):
        with TlsFront(postgres.port, None) as front:
            engine = engine_to(front, postgres, host=host)
            with engine.begin() as connection:
                assert connection.execute(text("SELECT 1")).scalar_one() == 1
            engine.dispose()


def test_the_functions_and_the_migrations_verify_alike(
    postgres: Postgres, authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "another")
    certificate = serving(authority.issue(HOST))
    with a_database(postgres) as name, TlsFront(postgres.port, certificate) as front:
        urls = {
            key: make_url(postgres.url(role, name))
            .set(host=HOST, port=front.port)
            .render_as_string(hide_password=False)
            for key, role in {"database_url": APP, "database_system_url": "bevyly_system", "o": OWNER}.items()
        }
        owner = urls.pop("o")
        settings = dataclasses.replace(settings_of(postgres, name), **urls)  # type: ignore[arg-type]
        for ca_file in (str(authority.file), None, str(other.file)):
            database = Context(dataclasses.replace(settings, database_ca_file=ca_file)).database
            if ca_file == str(authority.file):
                with database.system() as session:
                    assert session.execute(text("SELECT 1")).scalar_one() == 1
                runner.check(owner, ca_file=ca_file)
            else:
                with pytest.raises(InterfaceError, match="is not trusted"), database.system() as session:
                    session.execute(text("SELECT 1"))
                with pytest.raises(InterfaceError, match="is not trusted"):
                    runner.upgrade(owner, ca_file=ca_file)
            database.app.dispose()
            database.across.dispose()
        assert front.clear == WANTS_TLS * (len(front.clear) // len(WANTS_TLS))


def test_a_database_of_ones_own_for_make_run_is_reached_alike(
    postgres: Postgres, authority: Authority
) -> None:
    with a_database(postgres) as name, TlsFront(postgres.port, serving(authority.issue(HOST))) as front:
        environ = {
            variable: make_url(postgres.url(role, name))
            .set(host=HOST, port=front.port)
            .render_as_string(hide_password=False)
            for variable, role in {
                "DATABASE_URL": APP,
                "DATABASE_SYSTEM_URL": "bevyly_system",
                "DATABASE_OWNER_URL": OWNER,
            }.items()
        }
        untrusted = databases.in_environment(environ)
        trusted = databases.in_environment({**environ, "DATABASE_CA_FILE": str(authority.file)})
        assert untrusted is not None
        assert trusted is not None
        databases.refuse_foreign(trusted)
        databases.migrate(trusted)
        with pytest.raises(StackError, match="is not trusted"):
            databases.refuse_foreign(untrusted)
        assert front.clear == WANTS_TLS * (len(front.clear) // len(WANTS_TLS))


def test_a_process_makes_one_context(authority: Authority) -> None:
    assert driver.verifying_context() is driver.verifying_context()
    assert driver.verifying_context(str(authority.file)) is driver.verifying_context(str(authority.file))


def test_a_file_without_certificates_is_told_at_once(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing\n")
    for file in (empty, tmp_path / "absent.pem"):
        with pytest.raises(ValueError, match="DATABASE_CA_FILE names a bundle") as said:
            driver.verifying_context(str(file))
        assert str(file) in str(said.value)


def test_the_authorities_in_the_package_are_amazons_public_ones_as_everybody_knows_them() -> None:
    everybodys = ssl.create_default_context(cafile=certifi.where()).get_ca_certs(binary_form=True)
    ours = driver.verifying_context()
    assert set(ours.get_ca_certs(binary_form=True)) <= set(everybodys)
    subjects: list[Any] = [dict(part) for each in ours.get_ca_certs() for part in each["subject"]]  # type: ignore[arg-type]
    assert {each["commonName"] for each in subjects if "commonName" in each} == {
        *(f"Amazon Root CA {number}" for number in (1, 2, 3, 4)),
        "Starfield Services Root Certificate Authority - G2",
    }


@pytest.fixture(autouse=True)
def forget_contexts() -> Iterator[None]:
    yield
    driver.verifying_context.cache_clear()
