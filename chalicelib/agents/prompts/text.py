"""What prompts and their checks need to know of a text: its length, words, sentences, numbers and links.

Texts come from strangers. Each function takes any text and needs time in proportion to its length.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

JOINERS: Final = "\u200c\u200d"
"""Invisible, but letters of some scripts need them."""

CUT: Final = "…"

_KEPT: Final = frozenset(f"\n\t{JOINERS}")
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_LINK: Final = re.compile(
    r"\w://|\bwww\.|\bmailto:|\b(?:href|src)\s*=|\w@\w|[\w-]\.[a-z]{2,24}\b", re.IGNORECASE
)
_PLACEHOLDER: Final = re.compile(r"\[[^\]\n]{1,80}\]|\{\{?[^}\n]{1,80}\}?\}|<[A-Za-z][^>\n]{0,80}>|\bX{3,}\b")
_WITHOUT_SPACES: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD: Final = re.compile(rf"[{_WITHOUT_SPACES}]|[^\W{_WITHOUT_SPACES}]+(?:['’.-][^\W{_WITHOUT_SPACES}]+)*")
_ASKING: Final = "?\uff1f\u061f"
_ENDS: Final = f".!…\u3002\uff01{_ASKING}"
_CLOSING: Final = "\"'”’)]"
_SENTENCE: Final = re.compile(rf"[^\n{_ENDS}]+[{_ENDS}]*[\"'”’)\]]*")
_WITHIN: Final = re.compile(rf"(?<![{_ENDS}])[{_ENDS}]+[\"'”’)\]]{{0,3}}\s")
_ABBREVIATED: Final = re.compile(
    r"(?:.*\W)?"
    r"(?:e\.g|i\.e|z\.b|d\.h|approx|ca|inc|ltd|co|corp|no|nr|st|dr|mr|mrs|ms|prof|vs|etc|incl|excl|est|u\.s|[a-z])",
    re.IGNORECASE,
)
_NUMBER: Final = re.compile(r"\d+(?:[.,'’ \u00a0\u202f]\d+)*")
_THOUSANDS: Final = re.compile(r"\d{1,3}(?:(?P<gap>[.,'’ \u00a0\u202f])\d{3})(?:(?P=gap)\d{3})*")


def clip(text: str | None, most: int) -> str:
    """A fact of at most `most` bytes (UTF-8), without what nobody can see; cut between words where it is longer."""
    given = (text or "")[: 4 * most]  # what is invisible does not count, but neither is it read without end
    seen = "".join(
        letter for letter in given if letter in _KEPT or unicodedata.category(letter) not in _UNSEEN
    )
    seen = seen.strip()
    if len(seen.encode()) <= most and len(given) == len(text or ""):
        return seen
    short = seen.encode()[: most - len(CUT.encode())].decode("utf-8", "ignore")
    whole, _, part = short.rpartition(" ")
    return f"{(whole if whole and len(part) < len(whole) else short).rstrip()}{CUT}"


def clip_each(texts: Iterable[str | None], most: int, *, count: int) -> list[str]:
    """The first `count` that say something."""
    return [clipped for text in texts if (clipped := clip(text, most))][:count]


def stated(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts without those that say nothing; a nought is a fact."""
    return {name: value for name, value in facts.items() if value not in (None, "", [], {})}


def as_read(text: str) -> str:
    """As people and mail programs read it: plain letters and dots for their look-alikes, nothing invisible."""
    plain = unicodedata.normalize("NFKC", text).replace("\u3002", ".")
    return "".join(letter for letter in plain if unicodedata.category(letter) != "Cf")


def count_words(text: str) -> int:
    """Words; where a script puts no spaces between them, two characters count as one."""
    found: list[str] = _WORD.findall(as_read(text))
    close = sum(len(word) == 1 and word >= "\u0e00" for word in found)
    return len(found) - close + (close + 1) // 2


def has_link(text: str) -> bool:
    """Whether a mail program makes a link of anything in it: also a bare `example.com`, or an address to write to."""
    return _LINK.search(as_read(text)) is not None


def has_placeholder(text: str) -> bool:
    """`[Name]`, `{{company}}`, `<title>`, `XXX`."""
    return _PLACEHOLDER.search(text) is not None


def sentences(text: str) -> list[str]:
    """Its sentences and lines, each a literal part of it."""
    return [part for part in (match.group().strip() for match in _SENTENCE.finditer(text)) if part]


def asks(text: str) -> bool:
    """Whether its last sentence is a question."""
    return text.rstrip().rstrip(_CLOSING).endswith(tuple(_ASKING))


def is_ended(sentence: str) -> bool:
    """Whether it ends as a sentence does, and not as a line."""
    return sentence.rstrip().rstrip(_CLOSING).endswith(tuple(_ENDS))


def is_one_sentence(text: str) -> bool:
    """Whether it is one, on one line; an abbreviation's full stop ends none."""
    text = text.strip()
    if not text or "\n" in text:
        return False
    return all(
        _ABBREVIATED.fullmatch(text, max(match.start() - 9, 0), match.start())
        for match in _WITHIN.finditer(text)
    )


def numbers_of(value: Any) -> Iterator[str]:
    """Every number in a text, or anywhere in facts, as it may be read: `1,500` is 1500, or 1.5 elsewhere."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from numbers_of(name)
            yield from numbers_of(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from numbers_of(inner)
    elif value is not None and not isinstance(value, bool):
        for found in _NUMBER.findall(as_read(str(value))):
            yield from _readings(found)


def states_other_numbers(text: str, facts: Mapping[str, Any]) -> bool:
    """Whether it has a number that is not in the facts. Numbers in words are not seen."""
    known = set(numbers_of(facts))
    return any(known.isdisjoint(_readings(found)) for found in _NUMBER.findall(as_read(text)))


def _readings(number: str) -> list[str]:
    """A number's digits in plain form, for each way in which its separators can be meant."""
    digits = "".join(str(unicodedata.digit(letter)) if letter.isdigit() else letter for letter in number)
    readings = list[str]()
    if _THOUSANDS.fullmatch(digits):
        readings.append(re.sub(r"\D", "", digits))
    whole, point, rest = re.sub(r"['’ \u00a0\u202f]", "", digits).replace(",", ".").rpartition(".")
    readings.append(f"{whole.replace('.', '')}{point}{rest}")
    return [_plain(reading) for reading in readings]


def _plain(number: str) -> str:
    """Without noughts that say nothing."""
    whole, _, part = number.partition(".")
    return f"{whole.lstrip('0') or '0'}.{part.rstrip('0')}".rstrip(".")
