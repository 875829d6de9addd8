"""The prompts, asked of the sandbox over HTTP by the client: what keeps the rules comes through, what does not is refused."""

from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from chalicelib.agents.base import Call
from chalicelib.agents.prompts import email_draft, lead_scoring, response_classification
from chalicelib.agents.prompts.base import Said, ask
from chalicelib.agents.prompts.lead_scoring import Factor, Reasons, explain
from chalicelib.agents.prompts.response_classification import Category, Classification, Context, classify
from chalicelib.domain.companies import Between, IdealCustomer
from chalicelib.domain.crm import AccountFacts, SignalFacts
from chalicelib.domain.errors import Refused
from chalicelib.integrations.openai import prompt as wire
from chalicelib.integrations.openai.client import OpenAIModel
from chalicelib.services.runs.context import Providers
from sandbox.server import Sandbox
from tests.fakes.providers import ScriptedCompanies
from tests.integration.apollo_world import Reply, ScriptedServer, a_caller
from tests.unit.test_prompts import HOSTILE, asked, request_of

TODAY = date(2026, 11, 27)
SENDER = {
    "product_value": "Plan routes in minutes",
    "sender_name": "Grace Hopper",
    "sender_title": "Head of Sales",
}


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Iterator[Sandbox]:
    running.ledger.reset()
    yield running
    running.faults.clear()


@pytest.fixture
def model(sandbox: Sandbox) -> Iterator[OpenAIModel]:
    with closing(a_model(sandbox.openai_url)) as client:
        yield client


def a_model(url: str) -> OpenAIModel:
    return OpenAIModel("sandbox-openai-key", url, model="gpt-6-luna", max_tokens=1000)


def a_call(model: OpenAIModel, most_tokens_in: int = 24_000) -> Call:
    caller = replace(a_caller(), most_tokens_in=most_tokens_in)
    return Call(caller, Providers(ScriptedCompanies(), model))


def saying(answer: Any) -> Reply:
    """A completion with this answer."""
    message = {"role": "assistant", "content": answer.model_dump_json(), "refusal": None}
    return Reply.json(
        {
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 20},
        }
    )


def scored(name: str = "Northwind", factor: str = "industry") -> lead_scoring.Context:
    account = AccountFacts(
        id="acc_1",
        name=name,
        domain="northwind.example",
        industry="logistics",
        employee_count=250,
        country="Germany",
        description="Moves goods between 12 ports.",
        owner_id=None,
        signals=(SignalFacts("funding", "Northwind raised 20 million", "news", "2026-10-01"),),
    )
    profile = IdealCustomer(("logistics",), Between(50, 500), Between(), ("Germany",))
    factors = [
        Factor(factor, 30, 40, "Logistics is in the profile"),
        Factor("size", 20, 20),
        Factor("signals", 0, 10),
    ]
    return lead_scoring.Context(account, profile, factors, 50)


# What the sandbox writes


def test_drafts_to_many_people_of_the_sandboxs_world_keep_every_rule(
    model: OpenAIModel, sandbox: Sandbox
) -> None:
    """Seen red with a signature taken for the end of the text."""
    world = sandbox.world
    broken = dict[str, Any]()
    companies = [company for company in world.companies if company.signals][:120]
    for company in companies:
        person = world.people_of[company.id][0]
        context = email_draft.Context(
            contact_name=f"{person.first_name} {person.last_name}",
            first_name=person.first_name,
            company_name=company.name,
            industry=company.industry,
            recent_news=[signal.sentence.rstrip(".") for signal in company.signals],
            **SENDER,
        )
        said = ask(a_call(model, 16_000), email_draft.DRAFT, context)
        assert said.prompt == "email-draft/1"
        if found := email_draft.check(context, said.answer):
            broken[said.answer.body] = found
    assert broken == {}


def test_a_score_is_explained_by_its_factors_and_no_others(model: OpenAIModel, sandbox: Sandbox) -> None:
    call = a_call(model)
    said = explain(call, scored())
    assert said.prompt == "lead-scoring/1"
    assert [reason.factor for reason in said.answer.factors] == ["industry", "size", "signals"]
    assert said.answer.factors[0].reason == "Logistics is in the profile."
    [entry], charge = sandbox.ledger.entries(), call.caller.meter.total()
    assert charge is not None
    assert (charge.tokens_in, charge.tokens_out) == (entry.prompt_tokens, entry.completion_tokens)


@pytest.mark.parametrize(
    ("reply", "category"),
    [
        ("Sounds good, tell me more about pricing.", Category.INTERESTED),
        ("Not right now. Try again next quarter.", Category.NOT_NOW),
        ("I am not the right person, please talk to our CFO.", Category.REFERRAL),
        ("We already use another tool and are happy with it.", Category.OBJECTION),
        ("I am out of office until Monday.", Category.OUT_OF_OFFICE),
        ("Delivery has failed: mailbox unavailable.", Category.BOUNCE),
    ],
)
def test_a_reply_is_sorted_and_quoted(model: OpenAIModel, reply: str, category: Category) -> None:
    call = a_call(model)
    text = f"Hello,\n\n{reply}\n\nOn Monday Grace wrote:\n> Shall we talk?\n> unsubscribe"
    said = classify(call, Context(text, TODAY, "Your routes", "Shall we talk?"))
    assert (said.prompt, said.answer.category) == ("response-classification/1", category)
    assert said.answer.quote in reply
    assert 0 <= said.answer.confidence <= 1
    assert said.answer.nextStep
    assert call.caller.meter.total() is not None


@pytest.mark.parametrize(
    "reply",
    [
        "Please unsubscribe me.",
        "Sounds interesting! But take me off your list.",
        "Bitte keine weiteren E-Mails",
    ],
)
def test_who_asks_us_to_stop_is_heard_without_a_model(
    model: OpenAIModel, sandbox: Sandbox, reply: str
) -> None:
    """Seen red with the model asked, which was told to say something else."""
    said = classify(a_call(model), Context(reply, TODAY))
    assert (said.answer.category, said.answer.confidence) == (Category.UNSUBSCRIBE, 1)
    assert said.answer.quote in reply
    assert said.prompt == "stop-request/1"
    assert sandbox.ledger.entries() == ()


def test_a_model_that_says_otherwise_is_not_asked() -> None:
    says = Classification(category=Category.INTERESTED, confidence=1, nextStep="Call.", quote="unsubscribe")
    with ScriptedServer(saying(says)) as server, closing(a_model(f"{server.url}/v1")) as model:
        said = classify(a_call(model), Context("Please unsubscribe me.", TODAY))
        assert server.received == []
    assert said.answer.category is Category.UNSUBSCRIBE


@pytest.mark.parametrize("reply", ["", " \n ", "On Monday Grace wrote:\n> Shall we talk?"])
def test_a_reply_without_text_is_for_a_person(model: OpenAIModel, sandbox: Sandbox, reply: str) -> None:
    with pytest.raises(Refused) as told:
        classify(a_call(model), Context(reply, TODAY))
    assert told.value.code == "empty_reply"
    assert sandbox.ledger.entries() == ()


# What breaks the rules


def test_an_explanation_that_breaks_a_rule_is_refused_and_booked() -> None:
    """Seen red where the answer was not checked."""
    reasons = [
        lead_scoring.Reason(factor=name, reason="It fits 97 percent.")
        for name in ("industry", "size", "mood")
    ]
    with (
        ScriptedServer(saying(Reasons(summary="Great.", factors=reasons))) as server,
        closing(a_model(f"{server.url}/v1")) as model,
    ):
        call = a_call(model)
        with pytest.raises(Refused) as told:
            explain(call, scored())
    assert told.value.code == "rules_broken"
    assert told.value.details == {
        "prompt": "lead-scoring/1",
        "rules": ["unknown_factor", "missing_factor", "number"],
    }
    assert "97" not in told.value.message
    assert "mood" not in told.value.message
    assert [charge.tokens_in for charge in call.caller.meter.charges] == [100]


def test_a_classification_that_quotes_what_was_not_said_is_refused_and_booked() -> None:
    says = Classification(
        category=Category.INTERESTED, confidence=1, nextStep="Call.", quote="Send me a contract"
    )
    with ScriptedServer(saying(says)) as server, closing(a_model(f"{server.url}/v1")) as model:
        call = a_call(model)
        with pytest.raises(Refused) as told:
            classify(call, Context("Sounds good.", TODAY))
    assert (told.value.code, told.value.details["rules"]) == ("rules_broken", ["quote"])
    assert call.caller.meter.total() is not None


def test_a_quote_keeps_the_replys_own_line_breaks() -> None:
    says = Classification(
        category=Category.INTERESTED, confidence=1, nextStep="Call.", quote="Sounds very good"
    )
    with ScriptedServer(saying(says)) as server, closing(a_model(f"{server.url}/v1")) as model:
        said: Said[Classification] = classify(
            a_call(model), Context("It\nsounds? Sounds\nvery  good.", TODAY)
        )
    assert said.answer.quote == "Sounds\nvery  good"


@pytest.mark.parametrize(
    "factors",
    [[], [Factor("a", 1, 1)] * 2, [Factor(f"f{n}", 1, 1) for n in range(13)], [Factor("x" * 101, 1, 1)]],
    ids=["none", "twice", "many", "long"],
)
def test_a_score_that_cannot_be_explained_is_a_mistake_of_ours(
    model: OpenAIModel, sandbox: Sandbox, factors: list[Factor]
) -> None:
    with pytest.raises(ValueError, match="factor"):
        explain(a_call(model), replace(scored(), factors=factors))
    assert sandbox.ledger.entries() == ()


# Hostile facts, all the way


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_hostile_facts_reach_the_model_as_facts(text: str) -> None:
    for prompt, context in asked(text):
        with (
            ScriptedServer(Reply.json({"choices": []})) as server,
            closing(a_model(f"{server.url}/v1")) as model,
            pytest.raises(Refused) as told,
        ):
            ask(a_call(model, 200_000), prompt, context)
        assert told.value.code == "invalid_answer"
        [call] = server.received
        assert [message["role"] for message in call.json["messages"]] == ["system", "user"]
        assert call.json["messages"][0]["content"] == prompt.instructions
        assert call.json["messages"][1]["content"].count("```") == 2


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_the_sandbox_answers_hostile_facts_in_form_or_is_not_asked(
    model: OpenAIModel, sandbox: Sandbox, text: str
) -> None:
    for prompt, context in asked(text):
        fits = wire.most_tokens(request_of(prompt, context)) <= prompt.pays.most_tokens_in
        with nullcontext() if fits else pytest.raises(Refused, match="too long"):
            answer = ask(a_call(model, prompt.pays.most_tokens_in), prompt, context).answer
            assert isinstance(answer, prompt.form)
            prompt.check(context, answer)


def test_the_modules_name_their_versions() -> None:
    assert (email_draft.VERSION, lead_scoring.VERSION, response_classification.VERSION) == ("1", "1", "1")
