"""Sign-in at a Cognito user pool, against moto's."""

import base64
import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from chalicelib.domain.errors import Invalid, NotSignedIn, Unavailable
from chalicelib.domain.ports import Challenge, SignedIn
from chalicelib.integrations.aws import cognito
from chalicelib.integrations.aws.cognito import CognitoIssuer
from chalicelib.settings import Settings

EMAIL, PASSWORD = "rep@ours.example", "Right-password-1"


@pytest.fixture
def aws() -> Iterator[Any]:
    with mock_aws():
        cognito._made.cache_clear()
        yield boto3.client("cognito-idp", region_name="eu-central-1")
    cognito._made.cache_clear()


def issuer_of(aws: Any, *, secret: bool = False) -> CognitoIssuer:
    """An issuer over a pool of its own, in which one person has a first password."""
    # With e-mails as aliases, moto wants the alias in a refresh's secret hash; Cognito wants the name behind it.
    aliases = {} if secret else {"UsernameAttributes": ["email"]}
    pool = aws.create_user_pool(PoolName="pool", **aliases)["UserPool"]["Id"]
    client = aws.create_user_pool_client(UserPoolId=pool, ClientName="console", GenerateSecret=secret)[
        "UserPoolClient"
    ]
    aws.admin_create_user(UserPoolId=pool, Username=EMAIL, TemporaryPassword="First-password-1")
    settings = Settings.from_environ(
        {
            "DATABASE_URL": "x",
            "DATABASE_SYSTEM_URL": "x",
            "OIDC_ISSUER": "x",
            "OIDC_JWKS_URL": "x",
            "OIDC_CLIENT_ID": client["ClientId"],
            "COGNITO_CLIENT_SECRET": client.get("ClientSecret", ""),
        }
    )
    return CognitoIssuer(settings)


def with_own_password(issuer: CognitoIssuer) -> SignedIn:
    asked = issuer.sign_in(EMAIL, "First-password-1")
    assert isinstance(asked, Challenge)
    return issuer.answer_challenge(EMAIL, asked.session, PASSWORD)


@pytest.mark.parametrize("secret", [False, True], ids=["public client", "client with a secret"])
def test_first_password_sign_in_and_refresh(aws: Any, *, secret: bool) -> None:
    issuer = issuer_of(aws, secret=secret)
    assert with_own_password(issuer).access_token
    signed_in = issuer.sign_in(EMAIL, PASSWORD)
    assert isinstance(signed_in, SignedIn)
    assert signed_in.refresh_token is not None
    assert signed_in.refresh_token.isascii()
    assert signed_in.expires_in > 0
    payload = issuer.refresh(signed_in.refresh_token).access_token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert (claims["token_use"], claims["client_id"]) == ("access", issuer.settings.oidc_client_id)


def test_a_wrong_password_and_nobody_get_the_same_answer(aws: Any) -> None:
    issuer = issuer_of(aws)
    with_own_password(issuer)
    told = []
    for email in (EMAIL, "nobody@ours.example"):
        with pytest.raises(NotSignedIn) as refused:
            issuer.sign_in(email, "Wrong-password-1")
        told.append((refused.value.code, refused.value.message))
    assert told[0] == told[1]
    assert told[0][0] == "wrong_credentials"


@pytest.mark.parametrize(
    ("token", "secret"),
    [("forged", False), ("", False), ("", True), ("~", True), ("a~b", True), ("é~b", True), ("AAA~b", True)],
)
def test_a_forged_refresh_token_is_refused(aws: Any, token: str, *, secret: bool) -> None:
    with pytest.raises(NotSignedIn) as refused:
        issuer_of(aws, secret=secret).refresh(token)
    assert refused.value.code == "session_over"


@pytest.mark.parametrize(
    ("code", "kind", "told"),
    [
        ("NotAuthorizedException", NotSignedIn, "wrong_credentials"),
        ("UserNotFoundException", NotSignedIn, "wrong_credentials"),
        ("InvalidParameterException", NotSignedIn, "wrong_credentials"),
        ("PasswordResetRequiredException", NotSignedIn, "password_reset_required"),
        ("ExpiredCodeException", NotSignedIn, "session_over"),
        ("InvalidPasswordException", Invalid, "weak_password"),
        ("TooManyRequestsException", Unavailable, "sign_in_unavailable"),
        ("InternalErrorException", Unavailable, "sign_in_unavailable"),
        ("ResourceNotFoundException", Unavailable, "sign_in_unavailable"),
    ],
)
def test_each_complaint_of_cognito_is_one_of_ours(code: str, kind: type[Exception], told: str) -> None:
    with pytest.raises(kind) as refused:
        cognito._refuse(code)
    assert getattr(refused.value, "code", None) == told


def test_an_issuer_that_cannot_be_reached_is_unavailable(aws: Any) -> None:
    issuer = issuer_of(aws)
    nowhere = dataclasses.replace(issuer.settings, aws_endpoint_url="http://127.0.0.1:9")
    with pytest.raises(Unavailable):
        CognitoIssuer(nowhere).sign_in(EMAIL, PASSWORD)
