"""Sign-in at a Cognito user pool; its app client allows USER_PASSWORD_AUTH and refresh tokens."""

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from threading import Lock
from typing import Any, Final, NoReturn

from chalicelib.domain.errors import Invalid, NotSignedIn, Unavailable
from chalicelib.domain.ports import Challenge, SignedIn
from chalicelib.settings import Settings

logger = logging.getLogger(__name__)

_BUSY: Final = frozenset(
    {
        "InternalErrorException",
        "LimitExceededException",
        "TooManyRequestsException",
        "ThrottlingException",
    }
)
_WRONG: Final = frozenset(
    {
        "InvalidParameterException",  # of a name that no account can have
        "NotAuthorizedException",
        "UserNotConfirmedException",
        "UserNotFoundException",
    }
)
_SEPARATOR: Final = "~"
_making = Lock()


@dataclass(frozen=True, slots=True)
class CognitoIssuer:
    """The port `Issuer` over Cognito.

    With a client secret Cognito wants the user's name at each refresh, too, so our refresh token carries it
    before a tilde.
    """

    settings: Settings

    def sign_in(self, email: str, password: str) -> SignedIn | Challenge:
        """Raises NotSignedIn with `wrong_credentials`, the same for a wrong password and for nobody."""
        answer = self._call(
            "initiate_auth",
            AuthFlow="USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": email, "PASSWORD": password, **self._secret_hash(email)},
        )
        challenge = answer.get("ChallengeName")
        if challenge == "NEW_PASSWORD_REQUIRED":
            return Challenge(self._packed(answer.get("ChallengeParameters", {}), answer["Session"]))
        if challenge is not None:
            raise NotSignedIn("This account asks for a step that we do not offer.", code="unknown_challenge")
        return self._signed_in(answer)

    def answer_challenge(self, email: str, session: str, new_password: str) -> SignedIn:
        """Raises Invalid for a password against the pool's rules, NotSignedIn for a session that is over."""
        name, _, session = session.rpartition(_SEPARATOR)
        user = _decoded(name) if name else email
        try:
            answer = self._call(
                "respond_to_auth_challenge",
                ChallengeName="NEW_PASSWORD_REQUIRED",
                Session=session,
                ChallengeResponses={
                    "USERNAME": user,
                    "NEW_PASSWORD": new_password,
                    **self._secret_hash(user),
                },
            )
        except NotSignedIn:
            raise _session_over() from None
        if answer.get("ChallengeName") is not None:
            raise NotSignedIn("This account asks for a step that we do not offer.", code="unknown_challenge")
        return self._signed_in(answer)

    def refresh(self, refresh_token: str) -> SignedIn:
        """Raises NotSignedIn once the token is revoked or over."""
        name, token = self._unpacked(refresh_token)
        if not token:
            raise _session_over()
        try:
            answer = self._call(
                "initiate_auth",
                AuthFlow="REFRESH_TOKEN_AUTH",
                AuthParameters={"REFRESH_TOKEN": token, **self._secret_hash(name)},
            )
        except NotSignedIn:
            raise _session_over() from None
        return self._signed_in(answer)

    def sign_out(self, refresh_token: str) -> None:
        """Revoke the token and the access tokens it gave."""
        secret = self.settings.cognito_client_secret
        _, token = self._unpacked(refresh_token)
        self._call("revoke_token", Token=token, **({"ClientSecret": secret} if secret else {}))

    def _call(self, operation: str, **parameters: Any) -> Mapping[str, Any]:
        from botocore.exceptions import (  # noqa: PLC0415 - boto3's import takes half a second
            BotoCoreError,
            ClientError,
            ParamValidationError,
        )

        client = _client(self.settings.aws_region, self.settings.aws_endpoint_url)
        try:
            answer: Mapping[str, Any] = getattr(client, operation)(
                ClientId=self.settings.oidc_client_id, **parameters
            )
        except ClientError as error:
            _refuse(str(error.response.get("Error", {}).get("Code")))
        except ParamValidationError:
            raise _wrong() from None
        except BotoCoreError as error:
            logger.warning("issuer out", extra={"operation": operation, "reason": type(error).__name__})
            raise _out() from None
        return answer

    def _secret_hash(self, name: str) -> dict[str, str]:
        secret = self.settings.cognito_client_secret
        if secret is None:
            return {}
        digest = hmac.digest(secret.encode(), (name + self.settings.oidc_client_id).encode(), hashlib.sha256)
        return {"SECRET_HASH": base64.b64encode(digest).decode()}

    def _signed_in(self, answer: Mapping[str, Any]) -> SignedIn:
        result = answer["AuthenticationResult"]
        token = result.get("RefreshToken")
        if token is not None and self.settings.cognito_client_secret is not None:
            token = f"{_user_name(result['AccessToken'])}{_SEPARATOR}{token}"
        return SignedIn(result["AccessToken"], int(result["ExpiresIn"]), token)

    def _packed(self, parameters: Mapping[str, Any], session: str) -> str:
        """The session, and the pool's own name for the person: an alias will not do to answer a challenge."""
        name = parameters.get("USER_ID_FOR_SRP")
        return session if name is None else f"{_encoded(name)}{_SEPARATOR}{session}"

    def _unpacked(self, refresh_token: str) -> tuple[str, str]:
        if self.settings.cognito_client_secret is None:
            return "", refresh_token
        name, _, token = refresh_token.rpartition(_SEPARATOR)
        return _decoded(name), token


def _encoded(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).rstrip(b"=").decode()


def _decoded(name: str) -> str:
    try:
        return base64.urlsafe_b64decode(name + "==").decode()
    except ValueError:
        raise _session_over() from None


def _user_name(access_token: str) -> str:
    """The pool's own name for the person, fit for a cookie; read from what Cognito just answered."""
    payload = access_token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return _encoded(str(claims["username"]))


def _refuse(code: str) -> NoReturn:
    """Cognito's complaint as ours. Its own message stays here: it would tell who has an account."""
    if code in _BUSY:
        raise _out()
    if code in _WRONG:
        raise _wrong()
    if code in {"CodeMismatchException", "ExpiredCodeException"}:
        raise _session_over()
    if code == "PasswordResetRequiredException":
        raise NotSignedIn(
            "Your password has to be reset. Ask an administrator of your team.",
            code="password_reset_required",
        )
    if code == "InvalidPasswordException":
        raise Invalid(
            "The password does not meet the rules: longer, with upper and lower case, digits and symbols.",
            pointer="/newPassword",
            code="weak_password",
        )
    logger.error("issuer refused", extra={"reason": code})
    raise _out()


def _wrong() -> NotSignedIn:
    return NotSignedIn("The e-mail or the password is wrong.", code="wrong_credentials")


def _session_over() -> NotSignedIn:
    return NotSignedIn("Your sign-in has ended. Sign in again.", code="session_over")


def _out() -> Unavailable:
    return Unavailable(
        "Nobody can sign in just now. Try again in a moment.",
        code="sign_in_unavailable",
        retry_after=timedelta(seconds=5),
    )


def _client(region: str, endpoint_url: str | None) -> Any:
    with _making:  # a boto3 session is not safe to share while it makes a client
        return _made(region, endpoint_url)


@cache
def _made(region: str, endpoint_url: str | None) -> Any:
    import boto3  # noqa: PLC0415 - 0.5 s, which only the sign-in should pay
    from botocore import UNSIGNED  # noqa: PLC0415 - as above
    from botocore.config import Config  # noqa: PLC0415 - as above

    config = Config(
        connect_timeout=5,
        read_timeout=5,
        retries={"mode": "standard", "total_max_attempts": 2},
        signature_version=UNSIGNED,  # these operations are for browsers, too; a function needs no grant
    )
    session = boto3.session.Session(region_name=region)
    return session.client("cognito-idp", endpoint_url=endpoint_url, config=config)
