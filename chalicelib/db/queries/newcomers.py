"""Statements on customers and people as bevyly_system: nobody can enter a tenant that is not there yet."""

from typing import Any

from sqlalchemy import func, insert, or_, select
from sqlalchemy.dialects.postgresql import insert as insert_or_not
from sqlalchemy.orm import Session

from chalicelib.db.models.edge import AuditEntry
from chalicelib.db.models.tenant import Customer, User
from chalicelib.domain.ids import CustomerId, UserId, new_id
from chalicelib.domain.newcomers import Newcomer, NewCustomer

_PERSON = (
    User.id.label("user_id"),
    User.email,
    User.name,
    User.role,
    User.status,
    Customer.id.label("customer_id"),
    Customer.name.label("customer_name"),
    Customer.time_zone,
    Customer.plan,
)


def by_sign_in(session: Session, issuer: str, subject: str) -> Any | None:
    """Whom a sign-in belongs to, and their customer."""
    return session.execute(
        select(*_PERSON)
        .join(Customer, Customer.id == User.customer_id)
        .where(User.issuer == issuer, User.subject == subject)
    ).one_or_none()


def by_email(session: Session, issuer: str, customer_id: CustomerId | None, email: str) -> Any | None:
    """Somebody with this address: at this customer, or anywhere with a sign-in at this issuer."""
    return session.execute(
        select(*_PERSON)
        .join(Customer, Customer.id == User.customer_id)
        .where(func.lower(User.email) == email)
        .where(or_(User.customer_id == customer_id, User.issuer == issuer))
        .order_by(User.id)
        .limit(1)
    ).one_or_none()


def customer_exists(session: Session, customer_id: CustomerId) -> bool:
    return session.scalar(select(Customer.id).where(Customer.id == customer_id)) is not None


def customer_called(session: Session, name: str) -> CustomerId | None:
    """The oldest of this name, in whatever case."""
    found = session.scalar(
        select(Customer.id)
        .where(func.lower(Customer.name) == func.lower(name))
        .order_by(Customer.id)
        .limit(1)
    )
    return None if found is None else CustomerId(found)


def add_customer(session: Session, new: NewCustomer) -> CustomerId:
    customer_id = CustomerId(new_id("CustomerId"))
    session.execute(
        insert(Customer).values(id=customer_id, name=new.name, time_zone=new.time_zone, plan=new.plan)
    )
    return customer_id


def add_user(
    session: Session, customer_id: CustomerId, newcomer: Newcomer, *, issuer: str, subject: str
) -> UserId | None:
    """None where the sign-in, or the address at this customer, is somebody's already. It waits for a rival's commit."""
    found = session.scalar(
        insert_or_not(User)
        .values(
            id=new_id("UserId"),
            customer_id=customer_id,
            issuer=issuer,
            subject=subject,
            email=newcomer.email,
            name=newcomer.name,
            role=newcomer.role,
            status="active",
        )
        .on_conflict_do_nothing()
        .returning(User.id)
    )
    return None if found is None else UserId(found)


def note(session: Session, customer_id: CustomerId, action: str, target_id: str, **details: str) -> None:
    """An audit entry of what an operator did. Ids and field names only."""
    session.execute(
        insert(AuditEntry).values(
            id=new_id("AuditEntryId"),
            customer_id=customer_id,
            action=action,
            target_id=target_id,
            details={"by": "operator", **details},
        )
    )
