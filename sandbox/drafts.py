"""A cold e-mail out of facts: a hook, the problem, a hint, a soft question; never 150 words."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sandbox.facts import Facts
from sandbox.text import stable_hash

HONORIFICS: Final = frozenset({"dr", "mr", "mrs", "ms", "prof", "herr", "frau"})
# How a piece of news is called afterwards, by a word in it.
TOPICS: Final = (
    ("raised", "the new round"),
    ("hiring", "your open roles"),
    ("office", "the new office"),
    ("launched", "the launch"),
    ("partnership", "the partnership"),
    ("certif", "the certification"),
    ("appointed", "the new appointment"),
    ("grew", "your growth"),
)
VERBS: Final = frozenset(
    re.findall(
        r"\w+",
        "cut reduce help save plan find automate give keep bring turn let make speed get see build run track "
        "manage spend win close reach book ship move stop improve increase grow show take handle cover",
    )
)
CONGRATULATED: Final = frozenset(
    {"the new round", "the launch", "the partnership", "the certification", "your growth"}
)
LONG_PAIN: Final = 9  # words from which a pain is a sentence of its own


@dataclass(slots=True)
class Writer:
    """Picks among phrasings by a hash of the facts and notes which facts it used."""

    facts: Facts
    used: list[str] = field(default_factory=list)

    def fact(self, name: str, default: str = "", words: int = 30) -> str:
        text = self.facts.text(name, words=words)
        own_name = self.facts.own_name(name)
        if text and own_name not in self.used:
            self.used.append(own_name)
        return text or default

    def pick(self, part: str, *choices: str) -> str:
        salt = (self.facts.text(name) for name in ("companyName", "contactName", "recentNews"))
        return choices[stable_hash(part, *salt) % len(choices)]


def email_draft(facts: Facts) -> Mapping[str, Any]:
    """`subject`, `body` and `factsUsed`."""
    writer = Writer(facts)
    first = first_name(writer.fact("contactName", "there"))
    company = writer.fact("companyName", "your company", words=8)
    topic, hook = _hook(writer, company)
    problem, solution = _problem(writer), _solution(writer)
    question = _question(writer, first, company)
    greeting = writer.pick("greeting", f"Hi {first},", f"Hello {first},", f"Hi {first},")
    body = "\n\n".join(filter(None, (greeting, hook, f"{problem} {solution}", question, _signature(writer))))
    return {"subject": _subject(writer, first, company, topic), "body": body, "factsUsed": writer.used}


def first_name(name: str) -> str:
    words = [word for word in name.split() if word.lower().strip(".") not in HONORIFICS]
    return words[0].strip(",") if words else "there"


def _hook(writer: Writer, company: str) -> tuple[str, str]:
    """What the mail is about, and its first sentence: news before all else."""
    if news := writer.fact("recentNews", words=28):
        topic = next((topic for word, topic in TOPICS if word in news.lower()), f"what is new at {company}")
        praise = " Congratulations to you and the team." if topic in CONGRATULATED else ""
        if news.lower().startswith(company.lower()):
            return topic, writer.pick(
                "hook",
                f"I saw that {news}.",
                f"I read that {news} and thought of you.",
                f"{news}: that caught my eye this week.",
                f"I noticed that {news}.{praise}",
            )
        return topic, writer.pick(
            "hook",
            f"This about {company} caught my eye: {news}.",
            f"I came across some news from {company}: {news}.",
        )
    if industry := _industry(writer):
        return "a short question", writer.pick(
            "hook",
            f"I have been looking at how {industry} companies work, and {company} stood out.",
            f"{company} came up while I was reading about {industry}.",
        )
    return "a short question", f"I have been reading about {company} and have one question."


def _problem(writer: Writer) -> str:
    pain = writer.fact("painPoints", words=18)
    trade = _industry(writer)
    teams = f"{trade} teams" if trade else "teams like yours"
    if not pain:
        return f"Many {teams} lose hours every week to work that nobody planned for."
    if len(pain.split()) >= LONG_PAIN:
        return f"One thing I keep hearing from {teams}: {_lower_first(pain)}."
    return writer.pick(
        "problem",
        f"When I talk to {teams}, {_lower_first(pain)} comes up more than anything else.",
        f"Many {teams} I speak with name {_lower_first(pain)} as the thing that eats their week.",
        f"I keep hearing about {_lower_first(pain)} from {teams}.",
    )


def _solution(writer: Writer) -> str:
    value = writer.fact("productValue", words=26)
    words = value.lower().split()
    if not words:
        return "We take that off their desk, without a long project."
    if words[0] in {"we", "our", "it", "they"} or words[0].startswith("we'"):
        return f"{value[0].upper()}{value[1:]}."
    rest = _lower_first(value)
    if words[0] in VERBS:
        return writer.pick("solution", f"We help teams {rest}.", f"What we do is help teams {rest}.")
    if words[0].removesuffix("s") in VERBS:
        return writer.pick("solution", f"What we built {rest}.", f"Our product {rest}.")
    return writer.pick("solution", f"What we offer, in short: {rest}.", f"That is what we work on: {rest}.")


def _question(writer: Writer, first: str, company: str) -> str:
    return writer.pick(
        "question",
        f"Is this something you are looking at for {company}, or is it too early?",
        f"Would it be worth a short talk, {first}, or does someone else at {company} look after this?",
        f"How do you handle this at {company} today?",
        f"Would you be open to hearing how this could look at {company}?",
    )


def _signature(writer: Writer) -> str:
    farewell = writer.pick("farewell", "Best,", "Kind regards,", "All the best,", "Thanks,")
    lines = (farewell, writer.fact("senderName", "The team"), writer.fact("senderTitle", words=10))
    return "\n".join(filter(None, lines))


def _subject(writer: Writer, first: str, company: str, topic: str) -> str:
    return writer.pick(
        "subject",
        f"{company} and {topic}",
        f"{first}, about {topic}",
        f"A question about {topic}",
        f"{topic[0].upper()}{topic[1:]} at {company}" if company not in topic else f"{first}, a question",
    )


def _industry(writer: Writer) -> str:
    return _lower_first(writer.fact("industry", words=6))


def _lower_first(text: str) -> str:
    """Lower-cases the first letter, but leaves `IT` and `SaaS` as they are."""
    word = text.split(maxsplit=1)[0] if text else ""
    return text if re.search(r"[A-Z]", word[1:]) or word == "I" else text[:1].lower() + text[1:]
