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

from sandbox.presets import PRESETS
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


def test_a_fault_can_be_one_keys_alone(apollo: httpx.Client, control: httpx.Client) -> None:
    switch_on(control, key_last4="eamx", status=503)
    assert apollo.post(SEARCH, json={}).status_code == 200
    other = {"x-api-key": "sandbox-apollo-key-teamx"}
    assert apollo.post(SEARCH, json={}, headers=other).status_code == 503


def test_a_fault_can_be_one_providers_alone(
    apollo: httpx.Client, openai: OpenAI, control: httpx.Client
) -> None:
    switch_on(control, provider="openai", status=503)
    assert apollo.post(SEARCH, json={}).status_code == 200
    with pytest.raises(sdk.InternalServerError):
        ask(openai)


def test_a_fault_can_be_one_models_alone(openai: OpenAI, control: httpx.Client) -> None:
    switch_on(control, model="gpt-6-luna", kind="model_not_found")
    with pytest.raises(sdk.NotFoundError):
        ask(openai)
    other = openai.chat.completions.create(model="gpt-6", messages=[{"role": "user", "content": "Hello"}])
    assert other.choices[0].finish_reason == "stop"


def test_a_fault_can_be_one_operations_alone(openai: OpenAI, control: httpx.Client) -> None:
    switch_on(control, path="/v1/chat/completions", kind="bad_key")
    assert openai.models.list().data
    with pytest.raises(sdk.AuthenticationError):
        ask(openai)


def test_one_fault_is_switched_off_and_the_other_stays(apollo: httpx.Client, control: httpx.Client) -> None:
    first = control.post("/_control/faults", json={"provider": "apollo", "status": 500}).json()
    second = control.post("/_control/faults", json={"provider": "openai", "status": 503}).json()
    assert [one["id"] for one in control.delete(f"/_control/faults/{first['id']}").json()] == [second["id"]]
    assert apollo.post(SEARCH, json={}).status_code == 200
    assert control.delete(f"/_control/faults/{first['id']}").status_code == 404


def hang(client: httpx.Client, path: str, outcome: list[str]) -> threading.Thread:
    def call() -> None:
        try:
            client.get(path, timeout=10)
        except httpx.RemoteProtocolError:
            outcome.append(path)

    thread = threading.Thread(target=call)
    thread.start()
    return thread


def eventually(holds: Any) -> bool:
    """Whether it holds within five seconds."""
    deadline = time.monotonic() + 5
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(holds())


def test_switching_one_off_lets_only_its_own_calls_go(
    apollo: httpx.Client, control: httpx.Client, sandbox: Sandbox
) -> None:
    health, enrich = "auth/health", "organizations/enrich"
    first = control.post(
        "/_control/faults", json={"path": f"/api/v1/{health}", "kind": "hang", "times": 1}
    ).json()
    switch_on(control, path=f"/api/v1/{enrich}", kind="hang")
    let_go = list[str]()
    threads = [hang(apollo, path, let_go) for path in (health, enrich)]
    assert eventually(lambda: sandbox.faults.hanging == 2)
    control.delete(f"/_control/faults/{first['id']}")  # it has spent itself, its call still hangs
    threads[0].join(5)
    assert (let_go, sandbox.faults.hanging) == ([health], 1)
    sandbox.faults.clear()
    threads[1].join(5)
    assert let_go == [health, enrich]


def test_hanging_calls_can_be_let_go_while_the_fault_stays_on(
    apollo: httpx.Client, control: httpx.Client, sandbox: Sandbox
) -> None:
    switch_on(control, path="/api/v1/auth/health", kind="hang")
    for _ in range(2):
        let_go = list[str]()
        thread = hang(apollo, "auth/health", let_go)
        assert eventually(lambda: sandbox.faults.hanging == 1)
        assert control.post("/_control/hanging/clear").status_code == 303
        thread.join(5)
        assert let_go == ["auth/health"]
    assert len(control.get("/_control/faults").json()) == 1


def test_a_caller_who_gives_up_hangs_no_longer(
    apollo: httpx.Client, control: httpx.Client, sandbox: Sandbox
) -> None:
    switch_on(control, kind="hang")
    with pytest.raises(httpx.ReadTimeout):
        apollo.post(SEARCH, json={}, timeout=0.1)
    assert eventually(lambda: sandbox.faults.hanging == 0)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_fault_that_is_switched_on_once_and_off_again(
    control: httpx.Client, sandbox: Sandbox, name: str
) -> None:
    control.post(f"/_control/presets/{name}/on")
    [fault] = control.post(f"/_control/presets/{name}/on").json()
    assert {**fault, **PRESETS[name].content} == fault
    assert control.post(f"/_control/presets/{name}/off").json() == []


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("apollo-out-of-credits", [422, 200]),
        ("apollo-out-of-credits-402", [402, 200]),
        ("apollo-bad-key", [401, 401]),
        ("apollo-free-plan", [403, 403]),
        ("apollo-busy", [429, 429]),
        ("apollo-down", [500, 500]),
        ("apollo-reordered", [200, 200]),
        ("openai-down", [200, 200]),
    ],
)
def test_a_preset_does_what_its_sentence_says(
    apollo: httpx.Client, control: httpx.Client, name: str, statuses: list[int]
) -> None:
    control.post(f"/_control/presets/{name}/on")
    paths = (SEARCH, "mixed_people/api_search")
    assert [apollo.post(path, json={}).status_code for path in paths] == statuses


def test_an_unknown_preset_is_told_and_the_known_ones_are_listed(control: httpx.Client) -> None:
    assert control.post("/_control/presets/meteor/on").status_code == 404
    listed = control.get("/_control/presets").json()
    assert [one["name"] for one in listed] == list(PRESETS)
    assert all(one["title"] and one["then"].endswith(".") for one in listed)


@pytest.mark.parametrize(
    "body",
    [
        {"provider": "acme", "status": 500},
        {"provider": ["apollo"], "status": 500},
        {"provider": "openai", "kind": "no_credit"},
        {"key_last4": "too-long", "status": 500},
        {"key_last4": "", "status": 500},
        {"model": 6, "status": 500},
        {"path": "/" + "x" * 200, "status": 500},
        {"kind": ["hang"]},
        {"latency_ms": 600_001},
    ],
)
def test_a_scope_that_is_none_is_a_422(control: httpx.Client, body: dict[str, Any]) -> None:
    assert control.post("/_control/faults", json=body).status_code == 422
