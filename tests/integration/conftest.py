"""One running sandbox for the session; each test finds its ledger empty and no fault switched on."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from chalicelib.integrations.apollo.client import ApolloClient
from sandbox.server import Sandbox


@pytest.fixture(scope="session")
def running_sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox: Sandbox) -> Iterator[Sandbox]:
    running_sandbox.ledger.reset()
    yield running_sandbox
    running_sandbox.faults.clear()


@pytest.fixture
def apollo(sandbox: Sandbox) -> Iterator[ApolloClient]:
    with closing(ApolloClient("sandbox-apollo-key", sandbox.apollo_url)) as client:
        yield client
