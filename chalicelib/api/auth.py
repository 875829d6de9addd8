"""Signing in and out, and who one is. The refresh token lives in a cookie that no script can read."""

import hashlib
import ipaddress
import logging
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field
from sqlalchemy import select, text

from chalicelib.api.http import PUBLIC, SIGNED_IN, Context, Out, Reply, Request, route
from chalicelib.api.parsing import In
from chalicelib.db.models.tenant import Customer
from chalicelib.db.work import Work
from chalicelib.domain.access import LONGEST_EMAIL, SIGN_IN_WINDOW, Permission, Role, plausible_email
from chalicelib.domain.errors import AppError, LimitReached, NotPermitted, NotSignedIn
from chalicelib.domain.ids import CustomerId, UserId
from chalicelib.domain.ports import Challenge, SignedIn
from chalicelib.settings import MissingSetting, Settings

logger = logging.getLogger(__name__)

COOKIE: Final = "bevyly_refresh"
COOKIE_LIFE: Final = timedelta(days=30)
PEOPLE_BEHIND_ONE_ADDRESS: Final = 10
"""An address may try this many times as often as an e-mail: an office signs in through one."""

ALLOW: Final = text(
    "SELECT allow_sign_in(:emails, :most, :window) AS email,"
    " allow_sign_in(:addresses, :most_by_address, :window) AS address"
)
FORGET: Final = text("SELECT forget_sign_in(:keys)")


Email = Annotated[str, Field(max_length=LONGEST_EMAIL), AfterValidator(plausible_email)]
Password = Annotated[str, Field(min_length=1, max_length=256, json_schema_extra={"format": "password"})]


class Login(In):
    email: Email
    password: Password = Field(repr=False)


class ChallengeAnswer(In):
    """The first password of one's own, in answer to the challenge that a login got."""

    email: Email
    session: str = Field(min_length=20, max_length=2500, repr=False)  # Cognito's own are up to 2,048
    new_password: Password = Field(repr=False)


class TokenOut(Out):
    access_token: str
    expires_in: int = Field(description="Seconds.")


class ChallengeOut(Out):
    challenge: Literal["new_password"]
    session: str = Field(description="To be sent back with the new password.")


class CustomerOut(Out):
    id: CustomerId
    name: str
    plan: str
    time_zone: str
    undo_window_seconds: int


class MeOut(Out):
    id: UserId
    name: str
    email: str
    role: Role
    permissions: list[Permission]
    customer: CustomerOut


@route(
    "POST",
    "/v1/auth/login",
    needs=PUBLIC("this is how one signs in"),
    summary="Sign in",
    raises=(NotSignedIn, LimitReached),
)
def login(request: Request, context: Context, body: Login) -> Reply[TokenOut | ChallengeOut]:
    """An access token for a quarter of an hour, and a cookie that gets the next ones."""
    _count_try(request, context, body.email)
    answer = context.issuer.sign_in(body.email, body.password)
    _forget_tries(context, body.email)
    if isinstance(answer, Challenge):
        return Reply(ChallengeOut(challenge="new_password", session=answer.session))
    return _signed_in(answer, context.settings)


@route(
    "POST",
    "/v1/auth/challenge",
    needs=PUBLIC("nobody is signed in before the first password is set"),
    summary="Set the first password",
    raises=(NotSignedIn, LimitReached),
)
def challenge(request: Request, context: Context, body: ChallengeAnswer) -> Reply[TokenOut]:
    _count_try(request, context, body.email)
    answer = context.issuer.answer_challenge(body.email, body.session, body.new_password)
    _forget_tries(context, body.email)
    return _signed_in(answer, context.settings)


@route(
    "POST",
    "/v1/auth/refresh",
    needs=PUBLIC("the refresh cookie says who it is"),
    summary="Get the next access token",
    raises=(NotSignedIn, NotPermitted),
)
def refresh(request: Request, context: Context) -> Reply[TokenOut]:
    """By the cookie of a login. The Origin header must be the console's."""
    _need_own_origin(request, context.settings)
    token = request.cookie(COOKIE)
    if not token:
        raise NotSignedIn("You are not signed in.", code="session_over")
    return _signed_in(context.issuer.refresh(token), context.settings)


@route(
    "POST",
    "/v1/auth/logout",
    needs=PUBLIC("whoever has the cookie may end it"),
    summary="Sign out",
    raises=(NotPermitted,),
)
def logout(request: Request, context: Context) -> Reply[None]:
    """Clears the cookie and revokes what it held. The Origin header must be the console's."""
    _need_own_origin(request, context.settings)
    token = request.cookie(COOKIE)
    if token:
        try:
            context.issuer.sign_out(token)
        except AppError as error:
            logger.info("refresh token not revoked", extra={"code": error.code})
    return Reply(None, headers={"Set-Cookie": _cookie("", timedelta(), context.settings)})


@route("GET", "/v1/me", needs=SIGNED_IN("everybody may know who they are"), summary="Who am I")
def me(work: Work) -> MeOut:
    actor = work.actor
    assert actor.user_id is not None
    assert actor.role is not None
    customer = work.session.execute(
        select(
            Customer.id, Customer.name, Customer.plan, Customer.time_zone, Customer.undo_window_seconds
        ).where(Customer.id == actor.scope)
    ).one()
    return MeOut(
        id=actor.user_id,
        name=actor.name,
        email=actor.email,
        role=actor.role,
        permissions=sorted(actor.permissions),
        customer=CustomerOut.model_validate(customer, from_attributes=True),
    )


def _count_try(request: Request, context: Context, email: str) -> None:
    """Count this try before the issuer hears of it. The count stands whatever comes after."""
    most = context.settings.sign_in_attempts_per_15_minutes
    address = request.viewer_address(context.settings.edge_secrets)
    keys: dict[str, Any] = {
        "emails": [_hashed("email", email)],
        "addresses": [_hashed("address", _net(address))],
    }
    with context.database.anonymous() as session:
        allowed = session.execute(
            ALLOW,
            {
                **keys,
                "window": SIGN_IN_WINDOW,
                "most": most,
                "most_by_address": most * PEOPLE_BEHIND_ONE_ADDRESS,
            },
        ).one()
    if not (allowed.email and allowed.address):
        raise LimitReached(
            "Too many tries to sign in. Wait a quarter of an hour.",
            code="too_many_tries",
            retry_after=SIGN_IN_WINDOW,
        )


def _forget_tries(context: Context, email: str) -> None:
    with context.database.anonymous() as session:
        session.execute(FORGET, {"keys": [_hashed("email", email)]})


def _hashed(kind: str, value: str) -> str:
    return hashlib.sha256(f"{kind}:{value}".encode()).hexdigest()


def _net(address: str) -> str:
    """What counts as one address: of IPv6 the /64, which is one household's to choose from."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def _need_own_origin(request: Request, settings: Settings) -> None:
    """A cookie travels with other sites' requests as well; the Origin header tells them apart."""
    if request.headers.get("origin") != settings.public_origin:
        raise NotPermitted("This may be asked for from our own pages only.", code="wrong_origin")


def _signed_in(answer: SignedIn, settings: Settings) -> Reply[Any]:
    token = answer.refresh_token
    return Reply(
        TokenOut(access_token=answer.access_token, expires_in=answer.expires_in),
        headers={} if token is None else {"Set-Cookie": _cookie(token, COOKIE_LIFE, settings)},
    )


def _cookie(value: str, life: timedelta, settings: Settings) -> str:
    if not settings.refresh_cookie_secure and settings.stage != "local":
        raise MissingSetting("REFRESH_COOKIE_SECURE can be false only where STAGE is local.")
    parts = [
        f"{COOKIE}={value}",
        f"Path={settings.api_prefix}/v1/auth",
        f"Max-Age={int(life.total_seconds())}",
        "HttpOnly",
        "SameSite=Strict",
        *(["Secure"] if settings.refresh_cookie_secure else []),
    ]
    return "; ".join(parts)
