"""Where a tenant's base URL may lead: when it is saved, and when it is called."""

import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from chalicelib.domain.errors import Invalid, ProviderBusy, ProviderFailed
from chalicelib.integrations.addresses import Allowed, is_public
from chalicelib.integrations.openai.client import OpenAIModel
from chalicelib.integrations.openai.transport import _Checking
from tests.integration.apollo_world import Reply, ScriptedServer, a_caller

NOTHING = Allowed()
PUBLIC = "93.184.215.14"
Answers = Callable[..., None]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """The machine's resolver, told what names mean; addresses mean themselves."""
    real = socket.getaddrinfo
    known: dict[str, list[str]] = {}

    def look_up(host: str, port: int, *args: object, **kwargs: object) -> object:
        if host not in known:
            return real(host, port, *args, **kwargs)  # type: ignore[arg-type]
        answers = known[host]
        address = answers.pop(0) if len(answers) > 1 else answers[0]
        return [found for each in address.split(",") for found in real(each, port, type=socket.SOCK_STREAM)]

    def tell(**names: str) -> None:
        known.update({name.replace("_", "."): addresses.split(" ") for name, addresses in names.items()})

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return tell


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.168.0.1", "192.0.2.1",  # noqa: S104 - an address to refuse
        "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254",
        "fec0::1", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2001:0:7f00:1::", "::127.0.0.1", "fe80::1%1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_the_internets_is_not_public(address: str) -> None:
    """Seen red with `is_global` alone: 224.0.0.1 and 64:ff9b::7f00:1 pass."""
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", [PUBLIC, "2606:4700::1111", "64:ff9b::5db8:d70e", "::ffff:93.184.215.14"])
def test_the_internets_are(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "", "api.example", "//api.example", "ftp://api.example", "file:///etc/passwd", "https://", "https:///v1",
        "https://user@api.example", "https://user:word@api.example", "https://api.example?x=1", "https://api.example#x",
        "https://api.example/v1?", "https://api.example:0", "https://api.example:99999", "https://api.example:x",
        "https://api.example:22", "https://api.example:25", "http://api.example", "https://api.example/a/../b",
        "https://api.example/%2e%2e/b", "https://api.example/a b", "https://api.example\\@127.0.0.1", "https://äpi.example",
        "https://127.0.0.1", "https://2130706433", "https://0x7f000001", "https://0177.0.0.1", "https://127.1",
        "https://0x7f.1", "https://0", "https://[::1]", "https://[::ffff:127.0.0.1]", "https://[64:ff9b::7f00:1]",
        "https://169.254.169.254/latest", "https://[fd00:ec2::254]", "https://[::1", "https://localhost", "https://-a.example",
        "https://inside.example", "https://both.example", "https://nobody.example", "https://api.example/" + "v" * 500,
        "https://127.0.0.1.", "https://LOCALHOST.", "https://api.example\n", "https://api.example/\t",
    ],
)  # fmt: skip
def test_these_are_refused_in_words(url: str, resolver: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    resolver(api_example=PUBLIC, inside_example="10.0.0.7", both_example=f"{PUBLIC},127.0.0.1")
    with pytest.raises(Invalid) as refused:
        NOTHING.check_url(url, pointer="/options/baseUrl")
    assert refused.value.pointer == "/options/baseUrl"
    assert refused.value.message.endswith(".")


@pytest.mark.parametrize(
    "url",
    ["https://api.example/v1", "https://api.example/v1/", "https://api.example:8443", "https://API.example."],
)
def test_these_are_taken(url: str, resolver: Answers) -> None:
    resolver(api_example=PUBLIC)
    assert NOTHING.check_url(url, pointer="/x") == url.rstrip("/")


def test_what_the_operator_allows_is_allowed_and_nothing_beside_it(resolver: Answers) -> None:
    """Seen red with a network that is allowed opening every address of a host."""
    resolver(inside_example="10.0.0.7", beside_example="10.9.0.7", both_example="10.0.0.7,10.9.0.7")
    allowed = Allowed.of(["10.0.0.0/16", "localhost", "::1"])
    for url in (
        "http://inside.example:11434/v1",
        "https://10.0.1.1",
        "http://localhost:80",
        "http://[::1]:11434",
    ):
        allowed.check_url(url, pointer="/x")
    for url in (
        "http://beside.example",
        "http://both.example",
        "http://127.0.0.1",
        "http://[::ffff:10.9.0.1]",
    ):
        with pytest.raises(Invalid):
            allowed.check_url(url, pointer="/x")


def test_a_name_that_leads_inside_after_it_was_saved_is_not_called(resolver: Answers) -> None:
    """DNS rebinding. Seen red with the client made without `allowed`."""
    with ScriptedServer(Reply.json({"data": []})) as server:
        port = server.url.rpartition(":")[2]
        resolver(model_example=f"{PUBLIC} 127.0.0.1")
        base_url = NOTHING.check_url(f"https://model.example:{port}/v1", pointer="/x")
        with (
            closing(a_model(base_url.replace("https", "http"), NOTHING)) as model,
            pytest.raises(ProviderFailed, match="private network") as refused,
        ):
            model.check(a_caller())
        assert refused.value.code == "private_address"
        assert server.received == []


def test_every_connection_is_checked_anew(resolver: Answers) -> None:
    with ScriptedServer(Reply.json({"data": [{"id": "m"}]})) as server:
        port = server.url.rpartition(":")[2]
        resolver(model_example="127.0.0.1 127.0.0.2")
        allowed = Allowed.of(["127.0.0.1"])
        with closing(a_model(f"http://model.example:{port}/v1", allowed)) as model:
            model.check(a_caller())
            with pytest.raises(ProviderFailed, match="private network"):
                model.check(a_caller())
        (call,) = server.received
        assert call.headers["host"] == f"model.example:{port}"


def test_a_host_that_is_gone_or_silent_is_unreachable(resolver: Answers) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        resolver(model_example="127.0.0.1")
        for base_url in (f"http://model.example:{port}/v1", "http://nobody.invalid/v1"):
            with closing(a_model(base_url, Allowed.of(["127.0.0.0/8"]))) as model:
                with pytest.raises(ProviderBusy) as busy:
                    model.check(a_caller())
                assert busy.value.code == "unreachable"


def test_the_next_address_is_tried_where_the_first_is_dead(resolver: Answers) -> None:
    with ScriptedServer(Reply.json({"data": [{"id": "m"}]})) as server:
        port = server.url.rpartition(":")[2]
        resolver(model_example="127.0.0.2,127.0.0.1")
        with closing(a_model(f"http://model.example:{port}/v1", Allowed.of(["127.0.0.0/8"]))) as model:
            model.check(a_caller())
        assert len(server.received) == 1


def test_a_redirect_is_not_followed() -> None:
    with ScriptedServer(Reply.json({"data": []})) as inside:
        elsewhere = Reply(302, headers={"location": f"{inside.url}/v1/models"})
        with (
            ScriptedServer(elsewhere) as server,
            closing(a_model(f"{server.url}/v1", Allowed.of(["127.0.0.1"]))) as model,
            pytest.raises(ProviderFailed),
        ):
            model.check(a_caller())
        assert inside.received == []


def test_a_certificate_is_the_names_not_the_addresss(resolver: Answers, tmp_path: Path) -> None:
    """The connection goes to a checked address; who answers there proves the name.

    Seen red with the server name left out of the request's extensions.
    """
    resolver(model_example="127.0.0.1", other_example="127.0.0.1")
    with a_tls_server(tmp_path, "model.example") as (port, trust):
        inner = httpx2.HTTPTransport(verify=trust)
        with httpx2.Client(transport=_Checking(Allowed.of(["127.0.0.1"]), inner)) as http:
            assert http.get(f"https://model.example:{port}/").text == "hello"
            with pytest.raises(httpx2.ConnectError):
                http.get(f"https://other.example:{port}/")


def a_model(base_url: str, allowed: Allowed) -> OpenAIModel:
    return OpenAIModel("a-key", base_url, model="m", max_tokens=100, allowed=allowed)


@contextmanager
def a_tls_server(place: Path, name: str) -> Iterator[tuple[int, ssl.SSLContext]]:
    """Says hello under a certificate for the name, and who trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime(2026, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = place / "server.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(pem)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    plain, _ = listening.accept()
                except OSError:
                    return
                try:
                    with serving.wrap_socket(plain, server_side=True) as told:
                        told.recv(4096)
                        told.sendall(
                            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello"
                        )
                except OSError:
                    plain.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1], ssl.create_default_context(cafile=str(pem))
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
