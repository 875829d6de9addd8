"""Envelopes: AES-256-GCM under a data key of the envelope's own, the data key wrapped beside it.

`v1.<key id>.<wrapped data key>.<nonce>.<ciphertext and tag>`, the last three in base64url without padding. The
additional data are the version and the row (customer, provider, id). The wrapped key is not among them: rotation
replaces it alone, and its own wrapping is bound to the same row. Each envelope has a new data key and a random
nonce, so no pair of them is used twice. The cryptography is imported with the first use.
"""

import json
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from secrets import token_bytes
from threading import Lock
from typing import Final, Protocol

from chalicelib.domain.secrets import KeyWrapper, Place, SealBroken, Secret, WrappedKey

VERSION: Final = "v1"
NONCE: Final = 12
MOST_WARM: Final = 256
LONGEST_WARM: Final = 300.0
"""Seconds that an unwrapped data key serves before its keeper is asked again."""

_KEY_ID: Final = re.compile(r"[A-Za-z0-9:/_-]{1,256}")


@dataclass(frozen=True, slots=True)
class Envelope:
    """An envelope, taken apart."""

    key: WrappedKey
    nonce: bytes
    ciphertext: bytes

    @classmethod
    def of(cls, text: str) -> "Envelope":
        """Raises SealBroken for a text that is none."""
        match text.split("."):
            case [version, key_id, *parts] if version == VERSION and _KEY_ID.fullmatch(key_id):
                read = [_bytes(part) for part in parts]
                if len(read) == 3 and len(read[1]) == NONCE:  # noqa: PLR2004 - wrapped key, nonce, ciphertext
                    return cls(WrappedKey(key_id, read[0]), read[1], read[2])
        raise SealBroken("no envelope of ours")

    def __str__(self) -> str:
        parts = (_text(part) for part in (self.key.wrapped, self.nonce, self.ciphertext))
        return ".".join((VERSION, self.key.key_id, *parts))


@dataclass(slots=True)
class Envelopes:
    """Implements Vault. Safe on any thread."""

    keys: KeyWrapper
    clock: Callable[[], float] = time.monotonic
    _warm: "OrderedDict[tuple[str, bytes, bytes], tuple[float, Cipher]]" = field(
        default_factory=OrderedDict, init=False, repr=False
    )
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

    def current(self) -> str:
        return self.keys.current()

    def seal(self, secret: Secret, place: Place) -> str:
        key = self.keys.new_data_key(place)
        nonce = token_bytes(NONCE)
        ciphertext = (
            _cryptography()
            .cipher(key.plain)
            .encrypt(nonce, json.dumps({"apiKey": secret.reveal()}).encode(), _bound_to(place))
        )
        return str(Envelope(key.stored, nonce, ciphertext))

    def open(self, sealed: str, place: Place) -> Secret:
        envelope = Envelope.of(sealed)
        bound = _bound_to(place)
        secret = _opened(envelope, self._cipher(envelope.key, bound, place), bound)
        if secret is None:
            raise SealBroken("changed, or of another row")  # from here: no frame holds a key
        return secret

    def rewrap(self, sealed: str, place: Place) -> str:
        envelope = Envelope.of(sealed)
        if envelope.key.key_id == self.keys.current():
            return sealed
        return str(Envelope(self.keys.rewrap(envelope.key, place), envelope.nonce, envelope.ciphertext))

    def _cipher(self, stored: WrappedKey, bound: bytes, place: Place) -> "Cipher":
        """Under the envelope's data key, unwrapped now or not long ago for the same row."""
        name = (stored.key_id, stored.wrapped, bound)
        with self._lock:
            known = self._warm.get(name)
            if known is not None and self.clock() - known[0] < LONGEST_WARM:
                self._warm.move_to_end(name)
                return known[1]
        cipher = _cryptography().cipher(self.keys.unwrap(stored, place))
        with self._lock:
            self._warm[name] = (self.clock(), cipher)
            self._warm.move_to_end(name)
            while len(self._warm) > MOST_WARM:
                self._warm.popitem(last=False)
        return cipher


class Cipher(Protocol):
    """AES-256-GCM under one key, which it does not show."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes: ...
    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class _Cryptography:
    cipher: Callable[[bytes], Cipher]
    refusal: type[Exception]


@cache
def _cryptography() -> _Cryptography:
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - see the module
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - see the module

    return _Cryptography(AESGCM, InvalidTag)


def _opened(envelope: Envelope, cipher: Cipher, bound: bytes) -> Secret | None:
    try:
        return _read(Secret(cipher.decrypt(envelope.nonce, envelope.ciphertext, bound).decode()))
    except (_cryptography().refusal, ValueError):
        return None


def _read(clear: Secret) -> Secret | None:
    match json.loads(clear.reveal()):
        case {"apiKey": str(key)}:
            return Secret(key)
    return None


def _bound_to(place: Place) -> bytes:
    """No id holds a NUL, so no two places read the same."""
    return f"{VERSION}\0{place.customer_id}\0{place.provider}\0{place.credential_id}".encode()


def _text(part: bytes) -> str:
    return urlsafe_b64encode(part).decode().rstrip("=")


def _bytes(part: str) -> bytes:
    try:
        read = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (NotBase64, ValueError):
        read = b""
    if not read or _text(read) != part:  # the only spelling counts
        raise SealBroken("no envelope of ours")
    return read
