"""The facts a caller fenced into its messages: all that the stand-in model reads."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sandbox.text import clip_words

FENCE: Final = re.compile(r"```facts\s*(?=\{)")


class Facts:
    """Looked up by name whatever its case (`recentNews`, `recent_news`), at the top first, then inside."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = content
        self._found = dict[str, tuple[str, Any]]()
        for name, value in _walk(content):
            self._found.setdefault(plain_name(name), (name, value))

    def raw(self, *names: str) -> Any:
        """The first of these facts that says something, or None."""
        for name in names:
            _, value = self._found.get(plain_name(name), (name, None))
            if value not in (None, "", [], {}):
                return value
        return None

    def text(self, *names: str, words: int = 30) -> str:
        """The fact as one clipped line; of a list its first; empty when unknown."""
        value = self.raw(*names)
        first = next(iter(value), "") if isinstance(value, list) else value
        if isinstance(first, Mapping):
            first = next((one for one in first.values() if isinstance(one, str)), "")
        return "" if first is None else clip_words(str(first), words)

    def own_name(self, name: str) -> str:
        """The name as the caller wrote it."""
        return self._found.get(plain_name(name), (name, None))[0]


def fenced(messages: Sequence[Mapping[str, Any]]) -> Facts:
    """The first block of facts in a user's message; no facts when there is none that can be read."""
    for message in messages:
        text = text_of(message) if message.get("role") == "user" else ""
        for start in FENCE.finditer(text):
            try:
                # The JSON itself says where it ends: its strings may hold a fence of their own.
                content, _ = json.JSONDecoder().raw_decode(text, start.end())
            except ValueError:
                continue
            return Facts(content)
    return Facts({})


def text_of(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return str(content or "")


def plain_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _walk(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from content.items()
    for value in content.values():
        if isinstance(value, Mapping):
            yield from _walk(value)
