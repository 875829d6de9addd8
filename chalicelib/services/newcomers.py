"""Letting a person in: an operator registers them at a customer that is made with them, or that is there.

One transaction as bevyly_system makes all of it, or nothing. The sign-in (issuer and subject) decides who is who: the
same one again finds what is there, and changes none of it. Nobody is changed here, nor taken out.
"""

import logging
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.orm import Session

from chalicelib.db.queries import newcomers as queries
from chalicelib.db.work import Database
from chalicelib.domain.errors import AppError, Conflict, NotFound
from chalicelib.domain.ids import CustomerId, UserId
from chalicelib.domain.newcomers import Newcomer, NewCustomer, check_subject

logger = logging.getLogger(__name__)

ACTIVE: Final = "active"


@dataclass(frozen=True, slots=True)
class Registered:
    """What is there now."""

    customer_id: CustomerId
    user_id: UserId
    made_customer: bool
    made_user: bool


class _SomebodyWasQuicker(Exception):
    """Undoes the transaction, and with it a customer that was made for nobody."""


@dataclass(frozen=True, slots=True)
class Newcomers:
    database: Database

    @property
    def _issuer(self) -> str:
        return self.database.settings.oidc_issuer

    def look(self, newcomer: Newcomer) -> None:
        """Whether somebody who has no account at the issuer yet could be registered so. Nothing is made.

        Raises as `register` does.
        """
        with self.database.system() as session:
            obstacle = self._obstacle(session, newcomer)
        if obstacle is not None:
            raise obstacle

    def register(self, newcomer: Newcomer, subject: str) -> Registered:
        """Let them in, with the sign-in that `subject` is at our issuer.

        Raises:
            Invalid: the subject is no such thing.
            NotFound: there is no such customer.
            Conflict: the sign-in, the address or the new customer's name is there, and not as it is said now.
        """
        subject = check_subject(subject)
        try:
            return self._tried(newcomer, subject)
        except _SomebodyWasQuicker:
            return self._tried(newcomer, subject)  # now it is seen

    def _tried(self, newcomer: Newcomer, subject: str) -> Registered:
        with self.database.system() as session:
            # In this order: who is in the way may be this very person, registered by somebody else a moment ago.
            obstacle = self._obstacle(session, newcomer)
            there = queries.by_sign_in(session, self._issuer, subject)
            if there is not None:
                _must_agree(there, newcomer)
                return Registered(there.customer_id, there.user_id, made_customer=False, made_user=False)
            if obstacle is not None:
                raise obstacle
            made = self._make(session, newcomer, subject)
        logger.info("a person was let in", extra={"customer_id": made.customer_id, "user_id": made.user_id})
        return made

    def _make(self, session: Session, newcomer: Newcomer, subject: str) -> Registered:
        at = newcomer.customer
        if isinstance(at, NewCustomer):
            customer_id = queries.add_customer(session, at)
            queries.note(session, customer_id, "customer.created", customer_id)
        else:
            customer_id = at
        user_id = queries.add_user(session, customer_id, newcomer, issuer=self._issuer, subject=subject)
        if user_id is None:
            raise _SomebodyWasQuicker
        queries.note(session, customer_id, "user.created", user_id, role=newcomer.role)
        return Registered(customer_id, user_id, made_customer=customer_id != at, made_user=True)

    def _obstacle(self, session: Session, newcomer: Newcomer) -> AppError | None:
        """Why somebody with a new sign-in cannot be registered so: their customer, or their address."""
        wanted = newcomer.customer
        if isinstance(wanted, NewCustomer):
            at = None
            other = queries.customer_called(session, wanted.name)
            if other is not None:
                return Conflict(
                    f"There is a customer {wanted.name!r} already, {other}. For one more person there, say that id "
                    "instead of a name; for another customer, another name.",
                    code="customer_exists",
                )
        else:
            at = wanted
            if not queries.customer_exists(session, wanted):
                return NotFound(f"There is no customer {wanted}.")
        person = queries.by_email(session, self._issuer, at, newcomer.email)
        if person is None:
            return None
        return Conflict(
            f"The e-mail address is that of {person.user_id} at {person.customer_id}, who signs in with another "
            "account, or with none yet. If the account was made anew, docs/runbook.md says how to give it to them; "
            "else say another address.",
            code="address_taken",
        )


def _must_agree(there: Any, newcomer: Newcomer) -> None:
    """Raises Conflict that says what is there and differs."""
    wanted = newcomer.customer
    said: dict[str, tuple[str, str]] = {}
    if isinstance(wanted, NewCustomer):
        said["the customer's name"] = (there.customer_name, wanted.name)
        said["its time zone"] = (there.time_zone, wanted.time_zone)
        said["its plan"] = (there.plan, wanted.plan)
    else:
        said["the customer"] = (there.customer_id, wanted)
    said["the role"] = (there.role, newcomer.role)
    said["the e-mail address"] = (there.email.lower(), newcomer.email)
    said["the name"] = (there.name, newcomer.name)
    said["the status"] = (there.status, ACTIVE)
    differ = [f"{what} is {is_now}, not {now}" for what, (is_now, now) in said.items() if is_now != now]
    if differ:
        raise Conflict(
            f"This account is that of {there.user_id} at {there.customer_id} already: {'; '.join(differ)}. Nothing is "
            "changed. Say it as it is there, the customer by its id; or take another e-mail address for somebody else.",
            code="registered_otherwise",
        )
