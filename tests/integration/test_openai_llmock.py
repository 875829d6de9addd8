"""The model's client, unchanged, against a server that others wrote: llmock, which speaks as OpenAI does.

It fills our forms with samples and fails on command in OpenAI's words. What it does not show: that an answer says
something, since its samples do not; and nothing about `strict` schemas, `store` or `max_completion_tokens`, which it
takes and does not look at.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from typing import Any

import httpx
import pytest

from chalicelib.agents.prompts import email_draft, lead_scoring, response_classification
from chalicelib.agents.prompts.email_draft import Draft
from chalicelib.agents.prompts.lead_scoring import Reasons
from chalicelib.agents.prompts.response_classification import Category, Classification
from chalicelib.domain.errors import (
    CredentialRejected,
    OutOfCredit,
    ProviderBusy,
    ProviderFailed,
    Refused,
)
from chalicelib.domain.money import RateNews
from chalicelib.integrations.openai.client import OpenAIModel
from tests.integration.apollo_world import a_caller
from tests.unit.test_prompts import email_context, reply_context, scoring_context

SERVE = "from llmock.cli import app; app()"
PER_MINUTE = 600


class Llmock:
    """The server, and its own way to be told what to do next."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.model_url = f"{address}/v1"

    def next(self, **behaviour: Any) -> None:
        httpx.post(f"{self.address}/_llmock/scenario", json={"behaviors": [behaviour]}).raise_for_status()

    def requests(self) -> list[dict[str, Any]]:
        answered: list[dict[str, Any]] = httpx.get(f"{self.address}/_llmock/requests").json()["requests"]
        return answered

    def verdict(self) -> dict[str, Any]:
        said: dict[str, Any] = httpx.get(f"{self.address}/_llmock/verdict").json()
        return said

    def reset(self) -> None:
        httpx.post(f"{self.address}/_llmock/reset").raise_for_status()


@pytest.fixture(scope="module")
def server() -> Iterator[Llmock]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--rpm",
        str(PER_MINUTE),
        "--context-window",
        "30000",
    ]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LLMOCK")}  # noqa: TID251 - the child's
    child = subprocess.Popen(
        [sys.executable, "-c", SERVE, "serve", *options],
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(address, child)
        yield Llmock(address)
    finally:
        child.terminate()
        child.wait(20)


def _wait_for(address: str, child: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        assert child.poll() is None, "llmock ended"
        try:
            if httpx.get(f"{address}/health", timeout=1).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("llmock does not answer")


@pytest.fixture
def llmock(server: Llmock) -> Llmock:
    server.reset()
    return server


@pytest.fixture
def model(llmock: Llmock) -> Iterator[OpenAIModel]:
    with closing(OpenAIModel("any-key", llmock.model_url, model="gpt-4o-mini", max_tokens=500)) as client:
        yield client


FACTS = {"contactName": "Ada Lovelace"}


def test_each_of_our_forms_is_filled_and_paid_for(model: OpenAIModel, llmock: Llmock) -> None:
    for form, facts in (
        (Draft, email_draft.facts(email_context("Ada"))),
        (Reasons, lead_scoring.facts(scoring_context("Ada"))),
        (Classification, response_classification.facts(reply_context("Sounds good"))),
    ):
        caller = a_caller()
        assert isinstance(model.answer(caller, instructions="Do.", facts=facts, form=form), form)
        charge = caller.meter.total()
        assert charge is not None
        assert charge.tokens_in > 10
        assert charge.tokens_out > 0
    assert [request["status"] for request in llmock.requests()] == [200, 200, 200]


def test_an_answer_given_to_it_comes_through(model: OpenAIModel, llmock: Llmock) -> None:
    said = Classification(category=Category.BOUNCE, confidence=0.5, nextStep="Näkemiin «»", quote="550")
    llmock.next(type="reply", text=said.model_dump_json())
    assert model.answer(a_caller(), instructions="Do.", facts=FACTS, form=Classification) == said


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ({"text": "I would rather talk."}, "invalid_answer"),
        ({"text": '{"subject": "cut', "finish_reason": "length"}, "truncated"),
        ({"text": "", "finish_reason": "content_filter"}, "filtered"),
    ],
)
def test_an_answer_of_no_use_is_refused_and_booked(
    model: OpenAIModel, llmock: Llmock, reply: dict[str, Any], code: str
) -> None:
    llmock.next(type="reply", **reply)
    caller = a_caller()
    with pytest.raises(Refused) as told:
        model.answer(caller, instructions="Do.", facts=FACTS, form=Draft)
    assert told.value.code == code
    charge = caller.meter.total()
    assert charge is not None
    assert charge.tokens_in > 0


@pytest.mark.parametrize(
    ("failure", "kind", "code"),
    [
        ({"status": 400}, ProviderFailed, "bad_request"),
        ({"status": 400, "code": "context_length_exceeded"}, ProviderFailed, "too_long"),
        ({"status": 401}, CredentialRejected, "credential_rejected"),
        ({"status": 402}, OutOfCredit, "out_of_credit"),
        ({"status": 403}, ProviderFailed, "forbidden"),
        ({"status": 404}, ProviderFailed, "model_not_found"),
        ({"status": 429, "retry_after": 7}, ProviderBusy, "rate_limited"),
        ({"status": 429, "code": "insufficient_quota"}, OutOfCredit, "out_of_credit"),
        ({"status": 500}, ProviderBusy, "provider_trouble"),
        ({"status": 503, "retry_after": 9}, ProviderBusy, "provider_trouble"),
        ({"status": 529}, ProviderBusy, "provider_trouble"),
    ],
    ids=lambda value: str(value.get("code", value["status"])) if isinstance(value, dict) else "",
)
def test_its_errors_are_understood_and_the_call_is_made_once(
    model: OpenAIModel, llmock: Llmock, failure: dict[str, Any], kind: type[ProviderFailed], code: str
) -> None:
    """Seen red with the library's own two retries: llmock saw three calls."""
    llmock.next(type="fail", **failure)
    caller = a_caller()
    with pytest.raises(ProviderFailed) as told:
        model.answer(caller, instructions="Do.", facts=FACTS, form=Draft)
    assert (type(told.value), told.value.code, caller.meter.total()) == (kind, code, None)
    if kind is ProviderBusy and "retry_after" in failure:
        assert told.value.retry_after is not None
        assert told.value.retry_after.total_seconds() == failure["retry_after"]
    assert len(llmock.requests()) == 1
    assert [one for one in llmock.verdict()["findings"] if one["severity"] == "error"] == []


def test_facts_beyond_its_context_are_told(model: OpenAIModel) -> None:
    with pytest.raises(ProviderFailed) as told:
        model.answer(a_caller(), instructions="Do.", facts={"text": "word " * 60_000}, form=Draft)
    assert told.value.code == "too_long"


def test_a_slow_answer_ends_with_the_time_that_is_left(model: OpenAIModel, llmock: Llmock) -> None:
    llmock.next(type="delay", seconds=1.5)
    started = time.monotonic()
    with pytest.raises(ProviderBusy) as told:
        model.answer(a_caller(seconds=0.4), instructions="Do.", facts=FACTS, form=Draft)
    assert told.value.code == "provider_timeout"
    assert time.monotonic() - started < 1.2


def test_its_rate_limit_is_heard(model: OpenAIModel) -> None:
    caller = a_caller()
    model.answer(caller, instructions="Do.", facts=FACTS, form=Draft)
    assert isinstance(caller.meter.news, RateNews)
    assert caller.meter.news.per_minute == PER_MINUTE
    assert caller.meter.news.left is not None
    assert PER_MINUTE - 60 < caller.meter.news.left < PER_MINUTE


@pytest.mark.parametrize("parameter", ["max_completion_tokens", "max_tokens"])
def test_either_name_of_the_token_limit_is_taken(llmock: Llmock, parameter: str) -> None:
    options: dict[str, Any] = {"token_parameter": parameter, "temperature": 0.3, "max_tokens": 500}
    with closing(OpenAIModel("any-key", llmock.model_url, model="gpt-4o-mini", **options)) as model:
        assert model.answer(a_caller(), instructions="Do.", facts=FACTS, form=Draft).subject


def test_a_sample_answer_does_not_pass_the_rules(model: OpenAIModel) -> None:
    """What llmock writes is in the right form and says nothing: it is for the checks to find that."""
    draft = model.answer(a_caller(), instructions="Do.", facts=FACTS, form=Draft)
    broken = {one.code for one in email_draft.check(email_context("Ada"), draft)}
    assert {"no_question", "structure", "not_addressed", "unknown_facts"} <= broken
    context = response_classification.Context("Sounds good", date(2026, 11, 27))
    told = model.answer(a_caller(), instructions="Do.", facts=FACTS, form=Classification)
    assert "quote" in {one.code for one in response_classification.check(context, told)}
