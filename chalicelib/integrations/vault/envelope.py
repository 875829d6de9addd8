"""Envelopes: AES-256-GCM under a data key of the envelope's own, the data key wrapped beside it.

`v1.<key id>.<wrapped data key>.<nonce>.<ciphertext and tag>`, the last three in base64url without padding. The
additional data are the version and the row (customer, provider, id). The wrapped key is not among them: rotation
replaces it alone, and its own wrapping is bound to the same row. Each envelope has a new data key and a random
nonce, so no pair of them is used twice. The cryptography is imported with the first use.
"""

import hashlib
import json
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from secrets import token_bytes
from threading import Lock
from typing import Final

from chalicelib.domain.secrets import KeyWrapper, Place, SealBroken, Secret, WrappedKey

VERSION: Final = "v1"
NONCE: Final = 12
MOST_CACHED: Final = 256
LONGEST_CACHED: Final = 300.0
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
    _cached: "OrderedDict[bytes, tuple[float, bytes]]" = field(
        default_factory=OrderedDict, init=False, repr=False
    )
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

    def current(self) -> str:
        return self.keys.current()

    def seal(self, secret: Secret, place: Place) -> str:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - see the module

        key = self.keys.new_data_key(place)
        nonce = token_bytes(NONCE)
        ciphertext = AESGCM(key.plain).encrypt(
            nonce, json.dumps({"apiKey": secret.reveal()}).encode(), _bound_to(place)
        )
        return str(Envelope(key.stored, nonce, ciphertext))

    def open(self, sealed: str, place: Place) -> Secret:
        envelope = Envelope.of(sealed)
        secret = _opened(envelope, self._data_key(envelope.key, place), place)
        if secret is None:
            raise SealBroken("changed, or of another row")  # from here: no frame holds a key
        return secret

    def rewrap(self, sealed: str, place: Place) -> str:
        envelope = Envelope.of(sealed)
        if envelope.key.key_id == self.keys.current():
            return sealed
        return str(Envelope(self.keys.rewrap(envelope.key, place), envelope.nonce, envelope.ciphertext))

    def _data_key(self, stored: WrappedKey, place: Place) -> "_Plain":
        name = hashlib.sha256(b"\0".join((stored.key_id.encode(), _bound_to(place), stored.wrapped))).digest()
        with self._lock:
            since, known = self._cached.get(name, (0.0, b""))
            if known and self.clock() - since < LONGEST_CACHED:
                self._cached.move_to_end(name)
                return _Plain(known)
            self._cached.pop(name, None)
        plain = _Plain(self.keys.unwrap(stored, place))
        with self._lock:
            self._cached[name] = (self.clock(), plain.key)
            while len(self._cached) > MOST_CACHED:
                self._cached.popitem(last=False)
        return plain


@dataclass(frozen=True, slots=True)
class _Plain:
    key: bytes = field(repr=False)


def _opened(envelope: Envelope, data_key: _Plain, place: Place) -> Secret | None:
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - see the module
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - see the module

    try:
        cipher = AESGCM(data_key.key)
        return _read(Secret(cipher.decrypt(envelope.nonce, envelope.ciphertext, _bound_to(place)).decode()))
    except (InvalidTag, ValueError):
        return None


def _read(clear: Secret) -> Secret | None:
    match json.loads(clear.reveal()):
        case {"apiKey": str(key)}:
            return Secret(key)
    return None


def _bound_to(place: Place) -> bytes:
    return json.dumps(
        [VERSION, place.customer_id, place.provider, place.credential_id], separators=(",", ":")
    ).encode()


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
