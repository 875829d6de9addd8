"""Who is let in: a person and the customer they belong to, as an operator says them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from chalicelib.domain.access import LONGEST_EMAIL, Role, plausible_email
from chalicelib.domain.errors import Invalid
from chalicelib.domain.ids import CustomerId, is_id
from chalicelib.domain.integrations import Plan
from chalicelib.domain.schedules import check_zone

LONGEST_NAME: Final = 255
LONGEST_SUBJECT: Final = 255
LONGEST_ZONE: Final = 50
DEFAULT_ZONE: Final = "UTC"
_SAID: Final = frozenset({"email", "name", "role", "customerId", "customer", "subject"})
_SAID_OF_A_CUSTOMER: Final = frozenset({"name", "timeZone", "plan"})

Read = TypeVar("Read")


def check_subject(said: object) -> str:
    """Who somebody is at the issuer. Raises Invalid."""
    if not isinstance(said, str) or not said.isprintable() or not 0 < len(said) <= LONGEST_SUBJECT:
        raise Invalid(f"The subject at the issuer is a text of 1 to {LONGEST_SUBJECT} characters.")
    return said


@dataclass(frozen=True, slots=True)
class NewCustomer:
    """One that is to be made."""

    name: str
    time_zone: str
    plan: Plan


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A person who is to be let in."""

    email: str  # lower case
    name: str
    role: Role
    customer: NewCustomer | CustomerId

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "Newcomer":
        """From `email`, `name`, `role`, and `customerId` or `customer` with `name`, `timeZone`, `plan`.

        Raises:
            Invalid: with a sentence for each thing that is wrong.
        """
        wrong: list[str] = []
        if unknown := said.keys() - _SAID:
            wrong.append(f"Nobody knows what {', '.join(sorted(unknown))} is.")
        email = _tried(lambda: _email(said.get("email")), wrong)
        name = _tried(lambda: _name(said.get("name"), "person"), wrong)
        role = _tried(lambda: _role(said.get("role")), wrong)
        customer = _tried(lambda: _customer(said.get("customerId"), said.get("customer")), wrong)
        if wrong or email is None or name is None or role is None or customer is None:
            raise Invalid(" ".join(wrong))
        return cls(email, name, role, customer)


def _tried(read: Callable[[], Read], wrong: list[str]) -> Read | None:
    try:
        return read()
    except Invalid as invalid:
        wrong.append(invalid.message)
        return None


def _email(said: object) -> str:
    if not said:
        raise Invalid("The person's e-mail address is missing.")
    try:
        return plausible_email(str(said).strip())
    except ValueError:
        raise Invalid(
            f"{said!r} is no e-mail address: one @, no spaces, {LONGEST_EMAIL} characters at most."
        ) from None


def _name(said: object, whose: str) -> str:
    name = str(said or "").strip()
    if not name:
        raise Invalid(f"The {whose}'s name is missing.")
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise Invalid(f"The {whose}'s name is one line of {LONGEST_NAME} characters at most.")
    return name


def _role(said: object) -> Role:
    if not said:
        raise Invalid(f"The role is missing: {_any_of(Role)}.")
    try:
        return Role(str(said))
    except ValueError:
        raise Invalid(f"There is no role {said!r}. Roles are {_any_of(Role)}.") from None


def _customer(customer_id: object, new: object) -> NewCustomer | CustomerId:
    if (customer_id is None) == (new is None):
        raise Invalid("Say one customer: the name of a new one, or the id of one that is there.")
    if customer_id is not None:
        if not isinstance(customer_id, str) or not is_id("CustomerId", customer_id):
            raise Invalid(
                f"{customer_id!r} is no customer's id. One looks like cus_01k00000000000000000000000."
            )
        return CustomerId(customer_id)
    if not isinstance(new, Mapping) or new.keys() - _SAID_OF_A_CUSTOMER:
        raise Invalid(f"A new customer has {', '.join(sorted(_SAID_OF_A_CUSTOMER))}, and nothing else.")
    wrong: list[str] = []
    name = _tried(lambda: _name(new.get("name"), "customer"), wrong)
    zone = _tried(lambda: _zone(str(new.get("timeZone") or DEFAULT_ZONE)), wrong)
    plan = _tried(lambda: _plan(str(new.get("plan") or Plan.STARTER)), wrong)
    if name is None or zone is None or plan is None:
        raise Invalid(" ".join(wrong))
    return NewCustomer(name, zone, plan)


def _zone(said: str) -> str:
    zone = check_zone(said).key
    if len(zone) > LONGEST_ZONE:
        raise Invalid(f"A time zone's name has {LONGEST_ZONE} characters at most.")
    return zone


def _plan(said: str) -> Plan:
    try:
        return Plan(said)
    except ValueError:
        raise Invalid(f"There is no plan {said!r}. Plans are {_any_of(Plan)}.") from None


def _any_of(known: type[Role] | type[Plan]) -> str:
    return ", ".join(each.value for each in known)
