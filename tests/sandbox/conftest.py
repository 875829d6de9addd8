"""One running sandbox for the session; each test finds its ledger empty and no fault switched on."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openai import OpenAI

from sandbox.server import Sandbox
from sandbox.world import World


@pytest.fixture(scope="session")
def running() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Iterator[Sandbox]:
    running.ledger.reset()
    yield running
    running.faults.clear()


@pytest.fixture
def world(sandbox: Sandbox) -> World:
    return sandbox.world


# Clients are costly to make (each reads the machine's certificates), so one of each serves the session.
@pytest.fixture(scope="session")
def http(running: Sandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url) as client:
        yield client


@pytest.fixture(scope="session")
def apollo_http(running: Sandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.apollo_url, headers={"x-api-key": "sandbox-apollo-key"}) as client:
        yield client


@pytest.fixture(scope="session")
def openai_http(running: Sandbox) -> Iterator[OpenAI]:
    with OpenAI(base_url=running.openai_url, api_key="sandbox-openai-key", max_retries=0) as client:
        yield client


@pytest.fixture
def control(sandbox: Sandbox, http: httpx.Client) -> httpx.Client:
    return http


@pytest.fixture
def apollo(sandbox: Sandbox, apollo_http: httpx.Client) -> httpx.Client:
    return apollo_http


@pytest.fixture
def openai(sandbox: Sandbox, openai_http: OpenAI) -> OpenAI:
    return openai_http


def fenced(**facts: Any) -> str:
    """A user's message that holds the facts as the sandbox reads them."""
    return f"Whatever our prompt says.\n\n```facts\n{json.dumps(facts, ensure_ascii=False)}\n```\n"
