"""`make person`: somebody's account at the stage's pool, and their place at a customer. Started again, it goes on.

What is wrong is told before anything is made: here by the function's own code, then by the function, which looks before
there is an account. Cognito mails the first password; nobody here ever sees one.
"""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from botocore.exceptions import ClientError

from chalicelib.domain.errors import Invalid
from chalicelib.domain.newcomers import Newcomer
from infra.deploy.bucket import Bucket
from infra.deploy.cloud import Cloud, DeployError, code_of
from infra.deploy.existing import function
from infra.deploy.given import Given
from infra.deploy.invoking import invoke
from infra.deploy.stacks import Stacks
from infra.rendering import template

FUNCTION: Final = "add_person"
NEVER_SIGNED_IN: Final = "FORCE_CHANGE_PASSWORD"
SIGNED_IN: Final = "CONFIRMED"
PASSWORD_DAYS: Final = int(
    template("identity")["Resources"]["Pool"]["Properties"]["Policies"]["PasswordPolicy"][
        "TemporaryPasswordValidityDays"
    ]
)
VARIABLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "PERSON_EMAIL": "EMAIL",
        "PERSON_NAME": "NAME",
        "PERSON_ROLE": "ROLE",
        "PERSON_CUSTOMER": "CUSTOMER",
        "PERSON_CUSTOMER_NAME": "CUSTOMER_NAME",
        "PERSON_TIME_ZONE": "TIME_ZONE",
        "PERSON_PLAN": "PLAN",
        "PERSON_RESEND": "RESEND",
    }
)
"""Where the Makefile puts what is said of a person, so that no shell reads it; and what an operator calls it."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """What an operator wants."""

    newcomer: Newcomer
    event: Mapping[str, Any]  # the same for the function
    resend: bool

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Asked":
        """Raises DeployError with a sentence for each thing that is wrong."""
        said = {ours: environ.get(name, "").strip() for name, ours in VARIABLES.items()}
        of_a_new_one = {
            "name": said["CUSTOMER_NAME"],
            "timeZone": said["TIME_ZONE"],
            "plan": said["PLAN"],
        }
        event = {
            "email": said["EMAIL"],
            "name": said["NAME"],
            "role": said["ROLE"],
            **({"customerId": said["CUSTOMER"]} if said["CUSTOMER"] else {}),
            **({"customer": of_a_new_one} if any(of_a_new_one.values()) else {}),
        }
        wrong = []
        newcomer = None
        try:
            newcomer = Newcomer.of(event)
        except Invalid as invalid:
            wrong.append(invalid.message)
        if said["RESEND"] not in {"", "yes"}:
            wrong.append("RESEND is yes, or is not said.")
        if wrong or newcomer is None:
            raise DeployError(
                f"{' '.join(wrong)} Nothing has been done. "
                'make person STAGE=… EMAIL=… NAME="…" ROLE=ADMIN, and CUSTOMER_NAME="…" [TIME_ZONE=Europe/Berlin] '
                "[PLAN=starter] or CUSTOMER=cus_…"
            )
        return cls(newcomer, event, said["RESEND"] == "yes")


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody's at the pool."""

    subject: str
    status: str
    enabled: bool

    @classmethod
    def of(cls, said: Mapping[str, Any], attributes: str) -> "Account":
        """As Cognito says it; it has two names for the attributes."""
        (subject,) = [each["Value"] for each in said[attributes] if each["Name"] == "sub"]
        return cls(subject, said["UserStatus"], said.get("Enabled", True))


@dataclass(frozen=True, slots=True)
class Pool:
    """The stage's people at Cognito."""

    cloud: Cloud
    id: str

    def find(self, email: str) -> Account | None:
        try:
            said = self._cognito.admin_get_user(UserPoolId=self.id, Username=email)
        except ClientError as error:
            if code_of(error) == "UserNotFoundException":
                return None
            raise
        return Account.of(said, "UserAttributes")

    def invite(self, email: str) -> Account:
        """Make an account; Cognito mails its first password. One that somebody made meanwhile is taken."""
        try:
            said = self._cognito.admin_create_user(
                UserPoolId=self.id,
                Username=email,
                UserAttributes=[
                    {"Name": "email", "Value": email},
                    {"Name": "email_verified", "Value": "true"},
                ],
                DesiredDeliveryMediums=["EMAIL"],
            )
        except ClientError as error:
            if code_of(error) != "UsernameExistsException":
                raise
            found = self.find(email)
            if found is None:
                raise
            return found
        return Account.of(said["User"], "Attributes")

    def invite_again(self, email: str) -> None:
        """With another first password; the one before no longer counts."""
        self._cognito.admin_create_user(
            UserPoolId=self.id, Username=email, MessageAction="RESEND", DesiredDeliveryMediums=["EMAIL"]
        )

    @property
    def _cognito(self) -> Any:
        return self.cloud.client("cognito-idp")


def add_person(stage: str, environ: Mapping[str, str], tell: Tell = print) -> None:
    """Make what is missing of a person, and tell what is there then.

    Args:
        stage: that has been deployed.
        environ: has what is said of the person, by the names in VARIABLES.
        tell: gets a line for each thing.

    Raises:
        DeployError: something is wrong, with what to do. Whatever was made stays and is found again.
    """
    asked = Asked.of(environ)
    cloud = Cloud(stage)
    for each in Given.read(stage).out_of_place(cloud):
        raise DeployError(each)
    outputs = Stacks(cloud, Bucket(cloud)).outputs([cloud.stack_name(name) for name in ("identity", "edge")])
    name = f"{cloud.functions_prefix}-{FUNCTION}"
    if not {"PoolId", "PublicOrigin"} <= outputs.keys() or function(cloud, name) is None:
        raise DeployError(
            f"There is no {name} yet, or no pool. `make deploy STAGE={stage}` first. Nothing has been done."
        )
    pool, email = Pool(cloud, outputs["PoolId"]), asked.newcomer.email
    _say(tell, "person", f"{stage}, account {cloud.account}, {cloud.region}")
    account = pool.find(email)
    invited = False
    if account is None:
        _answer(cloud, name, asked.event)  # it only looks
        account, invited = pool.invite(email), True
        _say(tell, "account", f"{account.subject} made at the pool, and its first password mailed to {email}")
    else:
        if asked.resend and account.status != NEVER_SIGNED_IN:
            raise DeployError(
                f"RESEND=yes is for somebody who has never signed in; this account is {account.status}. Nothing has "
                "been done. Start it again without."
            )
        _say(tell, "account", f"{account.subject} is at the pool already")
    there = _answer(cloud, name, {**asked.event, "subject": account.subject})
    if asked.resend and not invited:
        pool.invite_again(email)
        invited = True
        _say(tell, "account", f"another first password is mailed to {email}")
    _say(tell, "customer", f"{there['customerId']} {_how_long(there['madeCustomer'])}")
    person = f"{asked.newcomer.name}, {asked.newcomer.role}"
    _say(tell, "person", f"{there['userId']} {_how_long(there['madeUser'])}: {person}")
    origin = outputs["PublicOrigin"]
    how = how_to_sign_in(account, invited=invited, email=email, origin=origin, pool=pool.id)
    _say(tell, "sign-in", how)


def _answer(cloud: Cloud, name: str, event: Mapping[str, Any]) -> Mapping[str, Any]:
    said: Mapping[str, Any] = invoke(cloud, name, event)
    refused = said.get("refused")
    if refused is not None:
        raise DeployError(str(refused["message"]))
    return said


def _how_long(made: bool) -> str:  # noqa: FBT001 - of two words one
    return "is made" if made else "was there"


def how_to_sign_in(account: Account, *, invited: bool, email: str, origin: str, pool: str) -> str:
    if not account.enabled:
        return (
            "nobody can: the account is disabled at the pool. "
            f"`aws cognito-idp admin-enable-user --user-pool-id {pool} --username {shlex.quote(email)}`"
        )
    if account.status == SIGNED_IN:
        return f"at {origin} with {email} and the password they have"
    if account.status != NEVER_SIGNED_IN:
        return f"at {origin} with {email}; Cognito calls the account {account.status}"
    since = "" if invited else " from when it was sent"
    return (
        f"at {origin} with {email} and the password in Cognito's e-mail, which lasts {PASSWORD_DAYS} days{since}; they "
        "choose their own then. RESEND=yes mails another"
    )


def _say(tell: Tell, what: str, line: str) -> None:
    tell(f"{what:<14} {line}")
