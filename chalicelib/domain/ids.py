"""Branded, prefixed, time-sortable identifiers.

`run_` + 26 characters of Crockford base32 holding a UUIDv7, so that they sort by birth and fit the
`varchar(36)` that every table gives them.
"""

import re
from typing import Final, NewType

from uuid_utils import uuid7

CustomerId = NewType("CustomerId", str)
UserId = NewType("UserId", str)
AgentConfigId = NewType("AgentConfigId", str)
RunId = NewType("RunId", str)
ApprovalItemId = NewType("ApprovalItemId", str)
CredentialId = NewType("CredentialId", str)
EventId = NewType("EventId", str)
AccountId = NewType("AccountId", str)
ContactId = NewType("ContactId", str)
SignalId = NewType("SignalId", str)
EmailId = NewType("EmailId", str)
UsageEntryId = NewType("UsageEntryId", str)
FactId = NewType("FactId", str)
AuditEntryId = NewType("AuditEntryId", str)

TenantScope = NewType("TenantScope", str)
"""A customer id that somebody has proved they belong to. Only `Actor.scope` returns one."""

PREFIXES: Final = {
    "CustomerId": "cus",
    "UserId": "usr",
    "AgentConfigId": "agt",
    "RunId": "run",
    "ApprovalItemId": "apr",
    "CredentialId": "crd",
    "EventId": "evt",
    "AccountId": "acc",
    "ContactId": "con",
    "SignalId": "sig",
    "EmailId": "eml",
    "UsageEntryId": "use",
    "FactId": "fct",
    "AuditEntryId": "aud",
}

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH: Final = 26
_SHAPE: Final = re.compile(rf"[a-z]{{3}}_[0-7][{_ALPHABET}]{{{_LENGTH - 1}}}")


def _encode(number: int) -> str:
    digits = []
    for _ in range(_LENGTH):
        number, remainder = divmod(number, 32)
        digits.append(_ALPHABET[remainder])
    return "".join(reversed(digits))


def new_id(kind: str) -> str:
    """A fresh identifier of a kind named in PREFIXES, e.g. ``new_id("RunId")``."""
    return f"{PREFIXES[kind]}_{_encode(uuid7().int)}"


def is_id(kind: str, text: str) -> bool:
    """Whether the text could be an identifier of this kind; says nothing of its existence."""
    return text.startswith(PREFIXES[kind] + "_") and _SHAPE.fullmatch(text) is not None


def new_run_id() -> RunId:
    return RunId(new_id("RunId"))


def new_agent_config_id() -> AgentConfigId:
    return AgentConfigId(new_id("AgentConfigId"))


def new_approval_item_id() -> ApprovalItemId:
    return ApprovalItemId(new_id("ApprovalItemId"))


def new_credential_id() -> CredentialId:
    return CredentialId(new_id("CredentialId"))


def new_usage_entry_id() -> UsageEntryId:
    return UsageEntryId(new_id("UsageEntryId"))
