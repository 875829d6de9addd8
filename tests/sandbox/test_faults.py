"""Whatever can go wrong at a provider can be made to go wrong here."""

import json
import threading
import time
from typing import Any

import httpx
import openai as sdk
import pytest
from openai import OpenAI
from pydantic import BaseModel

from sandbox.server import Sandbox

SEARCH = "mixed_companies/search"


class Draft(BaseModel):
    subject: str
    body: str


def switch_on(control: httpx.Client, **fault: Any) -> None:
    added = control.post("/_control/faults", json=fault)
    assert added.status_code == 201, added.text


def ask(client: OpenAI) -> Any:
    return client.chat.completions.parse(
        model="gpt-6-luna", messages=[{"role": "user", "content": "Hello"}], response_format=Draft
    )


def test_a_fault_happens_as_often_as_was_said(apollo: httpx.Client, control: httpx.Client) -> None:
    switch_on(control, path="/api/v1/mixed_companies/search", status=500, times=2)
    assert [apollo.post(SEARCH, json={}).status_code for _ in range(3)] == [500, 500, 200]
    assert control.get("/_control/faults").json() == []


def test_a_fault_leaves_other_paths_alone(apollo: httpx.Client, control: httpx.Client) -> None:
    switch_on(control, path="/api/v1/*/enrich", status=503)
    assert apollo.post(SEARCH, json={}).status_code == 200
    assert (
        apollo.get("organizations/enrich", params={"domain": "northwind-logistics.example"}).status_code
        == 503
    )


def test_a_fault_stays_until_it_is_cleared(apollo: httpx.Client, control: httpx.Client) -> None:
    switch_on(control, status=500)
    assert apollo.post(SEARCH, json={}).status_code == apollo.post(SEARCH, json={}).status_code == 500
    assert control.delete("/_control/faults").json() == []
    assert apollo.post(SEARCH, json={}).status_code == 200


def test_a_429_says_when_to_come_back(apollo: httpx.Client, openai: OpenAI, control: httpx.Client) -> None:
    switch_on(control, status=429, retry_after=3)
    refused = apollo.post(SEARCH, json={})
    assert refused.headers["retry-after"] == "3"
    assert "maximum number of api calls" in refused.json()["message"]
    with pytest.raises(sdk.RateLimitError) as limited:
        ask(openai)
    assert limited.value.response.headers["retry-after"] == "3"
    assert limited.value.code == "rate_limit_exceeded"


def test_a_refused_call_costs_nothing(apollo: httpx.Client, control: httpx.Client, sandbox: Sandbox) -> None:
    switch_on(control, status=500, times=1)
    apollo.post(SEARCH, json={})
    [entry] = sandbox.ledger.entries()
    assert (entry.status, entry.credits, entry.fault) == (500, 0, "status 500")


def test_latency_is_waited_for(apollo: httpx.Client, control: httpx.Client) -> None:
    switch_on(control, latency_ms=120, times=1)
    start = time.perf_counter()
    apollo.get("auth/health")
    assert time.perf_counter() - start >= 0.12


def test_a_slow_call_is_in_the_ledger_before_its_answer(
    apollo: httpx.Client, control: httpx.Client, sandbox: Sandbox
) -> None:
    switch_on(control, latency_ms=30_000)
    with pytest.raises(httpx.ReadTimeout):
        apollo.post(SEARCH, json={}, timeout=0.2)
    [entry] = sandbox.ledger.entries()
    assert (entry.credits, entry.status) == (1, 200)


def test_a_call_that_hangs_was_charged_and_ends_when_the_fault_is_cleared(
    apollo: httpx.Client, control: httpx.Client, sandbox: Sandbox
) -> None:
    switch_on(control, kind="hang", times=1)
    clearing = threading.Timer(0.2, sandbox.faults.clear)
    clearing.start()
    with pytest.raises(httpx.RemoteProtocolError):
        apollo.post(SEARCH, json={}, timeout=5)
    clearing.join()
    assert sandbox.ledger.totals()["apollo"]["credits"] == 1


@pytest.mark.parametrize(("kind", "credits_taken"), [("lost", 1), ("refused", 0)])
def test_an_answer_that_never_comes_may_or_may_not_have_been_charged(
    apollo: httpx.Client, control: httpx.Client, sandbox: Sandbox, kind: str, credits_taken: int
) -> None:
    switch_on(control, kind=kind, times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        apollo.post(SEARCH, json={})
    assert sandbox.ledger.totals()["apollo"]["credits"] == credits_taken


def test_apollos_body_can_break_off(apollo: httpx.Client, control: httpx.Client) -> None:
    switch_on(control, kind="truncate", times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        apollo.post(SEARCH, json={})


@pytest.mark.parametrize("kind", ["invalid_json", "not_json"])
def test_apollos_body_can_be_no_json(apollo: httpx.Client, control: httpx.Client, kind: str) -> None:
    switch_on(control, kind=kind, times=1)
    answer = apollo.post(SEARCH, json={})
    assert answer.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        answer.json()


@pytest.mark.parametrize(("kind", "status"), [("bad_key", 401), ("free_plan", 403), ("no_credit", 422)])
def test_a_good_apollo_key_can_be_made_bad(
    apollo: httpx.Client, control: httpx.Client, kind: str, status: int
) -> None:
    switch_on(control, kind=kind, times=1)
    assert apollo.post(SEARCH, json={}).status_code == status


def test_the_model_can_refuse(openai: OpenAI, control: httpx.Client) -> None:
    switch_on(control, kind="refusal", times=1)
    message = ask(openai).choices[0].message
    assert message.refusal
    assert message.parsed is None


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("truncate", sdk.LengthFinishReasonError),
        ("content_filter", sdk.ContentFilterFinishReasonError),
        ("invalid_json", ValueError),
        ("quota", sdk.RateLimitError),
        ("bad_key", sdk.AuthenticationError),
        ("lost", sdk.APIConnectionError),
    ],
)
def test_the_model_can_fail_in_every_way_the_client_knows(
    openai: OpenAI, control: httpx.Client, kind: str, error: type[Exception]
) -> None:
    switch_on(control, kind=kind, times=1)
    with pytest.raises(error):
        ask(openai)


def test_a_truncated_answer_is_paid_for(openai: OpenAI, control: httpx.Client, sandbox: Sandbox) -> None:
    switch_on(control, kind="truncate", times=1)
    with pytest.raises(sdk.LengthFinishReasonError):
        ask(openai)
    assert sandbox.ledger.totals()["openai"]["completion_tokens"] > 0


def test_a_models_fault_does_not_touch_apollo(apollo: httpx.Client, control: httpx.Client) -> None:
    switch_on(control, kind="refusal", times=1)
    assert apollo.post(SEARCH, json={}).status_code == 200
    assert len(control.get("/_control/faults").json()) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"kind": "meteor"}',
        b'{"status": 200}',
        b'{"status": "500"}',
        b'{"status": 500, "kind": "hang"}',
        b'{"latency_ms": -1}',
        b'{"status": 500, "times": 0}',
        b'{"status": 500, "times": true}',
        b'{"status": 500, "path": "api"}',
        b'{"retry_after": 3, "kind": "hang"}',
        b'{"staus": 500}',
    ],
)
def test_bad_input_is_a_422_with_words(control: httpx.Client, body: bytes) -> None:
    refused = control.post("/_control/faults", content=body)
    assert refused.status_code == 422
    assert len(refused.json()["error"].split()) > 2
