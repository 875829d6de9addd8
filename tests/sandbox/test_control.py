"""The ledger, the page, and the program itself."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from sandbox.server import Sandbox

ROOT = Path(__file__).parents[2]
SEARCH = "mixed_companies/search"


def test_the_ledger_tells_the_whole_call(apollo: httpx.Client, control: httpx.Client) -> None:
    headers = {"x-bevyly-call": "call-7", "idempotency-key": "key-7"}
    apollo.post(SEARCH, json={"page": 2}, headers=headers)
    [row] = control.get("/_control/ledger").json()
    at, request_hash = row.pop("at"), row.pop("request_hash")
    assert at.endswith("+00:00")
    assert len(request_hash) == 16
    assert row == {
        "provider": "apollo",
        "path": "/api/v1/mixed_companies/search",
        "key_last4": "-key",
        "credits": 1,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "status": 200,
        "paid": True,
        "subject": "page 2",
        "call": "call-7",
        "trace": "key-7",
        "fault": None,
        "stored": False,
    }


def test_a_repeated_call_shows(apollo: httpx.Client, control: httpx.Client) -> None:
    for call in ("a", "a", "b"):
        apollo.post(SEARCH, json={}, headers={"x-bevyly-call": call})
    assert len(control.get("/_control/ledger", params={"call": "a"}).json()) == 2
    assert control.get("/_control/ledger/totals").json()["apollo"]["calls"] == 3


def test_the_ledger_can_be_emptied(apollo: httpx.Client, control: httpx.Client) -> None:
    apollo.post(SEARCH, json={})
    assert control.delete("/_control/ledger").json()["all"]["calls"] == 0
    assert control.get("/_control/ledger").json() == []


def test_an_unknown_path_or_method_is_told_in_words(control: httpx.Client) -> None:
    assert control.get("/nothing").status_code == 404
    assert control.put("/_control/faults").json() == {"error": "Use DELETE or GET or POST here."}


@pytest.mark.parametrize(
    "body", [{}, {"key": "sandbox-apollo-key", "credits": -1}, {"key": "who", "credits": 1}]
)
def test_credits_are_granted_to_known_keys_only(control: httpx.Client, body: dict[str, object]) -> None:
    assert control.post("/_control/credits", json=body).status_code == 422


def test_the_page_shows_the_world_the_bill_and_the_faults(
    apollo: httpx.Client, control: httpx.Client
) -> None:
    apollo.get("organizations/enrich", params={"domain": "<script>alert(1)</script>"})
    sent = control.post("/_control/faults", data={"path": "*", "kind": "", "status": "503", "times": "1"})
    assert sent.status_code == 303
    page = control.get("/").text
    assert "2,400 companies" in page
    assert "Northwind Logistics" in page
    assert "503" in page
    assert "<script>" not in page
    assert control.post("/_control/faults/clear").status_code == 303
    assert "None: everything works." in control.get("/").text


def test_two_sandboxes_do_not_meet() -> None:
    with Sandbox() as one, Sandbox() as other:
        assert one.url != other.url
        httpx.post(f"{one.apollo_url}/{SEARCH}", headers={"x-api-key": "sandbox-apollo-key"}, json={})
        assert len(one.ledger.entries()) == 1
        assert not other.ledger.entries()


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_the_program_says_where_it_listens_keeps_its_ledger_and_stops_when_told(
    tmp_path: Path, told: signal.Signals
) -> None:
    file = tmp_path / "ledger.jsonl"
    command = [sys.executable, "-m", "sandbox", "--port", "0", "--seed", "5", "--ledger", str(file)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout
        url = json.loads(program.stdout.readline())["url"]
        assert url.startswith("http://127.0.0.1:")
        httpx.post(f"{url}/api/v1/{SEARCH}", headers={"x-api-key": "sandbox-apollo-key"}, json={})
        [line] = file.read_text().splitlines()
        assert json.loads(line)["credits"] == 1
        program.send_signal(told)
        assert program.wait(timeout=5) == 0
    with Sandbox(ledger_file=file) as again:
        assert again.ledger.totals()["apollo"]["credits"] == 1
