"""Only access tokens of our issuer, for our client, in time, by a known key. Keys are served over real HTTP.

Seen red with each check of the verifier taken out in turn; the algorithm is checked twice, and it takes both.
"""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm

from chalicelib.domain.errors import NotSignedIn, Unavailable
from chalicelib.integrations.oidc.verifier import Claims, TokenVerifier
from chalicelib.settings import MissingSetting

ISSUER = "https://issuer.example/pool"
CLIENT = "our-client"

OURS = rsa.generate_private_key(65537, 2048)
THEIRS = rsa.generate_private_key(65537, 2048)


@dataclass
class Endpoint:
    """A JWKS address that can be told what to answer."""

    kids: dict[str, rsa.RSAPrivateKey] = field(default_factory=lambda: {"one": OURS})
    status: int = 200
    asked: int = 0
    url: str = ""

    def body(self) -> bytes:
        keys = [
            {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "alg": "RS256", "use": "sig"}
            for kid, key in self.kids.items()
        ]
        return json.dumps({"keys": keys}).encode()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    told = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.asked += 1
            self.send_response(told.status)
            self.end_headers()
            self.wfile.write(told.body())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told.url = f"http://127.0.0.1:{server.server_port}/keys"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield told
        server.shutdown()


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verifier(endpoint: Endpoint, clock: Clock) -> TokenVerifier:
    return TokenVerifier(ISSUER, endpoint.url, CLIENT, local=True, clock=clock)


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    told = {
        "iss": ISSUER,
        "sub": "person",
        "client_id": CLIENT,
        "token_use": "access",
        "iat": now,
        "exp": now + 900,
        **changes,
    }
    return {name: value for name, value in told.items() if value is not None}


def token(key: Any = OURS, kid: str | None = "one", algorithm: str = "RS256", **changes: Any) -> str:
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode(claims(**changes), key, algorithm=algorithm, headers=headers)


def signed_by_public_key() -> str:
    """HS256 with the public key as the secret: fools a verifier that asks the token for its algorithm."""

    def part(value: Any) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    public = OURS.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = part({"alg": "HS256", "typ": "JWT", "kid": "one"}) + b"." + part(claims())
    signature = base64.urlsafe_b64encode(hmac.digest(public, signed, hashlib.sha256)).rstrip(b"=")
    return (signed + b"." + signature).decode()


def unsigned() -> str:
    return jwt.encode(claims(), None, algorithm="none", headers={"kid": "one"})  # type: ignore[arg-type]


def test_a_good_token_says_who_it_is(verifier: TokenVerifier) -> None:
    assert verifier.verify(token()) == Claims(ISSUER, "person")


def test_an_audience_stands_for_a_client(verifier: TokenVerifier) -> None:
    assert verifier.verify(token(client_id=None, aud=["x", CLIENT])).subject == "person"
    assert verifier.verify(token(client_id=None, aud=CLIENT)).subject == "person"


def test_clocks_may_differ_by_a_minute(verifier: TokenVerifier) -> None:
    now = int(time.time())
    assert verifier.verify(token(nbf=now + 50, iat=now + 50, exp=now - 50)).subject == "person"


def test_an_expired_token_says_so(verifier: TokenVerifier) -> None:
    with pytest.raises(NotSignedIn) as refused:
        verifier.verify(token(exp=int(time.time()) - 61))
    assert refused.value.code == "token_expired"


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(unsigned(), id="algorithm none"),
        pytest.param(signed_by_public_key(), id="HS256 with the public key"),
        pytest.param(token(algorithm="RS512"), id="RS512"),
        pytest.param(token(algorithm="PS256"), id="PS256"),
        pytest.param(token(key=THEIRS), id="another's key under our kid"),
        pytest.param(token(key=THEIRS, kid="two"), id="unknown kid"),
        pytest.param(token(kid=None), id="no kid"),
        pytest.param(token(iss="https://issuer.example/other"), id="another issuer"),
        pytest.param(token(iss=None), id="no issuer"),
        pytest.param(token(client_id="other"), id="another client"),
        pytest.param(token(client_id="other", aud=CLIENT), id="another client, our audience"),
        pytest.param(token(client_id=None), id="no client"),
        pytest.param(token(client_id=None, aud="other"), id="another audience"),
        pytest.param(token(client_id=None, aud=CLIENT, token_use="id"), id="an ID token"),
        pytest.param(token(token_use=None), id="of no stated use"),
        pytest.param(token(exp=None), id="no expiry"),
        pytest.param(token(exp="soon"), id="an expiry that is no number"),
        pytest.param(token(nbf=int(time.time()) + 86_400), id="not yet"),
        pytest.param(token(iat=int(time.time()) + 86_400), id="issued in the future"),
        pytest.param(token(sub=None), id="nobody"),
        pytest.param(token(sub=""), id="an empty subject"),
        pytest.param(token()[:-4] + "AAAA", id="a broken signature"),
        pytest.param("", id="empty"),
        pytest.param("a.b.c", id="garbage"),
        pytest.param("é.\ud800.x", id="not ASCII"),
        pytest.param("x" * 9000, id="endless"),
        pytest.param(
            base64.urlsafe_b64encode(b"[" * 5000).decode().rstrip("=") + ".e30.x", id="a header nested deep"
        ),
    ],
)
def test_a_token_that_does_not_count_is_refused(verifier: TokenVerifier, bad: str) -> None:
    with pytest.raises(NotSignedIn) as refused:
        verifier.verify(bad)
    assert refused.value.code == "bad_token"


def test_keys_are_fetched_once_in_five_minutes(
    verifier: TokenVerifier, endpoint: Endpoint, clock: Clock
) -> None:
    for _ in range(3):
        verifier.verify(token())
    assert endpoint.asked == 1
    clock.now += 301
    verifier.verify(token())
    assert endpoint.asked == 2


def test_unknown_keys_make_it_look_once_in_ten_seconds(
    verifier: TokenVerifier, endpoint: Endpoint, clock: Clock
) -> None:
    verifier.verify(token())
    for kid in ("a", "b", "c"):
        with pytest.raises(NotSignedIn):
            verifier.verify(token(kid=kid))
    assert endpoint.asked == 1
    clock.now += 11
    for kid in ("a", "b", "c"):
        with pytest.raises(NotSignedIn):
            verifier.verify(token(kid=kid))
    assert endpoint.asked == 2


def test_a_new_key_counts_as_soon_as_it_is_published(
    verifier: TokenVerifier, endpoint: Endpoint, clock: Clock
) -> None:
    verifier.verify(token())
    endpoint.kids = {"one": OURS, "two": THEIRS}
    clock.now += 11
    assert verifier.verify(token(key=THEIRS, kid="two")).subject == "person"


def test_a_withdrawn_key_counts_no_longer_than_five_minutes(
    verifier: TokenVerifier, endpoint: Endpoint, clock: Clock
) -> None:
    verifier.verify(token())
    endpoint.kids = {"two": THEIRS}
    clock.now += 301
    with pytest.raises(NotSignedIn):
        verifier.verify(token())


def test_known_keys_keep_working_while_the_endpoint_is_down(
    verifier: TokenVerifier, endpoint: Endpoint, clock: Clock
) -> None:
    verifier.verify(token())
    endpoint.status = 500
    clock.now += 3600
    for _ in range(5):
        assert verifier.verify(token()).subject == "person"
    assert endpoint.asked == 2
    with pytest.raises(Unavailable):
        verifier.verify(token(kid="two"))


def test_without_any_key_nobody_can_say(verifier: TokenVerifier, endpoint: Endpoint) -> None:
    endpoint.status = 500
    with pytest.raises(Unavailable) as out:
        verifier.verify(token())
    assert out.value.retry_after is not None


def test_threads_share_one_fetch(verifier: TokenVerifier, endpoint: Endpoint) -> None:
    good, seen = token(), []
    barrier = threading.Barrier(8)

    def verify() -> None:
        barrier.wait()
        seen.append(verifier.verify(good).subject)

    threads = [threading.Thread(target=verify) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == ["person"] * 8
    assert endpoint.asked == 1


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:5000/keys", "https://localhost/keys", "https://[::1]/keys", "https://127.8.8.8/k",
     "http://issuer.example/keys", "https://x.localhost/keys", "https://0.0.0.0/keys", "keys"],
)  # fmt: skip
def test_a_stand_in_issuer_is_refused_off_this_machine(address: str) -> None:
    good = "https://issuer.example/keys"
    with pytest.raises(MissingSetting):
        TokenVerifier(ISSUER, address, CLIENT)
    with pytest.raises(MissingSetting):
        TokenVerifier(address, good, CLIENT)
    TokenVerifier(ISSUER, good, CLIENT)
