"""Secrets as values, and what the inside asks of whoever keeps them.

A sealed text is an envelope: the secret under a data key of its own, and that data key wrapped by a key that never
leaves its keeper (KMS, or a file on one machine). Both are bound to the row that the envelope is kept in.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NoReturn, Protocol

LEAST_FOR_LAST_FOUR: Final = 12
"""Characters a key has at least before four of them are shown."""


class Secret:
    """A text that shows nowhere: not printed, not formatted, not pickled. `reveal` is the only way to it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, to be passed on at once and kept in no variable."""
        return self._text

    @property
    def is_sendable(self) -> bool:
        """Whether a header can hold it: one word of printable ASCII."""
        return bool(self._text) and all("!" <= character <= "~" for character in self._text)

    @property
    def last_four(self) -> str | None:
        """What may be shown of it; None of one so short that this would be most of it."""
        return self._text[-4:] if len(self._text) >= LEAST_FOR_LAST_FOUR else None

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    __hash__ = None  # type: ignore[assignment]  # nothing is looked up by a secret

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret is not pickled or copied.")


@dataclass(frozen=True, slots=True)
class Place:
    """The row that an envelope belongs to. In any other it does not open."""

    customer_id: str
    provider: str
    credential_id: str

    def as_context(self) -> Mapping[str, str]:
        """For KMS, which writes it to its log: ids only."""
        return {"customer": self.customer_id, "provider": self.provider, "credential": self.credential_id}


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A data key as it may be stored."""

    key_id: str  # of the key that wraps it
    wrapped: bytes


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key in the clear, for as long as a seal takes."""

    plain: bytes = field(repr=False)  # 32 bytes
    stored: WrappedKey


class KeyWrapper(Protocol):
    """Whoever holds the wrapping keys.

    Every method raises Unavailable when it cannot be asked, and SealBroken for a key that is not its own, was
    changed, or belongs to another place.
    """

    def current(self) -> str:
        """The id of the key that wraps what is sealed from now on."""

    def new_data_key(self, place: Place) -> DataKey: ...

    def unwrap(self, stored: WrappedKey, place: Place) -> bytes: ...

    def rewrap(self, stored: WrappedKey, place: Place) -> WrappedKey:
        """The same data key under the current key."""


class Vault(Protocol):
    """Seals secrets. Raises as `KeyWrapper`."""

    def current(self) -> str: ...

    def seal(self, secret: Secret, place: Place) -> str: ...

    def open(self, sealed: str, place: Place) -> Secret: ...

    def rewrap(self, sealed: str, place: Place) -> str:
        """The same envelope, its data key under the current key; unchanged where it is that already."""


class SealBroken(Exception):
    """An envelope that does not open: changed, of another row, or under a key that is gone."""
