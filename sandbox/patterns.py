"""A text that a regular expression accepts: literals, classes, groups, choices and repeats."""

import re
import string
from random import Random
from typing import Final

LETTERS: Final = string.ascii_lowercase
CLASSES: Final = {"d": string.digits, "w": LETTERS, "s": " ", "D": LETTERS, "W": "-", "S": LETTERS}
ANY: Final = LETTERS


def matching(pattern: str, seed: int) -> str:
    """A matching text, or the pattern's empty best when it uses what is not read here (look-around)."""
    writer = _Writer(pattern, Random(seed))
    try:
        text = writer.choices()
    except IndexError:
        return ""
    return text if re.search(pattern, text) else ""


class _Writer:
    """Reads the pattern once from left to right and writes as it reads."""

    def __init__(self, pattern: str, rng: Random) -> None:
        self._left = list(pattern)
        self._rng = rng

    def choices(self) -> str:
        written = [self._sequence()]
        while self._left and self._left[0] == "|":
            self._left.pop(0)
            written.append(self._sequence())
        return self._rng.choice(written)

    def _sequence(self) -> str:
        text = ""
        while self._left and self._left[0] not in "|)":
            before = len(self._left)
            start = self._left.copy()
            one = self.atom()
            source = start[: before - len(self._left)]
            text += "".join(self._again(source, one) for _ in range(self._repeats()))
        return text

    def _again(self, source: list[str], one: str) -> str:
        """The same atom once more, chosen anew."""
        return _Writer("".join(source), self._rng).atom() if source[0] in "[\\(" else one

    def atom(self) -> str:
        mark = self._left.pop(0)
        if mark == "(":
            return self._group()
        if mark == "[":
            return self._rng.choice(self._class())
        if mark == "\\":
            letter = self._left.pop(0)
            return "" if letter in "bBAZ" else self._rng.choice(CLASSES.get(letter, letter))
        if mark == ".":
            return self._rng.choice(ANY)
        return "" if mark in "^$" else mark

    def _group(self) -> str:
        if self._left[:2] == ["?", ":"]:
            del self._left[:2]
        elif self._left[:2] == ["?", "P"]:
            del self._left[: self._left.index(">") + 1]
        text = self.choices()
        self._left.pop(0)  # the closing bracket
        return text

    def _class(self) -> str:
        negated = self._left[0] == "^"
        if negated:
            self._left.pop(0)
        allowed = ""
        while self._left[0] != "]" or not allowed:
            first = self._left.pop(0)
            if first == "\\":
                escaped = self._left.pop(0)
                allowed += CLASSES.get(escaped, escaped)
            elif self._left[0] == "-" and self._left[1] != "]":
                self._left.pop(0)
                allowed += "".join(map(chr, range(ord(first), ord(self._left.pop(0)) + 1)))
            else:
                allowed += first
        self._left.pop(0)
        if not negated:
            return allowed
        return "".join(letter for letter in LETTERS + string.digits + "-" if letter not in allowed)

    def _repeats(self) -> int:
        mark = self._left[0] if self._left else ""
        if mark == "{":
            end = self._left.index("}")
            fewest, _, most = "".join(self._left[1:end]).partition(",")
            del self._left[: end + 1]
            times = int(fewest or 0)
            times = max(times, min(1, int(most))) if most else times
        elif mark and mark in "*+?":
            self._left.pop(0)
            times = {"*": 2, "+": 3, "?": 1}[mark]
        else:
            return 1
        if self._left and self._left[0] == "?":  # a lazy repeat
            self._left.pop(0)
        return times
