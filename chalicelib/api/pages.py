"""Keyset paging: a cursor holds the last row's sort key, so that page 500 costs what page 1 does.

A cursor is opaque, not secret: it is read back with the key's own types, and queries hold the tenant, so a
forged one can at worst begin elsewhere in the list.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Final, Generic, TypeVar, get_args

from pydantic import Field, TypeAdapter, ValidationError

from chalicelib.api.http import Page
from chalicelib.api.parsing import INT32, In, Limit, check_text, document_of, is_big
from chalicelib.domain.errors import Invalid

Key = TypeVar("Key", bound=tuple[Any, ...])
Row = TypeVar("Row")
Item = TypeVar("Item")

COUNTED: Final = 10_000
"""A list's total is exact up to here."""


class Listing(In):
    """The query of every list; its own filters are added in a subclass."""

    limit: Limit = 50
    cursor: str | None = Field(None, max_length=1000, description="pagination.nextCursor of the page before.")


class Keyset(Generic[Key]):
    """How one list is sorted: `Keyset("runs", tuple[Instant, RunId])`.

    The name tells cursors of different lists or orders apart. Types are pydantic's, an `int` as in `In`.
    """

    def __init__(self, name: str, key: type[Key]) -> None:
        self.name = name
        self._key = key

    def read(self, cursor: str | None) -> Key | None:
        """The key after which to go on; None at the beginning. Raises Invalid for a foreign cursor."""
        if cursor is None:
            return None
        try:
            padded = cursor + "=" * (-len(cursor) % 4)
            name, values = document_of(base64.b64decode(padded, altchars=b"-_", validate=True))
            key = self._adapter.validate_python(values, strict=False)
        except (Invalid, ValidationError, ValueError, TypeError, binascii.Error):
            raise _foreign() from None
        if name != self.name or not all(map(_is_storable, key, get_args(self._key))):
            raise _foreign()
        return key

    def write(self, key: Key) -> str:
        document = self._envelope.dump_json((self.name, key))
        return base64.urlsafe_b64encode(document).rstrip(b"=").decode()

    def page(
        self,
        rows: Sequence[Row],
        *,
        limit: int,
        key: Callable[[Row], Key],
        item: Callable[[Row], Item],
        total: int,
    ) -> Page[Item]:
        """Of `limit + 1` rows asked for, those to show, and a cursor if there are more.

        `total` is counted up to COUNTED + 1; more than COUNTED shows as capped.
        """
        shown = rows[:limit]
        return Page(
            items=[item(row) for row in shown],
            limit=limit,
            total=min(total, COUNTED),
            next_cursor=self.write(key(shown[-1])) if len(rows) > limit else None,
            total_is_capped=total > COUNTED,
        )

    @cached_property
    def _adapter(self) -> TypeAdapter[Key]:
        return TypeAdapter(self._key)

    @cached_property
    def _envelope(self) -> TypeAdapter[tuple[str, Key]]:
        return TypeAdapter(tuple[str, self._key])  # type: ignore[name-defined]  # built while running


def _is_storable(value: Any, kind: Any) -> bool:
    if type(value) is int:
        return is_big(kind) or abs(value) <= INT32
    if isinstance(value, str):
        try:
            check_text(value, pointer="")
        except Invalid:
            return False
    return True


def _foreign() -> Invalid:
    return Invalid("The cursor does not belong to this list. Begin again without one.", pointer="cursor")
