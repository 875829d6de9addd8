"""The life of an approval item.

pending ──▶ approved | edited | rejected      by a person, in bulk, or by the tenant's rule
pending ──▶ expired | superseded              by the sweep; by a newer item for the same thing
approved | edited | rejected ──undo──▶ pending        before its effect
approved | edited ──at effect, stale──▶ superseded    with the reason
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final


class ItemStatus(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    EDITED = "edited"
    REJECTED = "rejected"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"


S = ItemStatus
NEXT: Mapping[ItemStatus, frozenset[ItemStatus]] = MappingProxyType(
    {
        S.PENDING: frozenset({S.APPROVED, S.EDITED, S.REJECTED, S.EXPIRED, S.SUPERSEDED}),
        S.APPROVED: frozenset({S.PENDING, S.SUPERSEDED}),
        S.EDITED: frozenset({S.PENDING, S.SUPERSEDED}),
        S.REJECTED: frozenset({S.PENDING}),
        S.EXPIRED: frozenset(),
        S.SUPERSEDED: frozenset(),
    }
)


class ItemType(StrEnum):
    EMAIL_DRAFT = "email_draft"
    LEAD_IMPORT = "lead_import"
    ENRICHMENT = "enrichment"
    CONTACT_IMPORT = "contact_import"
    SCORE_UPDATE = "score_update"
    REPLY_TRIAGE = "reply_triage"


class Priority(StrEnum):
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"


class Decision(StrEnum):
    """What a reviewer says; an approval with other content becomes `edited`."""

    APPROVE = "approve"
    REJECT = "reject"


APPLY_FAILURES: Final = 5
"""After so many failed effects an item goes back in front of a person."""
UNDO_RESTORES: Final = timedelta(hours=1)
"""An undone item has at least this long to live."""
BULK_MOST: Final = 100


def content_hash(content: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of the content in one canonical form."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
