"""Apollo's values, believed one by one: what is of another type, beyond reason or a placeholder is None."""

import math
import re
from collections.abc import Iterable
from datetime import date
from typing import Any, Final

from chalicelib.domain.errors import Invalid

LONGEST_DOMAIN: Final = 253
LONGEST_EMAIL: Final = 254
LONGEST_LIST: Final = 200

_PLACEHOLDER: Final = "email_not_unlocked"
"""Begins the address that Apollo shows in place of one that is not paid for."""

_DOMAIN: Final = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
_EMAIL: Final = re.compile(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(.+)")
_PHONE: Final = re.compile(r"\+?[0-9]{6,15}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LINK: Final = re.compile(r"https?://[^ <>\"']{1,490}")  # of what is printable, no other space is


def line(value: object, most: int) -> str | None:
    """One line of printable text, cut to a length; whole numbers, which some ids are, as their digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = f"{value:d}" if abs(value) < 10**18 else None
    if not isinstance(value, str) or ("_" in value and is_placeholder(value)):
        return None
    if value.isascii() and value.isprintable() and "  " not in value:  # nearly always, and quicker
        return value.strip()[:most].rstrip() or None
    printable = _CONTROL.sub(" ", _storable(value))
    return " ".join(printable.split())[:most].strip() or None


def lines(values: object, most: int) -> tuple[str, ...]:
    """The lines of a list, each once."""
    if not isinstance(values, list):
        return ()
    found = (line(value, most) for value in values[:LONGEST_LIST])
    return tuple(dict.fromkeys(one for one in found if one))


def text(value: object, most: int) -> str | None:
    if not isinstance(value, str) or is_placeholder(value):
        return None
    return _storable(value.replace("\0", ""))[:most].strip() or None


def is_placeholder(value: str) -> bool:
    return _PLACEHOLDER in value.lower()


def _storable(value: str) -> str:
    """Without lone surrogates, which JSON can carry and PostgreSQL cannot."""
    return value if value.isascii() else value.encode("utf-8", "ignore").decode()


def link(value: object) -> str | None:
    if not isinstance(value, str) or not value.isprintable() or not _LINK.fullmatch(value):
        return None
    return None if "_" in value and is_placeholder(value) else value


def domain_of(value: object) -> str | None:
    """A domain in lower case without `www.`; None for what is none."""
    if not isinstance(value, str):
        return None
    domain = value.strip().lower().rstrip(".").removeprefix("www.")
    return domain if len(domain) <= LONGEST_DOMAIN and _DOMAIN.fullmatch(domain) else None


def email_of(value: object) -> str | None:
    """An address in lower case; None for what is none, Apollo's placeholder included."""
    if not isinstance(value, str) or is_placeholder(value):
        return None
    address = value.strip().lower()
    match = _EMAIL.fullmatch(address) if len(address) <= LONGEST_EMAIL else None
    return address if match and domain_of(match[1]) == match[1] else None


def profile_of(value: object) -> str | None:
    """What two spellings of the same LinkedIn address have in common."""
    url = link(value)
    if url is None:
        return None
    path = re.split(r"[?#]", url.partition("//")[2].lower(), maxsplit=1)[0]
    return path.removeprefix("www.").rstrip("/")


def phone_of(value: object) -> str | None:
    return value if isinstance(value, str) and _PHONE.fullmatch(value) else None


def whole(value: object, *, most: int = 10**12) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return int(value) if 0 <= value <= most else None


def fraction(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value) if abs(value) <= 10**6 else None


def day(value: object) -> str | None:
    """The day of an instant such as `2021-03-01T00:00:00.000+00:00`."""
    if not isinstance(value, str):
        return None
    try:
        return date.fromisoformat(value[:10]).isoformat()
    except ValueError:
        return None


def rows(value: object) -> list[dict[str, Any]]:
    """Those of a list that are objects."""
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


# What we send


def words(given: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(word.strip() for word in given if word.strip()))


def slug(word: str) -> str:
    """`Google Analytics` is `google_analytics`."""
    return re.sub(r"[^a-z0-9]+", "_", word.lower()).strip("_")


def domains(given: Iterable[str], *, most: int) -> list[str]:
    """Raises Invalid for one that is none: left out, it might leave a search without a filter."""
    asked = words(given)
    found = [domain for one in asked if (domain := domain_of(one))]
    if len(found) < len(asked):
        raise Invalid("A company is looked up by its domain, such as example.com.", code="no_domain")
    if len(found) > most:
        raise Invalid(f"At most {most:,} domains can be asked for at once.", code="too_many_domains")
    return list(dict.fromkeys(found))


def criteria(said: dict[str, Any]) -> dict[str, Any]:
    """Those filters that say something. Raises Invalid where none does: Apollo would answer with everybody."""
    kept = {name: value for name, value in said.items() if value or value is False}
    if not any(value is not False for value in kept.values()):
        raise Invalid("Say at least one thing to search by.", code="no_criteria")
    return kept
