"""What the stand-in model writes: drafts, scores, classifications, and an answer to any schema."""

import json
import re
from enum import Enum
from typing import Annotated, Any, Literal, TypeVar

import pytest
from openai import OpenAI
from pydantic import BaseModel, Field

from sandbox.records import Company
from sandbox.server import Sandbox
from sandbox.world import World
from tests.sandbox.conftest import fenced

Used = Literal["contactName", "companyName", "recentNews", "painPoints", "industry", "productValue"]
Category = Literal["interested", "not_now", "referral", "objection", "unsubscribe", "out_of_office", "bounce"]


class Draft(BaseModel):
    subject: str
    body: str
    factsUsed: list[Used]  # noqa: N815


class Factor(BaseModel):
    factor: Literal["industry", "size", "technology"]
    reason: str


class Score(BaseModel):
    summary: str
    factors: list[Factor]


class Reply(BaseModel):
    category: Category
    confidence: Annotated[float, Field(ge=0, le=1)]
    nextStep: str  # noqa: N815
    quote: str


Answer = TypeVar("Answer", bound=BaseModel)


def answered(client: OpenAI, kind: type[Answer], message: str) -> Answer:
    answer = client.chat.completions.parse(
        model="gpt-6-luna", messages=[{"role": "user", "content": message}], response_format=kind
    )
    parsed = answer.choices[0].message.parsed
    assert parsed is not None
    return parsed


def draft_for(client: OpenAI, company: Company, **changes: Any) -> Draft:
    facts = {
        "contactName": "Priya Iyer",
        "companyName": company.name,
        "industry": company.industry,
        "recentNews": company.signals[0].sentence,
        "painPoints": ["reports that are put together by hand"],
        "productValue": "cuts the time for weekly planning by a third",
        "senderName": "Sam Reed",
        "senderTitle": "Account Executive",
    }
    told = {name: value for name, value in (facts | changes).items() if value is not None}
    return answered(client, Draft, fenced(**told))


def test_a_draft_names_the_person_the_company_the_news_and_the_sender(openai: OpenAI, world: World) -> None:
    for company in world.companies[:25]:
        draft = draft_for(openai, company)
        assert "Priya" in draft.body
        assert company.name in draft.body
        assert company.signals[0].sentence.rstrip(".") in draft.body
        assert draft.body.endswith("Sam Reed\nAccount Executive")
        assert "?" in draft.body
        assert len(draft.body.split()) < 150
        assert 0 < len(draft.subject) <= 80
        assert {"recentNews", "painPoints", "productValue"} <= set(draft.factsUsed)


def test_a_draft_stays_short_whatever_the_facts(openai: OpenAI, world: World) -> None:
    long = "a very long story about planning that goes on " * 60
    draft = draft_for(openai, world.companies[1], recentNews=long, painPoints=[long], productValue=long)
    assert len(draft.body.split()) < 150


def test_drafts_do_not_all_look_alike(openai: OpenAI, world: World) -> None:
    def shape(company: Company) -> str:
        draft = draft_for(openai, company)
        return re.sub(re.escape(company.signals[0].sentence.rstrip(".")), "", draft.body).replace(
            company.name, ""
        )

    assert len({shape(company) for company in world.companies[:20]}) >= 10


def test_the_same_facts_give_the_same_draft(openai: OpenAI, world: World) -> None:
    assert draft_for(openai, world.companies[2]) == draft_for(openai, world.companies[2])


def test_a_draft_without_news_says_nothing_of_news(openai: OpenAI, world: World) -> None:
    draft = draft_for(openai, world.companies[2], recentNews=None)
    assert "recentNews" not in draft.factsUsed
    assert world.companies[2].name in draft.body
    assert "industry" in draft.factsUsed


def test_a_fence_inside_a_fact_does_not_end_the_facts(openai: OpenAI, world: World) -> None:
    draft = draft_for(
        openai, world.companies[2], recentNews="They wrote ``` in a title", senderName="Ada Flint"
    )
    assert "Ada Flint" in draft.body


def test_a_score_gives_one_sentence_a_factor_and_no_number_of_its_own(openai: OpenAI) -> None:
    facts = fenced(
        companyName="Foxwick Goods",
        industry="retail",
        factors=[
            {"factor": "industry", "points": 20, "detail": "Retail is one of the wanted industries"},
            {"factor": "size", "points": 0},
            {"factor": "technology", "points": 5, "detail": "They use Shopify"},
        ],
    )
    score = answered(openai, Score, facts)
    assert [one.factor for one in score.factors] == ["industry", "size", "technology"]
    assert "wanted industries" in score.factors[0].reason
    assert "Foxwick Goods" in score.summary
    assert not re.search(r"\d", score.summary + "".join(one.reason for one in score.factors))


@pytest.mark.parametrize(
    ("reply", "category"),
    [
        ("Thanks, this sounds great. Remove me from your list though.", "unsubscribe"),
        ("Sounds useful. Can you send me more details?", "interested"),
        ("I am out of the office until 3 December. Please contact my colleague.", "out_of_office"),
        ("I'm not the right person, please talk to Jana Lang.", "referral"),
        ("Not right now, ask me again next quarter.", "not_now"),
        ("We already use another tool and are happy with it.", "objection"),
        ("Delivery has failed: the mailbox does not exist.", "bounce"),
        ("Happy to talk on Tuesday.\n\n> On Monday you wrote:\n> Click here to unsubscribe", "interested"),
    ],
)
def test_a_reply_is_read_and_quoted_to_the_letter(openai: OpenAI, reply: str, category: str) -> None:
    read = answered(openai, Reply, fenced(replyText=reply, originalEmail="Hi! Click to unsubscribe."))
    assert read.category == category
    assert read.quote
    assert read.quote in reply


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Branch(BaseModel):
    name: str
    children: list["Branch"]


class Everything(BaseModel):
    whole: Annotated[int, Field(ge=3, le=5)]
    share: Annotated[float, Field(gt=0, lt=1)]
    flag: bool
    colour: Colour
    maybe: str | None
    either: int | Branch
    code: Annotated[str, Field(pattern=r"^[A-Z]{3}-\d{2,4}$")]
    short: Annotated[str, Field(max_length=8)]
    long: Annotated[str, Field(min_length=200)]
    three: Annotated[list[Colour], Field(min_length=3, max_length=3)]
    tree: Branch
    fixed: Literal["v1"]


@pytest.mark.parametrize(
    "message", ["No facts at all.", fenced(name="Foxwick", whole=4), "```facts\n{broken\n```"]
)
def test_any_schema_is_satisfied(openai: OpenAI, message: str) -> None:
    answered(openai, Everything, message)  # the client validates


def test_a_fact_of_the_propertys_name_is_the_answer(openai: OpenAI) -> None:
    assert answered(openai, Everything, fenced(whole=5)).whole == 5


def test_without_facts_a_draft_is_still_a_draft(openai: OpenAI) -> None:
    draft = answered(openai, Draft, "Write something.")
    assert draft.factsUsed == []
    assert len(draft.body.split()) > 20


def test_a_json_object_is_answered_without_a_schema(openai: OpenAI, sandbox: Sandbox) -> None:
    answer = openai.chat.completions.create(
        model="gpt-6-luna",
        messages=[{"role": "user", "content": "JSON please"}],
        response_format={"type": "json_object"},
    )
    assert set(json.loads(answer.choices[0].message.content or "")) == {"subject", "body"}
