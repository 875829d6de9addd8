"""Small work on words that several files share."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from functools import cache

LETTERS_WITHOUT_PARTS = str.maketrans({"ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "æ": "ae"})


@cache
def ascii_slug(text: str, joint: str = "-") -> str:
    """The text in lower-case ASCII words put together with `joint`."""
    plain = unicodedata.normalize("NFKD", text.translate(LETTERS_WITHOUT_PARTS))
    return joint.join(re.findall(r"[a-z0-9]+", plain.encode("ascii", "ignore").decode().lower()))


def stable_hash(*parts: str) -> int:
    """A number that depends on the parts alone, the same in every process."""
    return int.from_bytes(hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).digest())


def clip_words(text: str, limit: int) -> str:
    """At most `limit` words on one line, without a dangling comma or full stop."""
    words = text.split()
    return " ".join(words[:limit]).rstrip(" .,;:!") if words else ""


def comma_list(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


def sentences(text: str) -> list[str]:
    """The text's sentences and lines, each a literal part of it."""
    return [part for part in (m.group().strip() for m in re.finditer(r"[^\n.!?]+[.!?]*", text)) if part]
