"""Wrapping keys in a file, for one machine: `{"current": id, "keys": {id: base64}}`, mode 0600.

The file is made with the first seal and never overwritten in place. Older keys stay in it, so that envelopes under
them open until they are re-wrapped, and so do backups of the database.
"""

import json
import os
import stat
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_bytes, token_hex
from threading import Lock
from typing import Final

from chalicelib.domain.errors import Unavailable
from chalicelib.domain.secrets import DataKey, Place, SealBroken, WrappedKey

KEY: Final = 32
NONCE: Final = 12
_PREFIX: Final = "file:"


@dataclass(frozen=True, slots=True)
class _Keys:
    current: str
    by_id: Mapping[str, bytes] = field(repr=False)


@dataclass(slots=True)
class KeyFile:
    """Implements KeyWrapper. Sees what another process adds to the file."""

    path: Path
    _known: tuple[tuple[int, ...], _Keys] | None = field(default=None, init=False, repr=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

    def current(self) -> str:
        return self._read_or_make().current

    def new_data_key(self, place: Place) -> DataKey:
        keys = self._read_or_make()
        plain = token_bytes(KEY)
        return DataKey(plain, _wrap(keys, plain, place))

    def unwrap(self, stored: WrappedKey, place: Place) -> bytes:
        plain = _unwrap(self._read(), stored, place)
        if plain is None:
            raise SealBroken("under a key that is not in the key file, changed, or of another row")
        return plain

    def rewrap(self, stored: WrappedKey, place: Place) -> WrappedKey:
        return _wrap(self._read(), self.unwrap(stored, place), place)

    def add_key(self) -> str:
        """Make a new key the current one, and keep the others. Its id."""
        with self._lock:
            self._read_or_make_unlocked()
            keys = self._load()
            new = _new_id()
            self._replace(_Keys(new, {**keys.by_id, new: token_bytes(KEY)}))
        return new

    def _read(self) -> _Keys:
        with self._lock:
            return self._load()

    def _read_or_make(self) -> _Keys:
        with self._lock:
            return self._read_or_make_unlocked()

    def _read_or_make_unlocked(self) -> _Keys:
        if not self.path.exists():
            key_id = _new_id()
            unfinished = self._write(_Keys(key_id, {key_id: token_bytes(KEY)}))
            try:
                with suppress(FileExistsError):  # somebody made one meanwhile: theirs counts
                    os.link(unfinished, self.path)
            finally:
                unfinished.unlink()
        return self._load()

    def _load(self) -> _Keys:
        """What the file says now; it is read again when it was replaced."""
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            raise _out("The key file cannot be read. It is needed to open the keys sealed with it.") from None
        with os.fdopen(handle, "rb") as file:
            told = os.fstat(handle)
            if not stat.S_ISREG(told.st_mode) or told.st_mode & 0o077 or told.st_uid != os.geteuid():
                raise _out(
                    "The key file has to be a file of this user's with mode 0600, and nobody else's to read."
                )
            version = (told.st_ino, told.st_mtime_ns, told.st_size)
            if self._known is not None and self._known[0] == version:
                return self._known[1]
            keys = _parsed(file.read())
        if keys is None:
            raise _out("The key file is not one of ours.")
        self._known = (version, keys)
        return keys

    def _replace(self, keys: _Keys) -> None:
        self._write(keys).replace(self.path)
        handle = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _write(self, keys: _Keys) -> Path:
        """A finished file beside the real one, on disk, readable by nobody else from its first moment."""
        unfinished = self.path.with_name(f".{self.path.name}.{token_hex(8)}")
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            told = {name: b64encode(key).decode() for name, key in keys.by_id.items()}
            file.write(json.dumps({"current": keys.current, "keys": told}, indent=2).encode() + b"\n")
            file.flush()
            os.fsync(handle)
        return unfinished


def _new_id() -> str:
    return _PREFIX + token_hex(8)


def _parsed(raw: bytes) -> _Keys | None:
    with suppress(ValueError):
        match json.loads(raw):
            case {"current": str(current), "keys": dict(keys)} if current in keys:
                by_id = {name: b64decode(key, validate=True) for name, key in keys.items()}
                if all(len(key) == KEY for key in by_id.values()):
                    return _Keys(current, by_id)
    return None


def _wrap(keys: _Keys, plain: bytes, place: Place) -> WrappedKey:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - only who seals pays for it

    nonce = token_bytes(NONCE)
    cipher = AESGCM(keys.by_id[keys.current])
    return WrappedKey(keys.current, nonce + cipher.encrypt(nonce, plain, _bound_to(keys.current, place)))


def _unwrap(keys: _Keys, stored: WrappedKey, place: Place) -> bytes | None:
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - as above

    if stored.key_id not in keys.by_id or len(stored.wrapped) <= NONCE:
        return None
    cipher = AESGCM(keys.by_id[stored.key_id])
    try:
        return cipher.decrypt(stored.wrapped[:NONCE], stored.wrapped[NONCE:], _bound_to(stored.key_id, place))
    except InvalidTag:
        return None


def _bound_to(key_id: str, place: Place) -> bytes:
    return json.dumps([key_id, dict(place.as_context())], separators=(",", ":")).encode()


def _out(message: str) -> Unavailable:
    return Unavailable(message, code="vault_unavailable")
