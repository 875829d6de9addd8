"""The facts a caller fenced into its messages: all that the stand-in model reads beside the schema."""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from sandbox.text import clip_words

# A Markdown block or a tag, whatever its label, that begins with JSON.
FENCE: Final = re.compile(r"(?:`{3,}|~{3,})[^\n`{\[]*\s*(?=[{\[])|<[A-Za-z][\w:.-]*>\s*(?=[{\[])")
# What callers call the same thing, each group beginning with the name used here.
ALIASES: Final = tuple(
    tuple(line.split())
    for line in """
    contactName recipientName prospectName leadName personName recipient prospect contact addressee firstName
    companyName company accountName account organizationName organization organisation employer business
    industry companyIndustry sector vertical trade
    recentNews latestNews news newsItems headlines recentEvents triggers trigger signals signal highlights
    painPoints painPoint pains pain challenges challenge problems problem
    productValue valueProposition valueProp offer offering benefits benefit pitch product solution
    senderName sender authorName author repName salesRep rep signedBy
    senderTitle senderRole senderJobTitle authorTitle authorRole repTitle
    replyText replyBody reply incomingText incoming inboundText inbound response messageText message text body
    total totalScore totalPoints score
    factors scoreFactors breakdown criteria drivers
    city location town
    """.strip().splitlines()
)
WORDED: Final = ("name", "fullname", "text", "body", "content", "sentence", "title", "summary", "headline")


class Facts:
    """Looked up by name whatever its case (`recentNews`, `recent_news`), at the top first, then inside.

    `sender.role` is also found as `senderRole`, and each name of a group in ALIASES as the others.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = content
        self._found = dict[str, tuple[str, Any]]()
        for plain, name, value in _walk(content):
            self._found.setdefault(plain, (name, value))

    def own(self, name: str) -> Any:
        """The fact of just this name that says something, or None."""
        _, value = self._found.get(plain_name(name), (name, None))
        return None if value in (None, "", [], {}) else value

    def raw(self, *names: str) -> Any:
        """The first of these facts, or of their other names, that says something, or None."""
        return next((value for name in names if (value := self._known(name)[1]) is not None), None)

    def text(self, *names: str, words: int = 30) -> str:
        """The fact as one clipped line; of a list its first; empty when unknown."""
        return clip_words(worded(self.raw(*names)), words)

    def own_name(self, name: str) -> str:
        """The name as the caller wrote it."""
        return self._known(name)[0]

    def says(self, value: object) -> bool:
        """Whether a fact is just this value."""
        return any(one == value for _, one in self._found.values() if isinstance(one, str | int | float))

    def _known(self, name: str) -> tuple[str, Any]:
        plain = plain_name(name)
        for one in (plain, *OTHER_NAMES.get(plain, ())):
            if self.own(one) is not None:
                return self._found[one]
        return name, None


def fenced(messages: Sequence[Mapping[str, Any]], answer: Collection[str] = ()) -> Facts:
    """The blocks of JSON in the last user's message that has any; no facts when none can be read.

    A block that holds nothing but names of the `answer` is an example of it, where another block holds facts.
    """
    for message in reversed(messages):
        blocks = list(_blocks(text_of(message))) if message.get("role") == "user" else []
        wanted = {plain_name(name) for name in answer}
        facts = [block for block in blocks if not wanted or {plain_name(name) for name in block} - wanted]
        if blocks:
            merged = dict[str, Any]()
            for block in facts or blocks:
                merged |= {name: value for name, value in block.items() if name not in merged}
            return Facts(merged)
    return Facts({})


def text_of(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return str(content or "")


def plain_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def worded(value: Any) -> str:
    """A value as text: of a list its first, of an object the part that is most likely its words."""
    if isinstance(value, list):
        return worded(value[0]) if value else ""
    if isinstance(value, Mapping):
        parts = {plain_name(name): one for name, one in value.items() if isinstance(one, str) and one}
        return next((parts[name] for name in WORDED if name in parts), next(iter(parts.values()), ""))
    return "" if value is None else str(value)


OTHER_NAMES: Final[Mapping[str, Sequence[str]]] = {
    plain_name(name): tuple(plain_name(other) for other in group if other != name)
    for group in ALIASES
    for name in group
}


def _blocks(text: str) -> Iterator[Mapping[str, Any]]:
    place = 0
    while start := FENCE.search(text, place):
        try:
            # The JSON itself says where it ends: its strings may hold a fence of their own.
            content, place = json.JSONDecoder().raw_decode(text, start.end())
        except (ValueError, RecursionError):
            place = start.end()
            continue
        yield content if isinstance(content, dict) else {"items": content}


def _walk(content: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str, Any]]:
    """Each fact's plain name, the caller's own, and its value: what is on top before what is inside."""
    for name, value in content.items():
        yield plain_name(name), name, value
        if above:
            yield plain_name(above + name), above, value
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _walk(value, name)
