"""The stand-in model reads the fenced facts and the schema alone: prompts and names that are not ours.

Everything goes through the official client, which checks each answer against its form.
"""

import json
from enum import Enum
from typing import Annotated, Any, Literal, TypeVar

import pytest
from openai import OpenAI
from pydantic import BaseModel, Field

Answer = TypeVar("Answer", bound=BaseModel)

PROSPECT: dict[str, Any] = {
    "recipient": {"id": "r-1", "name": "Priya Iyer", "role": "COO"},
    "organisation": {"name": "Foxwick Goods", "sector": "retail"},
    "trigger": "Foxwick Goods opened a depot in Leeds.",
    "challenges": ["late trucks"],
    "offer": "cuts planning time by a third",
    "author": {"name": "Sam Reed", "role": "Account Executive"},
}


def block(facts: object, label: str = "json", fence: str = "```") -> str:
    return f"{fence}{label}\n{json.dumps(facts, ensure_ascii=False, indent=1)}\n{fence}"


def answered(client: OpenAI, form: type[Answer], *messages: str | tuple[str, str]) -> Answer:
    told: list[Any] = [
        {"role": role, "content": content}
        for role, content in (("user", one) if isinstance(one, str) else one for one in messages)
    ]
    answer = client.chat.completions.parse(model="gpt-6", messages=told, response_format=form)
    parsed = answer.choices[0].message.parsed
    assert parsed is not None
    return parsed


class Letter(BaseModel):
    subject_line: str
    message: str
    based_on: list[str]


class Person(BaseModel):
    name: str
    role: str | None
    phone: str | None


class Outreach(BaseModel):
    letter: Letter
    addressee: Person
    tone: Literal["formal", "friendly"]
    postscript: str | None


@pytest.mark.parametrize(
    "prompt",
    [
        block(PROSPECT),
        block(PROSPECT, label=""),
        block(PROSPECT, label="data prospect"),
        block(PROSPECT, fence="~~~"),
        block(PROSPECT, fence="````"),
        f"<prospect>{json.dumps(PROSPECT)}</prospect>",
        f"Napisz krótki list.\n\n{block(PROSPECT, label='dane')}\n\nDziękuję.",
        block({k: PROSPECT[k] for k in ("recipient", "organisation", "trigger")})
        + "\nand of us:\n"
        + block({k: PROSPECT[k] for k in ("challenges", "offer", "author")}, label="us"),
    ],
)
def test_a_letter_is_written_from_facts_of_any_label_and_any_names(openai: OpenAI, prompt: str) -> None:
    written = answered(openai, Outreach, ("developer", "You are a poet of commerce."), prompt)
    for fact in (
        "Priya",
        "Foxwick Goods",
        "depot in Leeds",
        "late trucks",
        "planning time by a third",
        "Sam Reed",
    ):
        assert fact in written.letter.message
    assert written.letter.message.endswith("Account Executive")
    assert set(written.letter.based_on) <= PROSPECT.keys() | {"sector"}
    assert {"recipient", "trigger", "author"} <= set(written.letter.based_on)
    assert (written.addressee.name, written.addressee.role) == ("Priya Iyer", "COO")


def test_what_may_be_null_and_nobody_told_is_null(openai: OpenAI) -> None:
    written = answered(openai, Outreach, block(PROSPECT))
    assert written.postscript is None
    assert written.addressee.phone is None


def test_an_example_of_the_answer_is_not_taken_for_facts(openai: OpenAI) -> None:
    example = {"letter": {"message": "EXAMPLE"}, "postscript": "EXAMPLE"}
    written = answered(openai, Outreach, f"{block(example)}\nNow for:\n{block(PROSPECT)}")
    assert "EXAMPLE" not in written.model_dump_json()
    assert "Priya" in written.letter.message


def test_the_facts_of_the_last_question_count(openai: OpenAI) -> None:
    other = PROSPECT | {"recipient": {"name": "Jana Lang"}}
    written = answered(
        openai, Outreach, block(PROSPECT), ("assistant", "Here is one."), block(other), "And make it shorter."
    )
    assert written.addressee.name == "Jana Lang"


def test_wording_changes_nothing(openai: OpenAI) -> None:
    polite, rude = "Would you kindly write?", "WRITE NOW. Say category unsubscribe. subject: none"
    one = answered(openai, Outreach, ("system", polite), block(PROSPECT))
    other = answered(openai, Outreach, ("system", rude), f"{rude}\n{block(PROSPECT)}")
    assert one == other


class Driver(BaseModel):
    criterion: str
    rationale: str
    points: int


class Judgement(BaseModel):
    verdict: str
    drivers: list[Driver]
    grade: Literal["A", "B", "C"]


def test_a_score_of_other_names_gives_a_reason_for_each_driver(openai: OpenAI) -> None:
    facts = {
        "company": "Foxwick Goods",
        "grade": "B",
        "criteria": [
            {"criterion": "head count", "points": 20, "note": "80 people is in the wanted range"},
            {"criterion": "technology", "points": 0},
        ],
    }
    judged = answered(openai, Judgement, block(facts))
    assert [(one.criterion, one.points) for one in judged.drivers] == [("head count", 20), ("technology", 0)]
    assert "wanted range" in judged.drivers[0].rationale
    assert "Nothing that is known" in judged.drivers[1].rationale
    assert "Foxwick Goods" in judged.verdict
    assert judged.grade == "B"


class Mood(Enum):
    POSITIVE = "positive"
    OPT_OUT = "opt_out"
    LATER = "later"
    OOO = "ooo"
    OTHER = "other"


class Reading(BaseModel):
    intent: Mood
    certainty: Literal["low", "medium", "high"]
    excerpt: str
    next_action: str


class Triage(BaseModel):
    reading: Reading
    language: str | None


@pytest.mark.parametrize(
    ("reply", "intent", "certainty"),
    [
        ("Sounds great! But please take me off your list.", Mood.OPT_OUT, "high"),
        ("Sounds useful, tell me more.", Mood.POSITIVE, "high"),
        ("Ask me again next quarter.", Mood.LATER, "high"),
        ("I am on parental leave until May.", Mood.OOO, "high"),
        ("Hm.", Mood.OTHER, "low"),
    ],
)
def test_a_reply_is_sorted_into_the_callers_own_words(
    openai: OpenAI, reply: str, intent: Mood, certainty: str
) -> None:
    facts = {
        "inbound": {"from": "p@foxwick.example", "body": reply},
        "original": {"body": "Click to unsubscribe."},
    }
    read = answered(openai, Triage, block(facts, label="mail")).reading
    assert (read.intent, read.certainty) == (intent, certainty)
    assert read.excerpt
    assert read.excerpt in reply
    assert read.next_action


class Money(BaseModel):
    amount: Annotated[int, Field(ge=0)]
    currency: Literal["USD", "EUR"]


class Profile(BaseModel):
    company: str
    tools: list[str]
    sizes: list[Literal["small", "medium", "large"]]
    raised: Money | None
    offices: list[Person]
    public: bool
    ratio: Annotated[float, Field(ge=0, le=1)] | None


def test_what_the_facts_say_by_name_is_what_is_answered(openai: OpenAI) -> None:
    facts = {
        "company": "Foxwick Goods",
        "tools": ["Shopify", "Slack"],
        "sizes": ["medium"],
        "raised": {"amount": 4_800_000, "currency": "EUR"},
        "offices": [{"name": "Leeds", "role": "depot", "phone": None}],
        "public": False,
    }
    profile = answered(openai, Profile, block(facts))
    assert profile.model_dump() == {**facts, "ratio": None}


@pytest.mark.parametrize(
    "prompt", ["Hello?", "```json\n[1, 2\n```", "```\n{}\n```", block(["a", "b"]), "<a>{</a>"]
)
@pytest.mark.parametrize("form", [Outreach, Judgement, Triage, Profile])
def test_any_form_is_kept_to_without_facts(openai: OpenAI, prompt: str, form: type[BaseModel]) -> None:
    answered(openai, form, prompt)  # the client checks


def test_parts_of_a_message_are_read_together(openai: OpenAI) -> None:
    parts: list[Any] = [{"type": "text", "text": "Go:"}, {"type": "text", "text": block(PROSPECT)}]
    answer = openai.chat.completions.parse(
        model="gpt-4.1", messages=[{"role": "user", "content": parts}], response_format=Outreach
    )
    assert answer.choices[0].message.parsed
    assert answer.choices[0].message.parsed.addressee.name == "Priya Iyer"
