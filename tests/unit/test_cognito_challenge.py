"""The first password at a pool that signs people in by an alias: what Cognito asks for, and moto does not."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Final

import pytest

from chalicelib.domain.errors import NotSignedIn
from chalicelib.domain.ports import Challenge
from chalicelib.integrations.aws import cognito
from chalicelib.integrations.aws.cognito import CognitoIssuer
from chalicelib.settings import Settings

EMAIL, NAME, CLIENT, SECRET = "rep@ours.example", "0b1c-the-pools-own-name", "console", "a-secret"
SESSION: Final = "AYABeG" + "x" * 2000
"""As long as Cognito's own."""


class Pool(BaseHTTPRequestHandler):
    """Cognito's words: a sign-in takes the alias, an answer to a challenge takes the name behind it alone."""

    def do_POST(self) -> None:
        operation = self.headers["X-Amz-Target"].rpartition(".")[2]
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if operation == "InitiateAuth" and hashed(EMAIL) == said["AuthParameters"]["SECRET_HASH"]:
            self.tell(
                200,
                {
                    "ChallengeName": "NEW_PASSWORD_REQUIRED",
                    "Session": SESSION,
                    "ChallengeParameters": {"USER_ID_FOR_SRP": NAME, "requiredAttributes": "[]"},
                },
            )
            return
        answers = said.get("ChallengeResponses", {})
        if (said.get("Session"), answers.get("USERNAME"), answers.get("SECRET_HASH")) == (
            SESSION,
            NAME,
            hashed(NAME),
        ):
            payload = base64.urlsafe_b64encode(json.dumps({"username": NAME}).encode()).decode()
            self.tell(
                200,
                {
                    "AuthenticationResult": {
                        "AccessToken": f"a.{payload}.c",
                        "RefreshToken": "r",
                        "ExpiresIn": 900,
                    }
                },
            )
            return
        self.tell(
            400, {"__type": "NotAuthorizedException", "message": "Unable to verify secret hash for client"}
        )

    def tell(self, status: int, body: dict[str, Any]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing on the terminal."""


def hashed(name: str) -> str:
    return base64.b64encode(hmac.digest(SECRET.encode(), (name + CLIENT).encode(), hashlib.sha256)).decode()


@pytest.fixture
def issuer() -> Iterator[CognitoIssuer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pool)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    cognito._made.cache_clear()
    settings = Settings.from_environ(
        {
            "DATABASE_URL": "x",
            "DATABASE_SYSTEM_URL": "x",
            "OIDC_ISSUER": "x",
            "OIDC_JWKS_URL": "x",
            "OIDC_CLIENT_ID": CLIENT,
            "COGNITO_CLIENT_SECRET": SECRET,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_address[1]}",
        }
    )
    yield CognitoIssuer(settings)
    cognito._made.cache_clear()
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_first_password_is_chosen_under_the_pools_own_name(issuer: CognitoIssuer) -> None:
    """Seen red with the e-mail address as USERNAME."""
    asked = issuer.sign_in(EMAIL, "First-password-1")
    assert isinstance(asked, Challenge)
    assert len(asked.session) <= 2500, "api/auth.py takes no longer one"
    assert issuer.answer_challenge(EMAIL, asked.session, "Right-password-1").access_token


@pytest.mark.parametrize("session", [SESSION, "~" + SESSION, "é~" + SESSION, "AAA~" + SESSION])
def test_a_session_that_is_not_ours_is_over(issuer: CognitoIssuer, session: str) -> None:
    with pytest.raises(NotSignedIn) as refused:
        issuer.answer_challenge(EMAIL, session, "Right-password-1")
    assert refused.value.code == "session_over"
