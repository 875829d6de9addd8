"""What a reply to a cold e-mail wants, by the words in it; a request to stop outranks everything."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sandbox.facts import Facts, plain_name, worded
from sandbox.text import sentences

QUOTED_FROM: Final = re.compile(
    r"^(>|on .+ wrote:|am .+ schrieb .+:|le .+ a écrit|-+ ?original message)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Intent:
    category: str
    words: re.Pattern[str]
    confidence: float
    next_step: str
    others: tuple[str, ...] = ()  # names that other callers have for the category


def _intent(category: str, words: str, confidence: float, next_step: str, *others: str) -> Intent:
    return Intent(category, re.compile(words, re.IGNORECASE), confidence, next_step, others)


# In the order in which they count.
INTENTS: Final = (
    _intent(
        "unsubscribe",
        r"unsubscribe|opt[ -]?out|(remove|delete|take) (me|us|my|our)\b|stop (e-?mail|writ|contact|send)"
        r"|(don'?t|do not|never) (e-?mail|contact|write|message)|no (more|further) (e-?mails|messages)"
        r"|\bgdpr\b|austragen|abmelden|keine (weiteren )?(e-?)?mails"
        r"|désabonn|désinscri|(^|\W)stop\W*$|darse de baja",
        0.98,
        "Stop writing to this person and add the address to the suppression list.",
        "opt_out",
        "do_not_contact",
        "stop",
        "not_interested",
        "negative",
    ),
    _intent(
        "bounce",
        r"undeliver|delivery (has )?failed|mail delivery|mailer-daemon|address not found|user unknown"
        r"|does not exist|mailbox (is )?(full|unavailable)|\b550\b|no longer (works|with|employed)",
        0.96,
        "Do not write to this address again; look for another way to reach the company.",
        "undeliverable",
        "wrong_person",
        "automatic",
        "other",
        "neutral",
    ),
    _intent(
        "out_of_office",
        r"out of (the )?office|on (annual |parental |maternity |paternity )?leave|on (holiday|vacation)"
        r"|away (from my desk|until)|auto(matic)?[ -]?reply"
        r"|limited access to e-?mail|abwesen|nicht im (büro|haus)"
        r"|im urlaub|absent|fuera de la oficina",
        0.95,
        "Write again after their return.",
        "ooo",
        "auto_reply",
        "automatic",
        "other",
        "neutral",
    ),
    _intent(
        "referral",
        r"(reach out to|speak (to|with)|talk to|contact|write to|get in touch with) (my|our|the|[A-Z])"
        r"|(not|n'?t) the right person|wrong person"
        r"|(copy|cc|loop|forward|pass)(ing|ed)?\b.{0,40}\b(colleague|in\b|on\b|to\b)"
        r"|(handles|looks after|responsible for|in charge of) (this|that|it)|zuständig",
        0.88,
        "Write to the person they name, and mention who passed it on.",
        "wrong_person",
        "forwarded",
        "other",
        "neutral",
    ),
    _intent(
        "not_now",
        r"not (right )?now|not at (the|this) (moment|time)|next (quarter|year|month|spring|summer|autumn)"
        r"|(later|early|end of) (this|next) year|too early"
        r"|circle back|check back|(try|ask|ping|contact) .{0,20}again"
        r"|in (a few|two|three|six) (weeks|months)|no budget (this|until)"
        r"|budget .{0,30}(next|frozen)|derzeit (nicht|kein)|pas pour le moment",
        0.86,
        "Set a reminder and write again at the time they name.",
        "later",
        "timing",
        "other",
        "neutral",
    ),
    _intent(
        "objection",
        r"not interested|no interest|no,? thank|already (use|have|work|using)"
        r"|too expensive|happy with|(don'?t|do not) (need|see)"
        r"|not (a )?(fit|relevant|priority)|can'?t justify|why (are|did) you"
        r"|where did you get|kein interesse|pas intéress|no me interesa",
        0.85,
        "Let a person decide whether to answer the objection or leave it.",
        "not_interested",
        "negative",
    ),
    _intent(
        "interested",
        r"interest|sounds (good|great|useful)|tell me more"
        r"|more (info|detail)|let'?s (talk|chat|speak)|book|calend"
        r"|schedule|demo|call|pricing|how much|what does it cost|happy to"
        r"|would love|send (me|over|us)|gerne|klingt gut|volontiers",
        0.9,
        "Answer today and offer two times for a short call.",
        "positive",
        "meeting_request",
        "question",
    ),
)
UNCLEAR: Final = _intent("unclear", "", 0.4, "Let a person read this reply.", "other", "neutral", "not_now")


def reply_text(facts: Facts) -> str:
    """The reply as it stands in the facts; empty when there is none."""
    return worded(facts.raw("replyText"))


def classification(reply: str) -> Mapping[str, Any]:
    """`category`, `confidence`, `nextStep` and `quote`, the last a literal part of the reply."""
    intent, quote = _read(_own_part(reply))
    return {
        "category": intent.category,
        "confidence": intent.confidence,
        "nextStep": intent.next_step,
        "quote": quote,
    }


def category_among(category: str, choices: Sequence[Any]) -> Any:
    """The caller's own name for the category, or None."""
    intent = next((intent for intent in INTENTS if intent.category == category), UNCLEAR)
    wanted = [plain_name(name) for name in (intent.category, *intent.others)]
    by_name = {plain_name(str(choice)): choice for choice in choices}
    return next((by_name[name] for name in wanted if name in by_name), None)


def _own_part(text: str) -> str:
    """The reply without the mail it quotes, whose footer may well say `unsubscribe`."""
    lines = list[str]()
    for line in text.splitlines(keepends=True):
        if QUOTED_FROM.match(line.strip()):
            break
        lines.append(line)
    return "".join(lines) or text


def _read(text: str) -> tuple[Intent, str]:
    said = sentences(text)
    for intent in INTENTS:
        for sentence in said:
            if intent.words.search(sentence):
                return intent, sentence
    return UNCLEAR, said[0] if said else ""
