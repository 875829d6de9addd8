"""Apollo's client against the sandbox: an enriched company and a page of a search, as an agent asks for them.

The reference is bare httpx with a warm client that sends the very same requests and reads the JSON: what is left
is our work, which is bounding the answer, hearing the limits, booking the charge and believing each field.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx

from bench.measuring import Report, in_turns
from chalicelib.domain.companies import IdealCustomer
from chalicelib.domain.money import Meter
from chalicelib.domain.providers import Caller
from chalicelib.integrations.apollo import companies
from chalicelib.integrations.apollo.client import ApolloClient
from local.processes import Program

KEY: Final = "sandbox-apollo-key"
DOMAIN: Final = "northwind-logistics.example"
PROFILE: Final = IdealCustomer(industries=("logistics",))
PER_PAGE: Final = 25
TIMES: Final = 1000
WARM_UP: Final = 100


def measure() -> Report:
    with tempfile.TemporaryDirectory(prefix="bevyly-bench-") as name, _sandbox(Path(name)) as url:
        ours = _Sides({"enrich": _enriched_by_us(url), "search": _searched_by_us(url)})
        with httpx.Client(timeout=30) as http:
            theirs = _Sides({"enrich": _enriched(http, url), "search": _searched(http, url)})
            mine, other = in_turns(ours.sample, theirs.sample, runs=TIMES, warm_up=WARM_UP)
        _client(url).close()
    return Report(
        bench="provider_client",
        ours=mine,
        theirs=other,
        unit="ms",
        reference="bare httpx: the same two requests by a warm client, and json.loads",
        extras={
            what: round(
                statistics.median(
                    a / b for a, b in zip(ours.took[name][WARM_UP:], theirs.took[name][WARM_UP:], strict=True)
                ),
                3,
            )
            for name, what in (("enrich", "ratio_enrich"), ("search", "ratio_search"))
        },
    )


@dataclass(slots=True)
class _Sides:
    """Both calls, one after the other, and how long each took every time."""

    calls: Mapping[str, Callable[[], object]]
    took: dict[str, list[float]] = field(default_factory=dict)

    def sample(self) -> float:
        started = before = time.perf_counter()
        for name, call in self.calls.items():
            call()
            after = time.perf_counter()
            self.took.setdefault(name, []).append(after - before)
            before = after
        return (before - started) * 1000


def _client(url: str) -> ApolloClient:
    return ApolloClient(KEY, f"{url}/api/v1")


def _caller() -> Caller:
    return Caller(meter=Meter(), timeout=timedelta(seconds=30), call_id="use_bench")


def _enriched_by_us(url: str) -> Callable[[], object]:
    client = _client(url)

    def call() -> object:
        company = client.enrich(_caller(), DOMAIN)
        if company is None or not company.technologies:
            raise AssertionError("The sandbox does not know its first company.")
        return company

    return call


def _searched_by_us(url: str) -> Callable[[], object]:
    client = _client(url)

    def call() -> object:
        page = client.search(_caller(), PROFILE, page=1, per_page=PER_PAGE)
        if len(page.companies) != PER_PAGE:
            raise AssertionError("The sandbox does not fill a page.")
        return page

    return call


def _enriched(http: httpx.Client, url: str) -> Callable[[], Any]:
    address = f"{url}/api/v1/organizations/enrich"
    return lambda: json.loads(
        http.get(address, params={"domain": DOMAIN}, headers={"x-api-key": KEY}).raise_for_status().content
    )


def _searched(http: httpx.Client, url: str) -> Callable[[], Any]:
    address = f"{url}/api/v1/mixed_companies/search"
    content = {**companies.filters(PROFILE), "page": 1, "per_page": PER_PAGE}
    return lambda: json.loads(
        http.post(address, json=content, headers={"x-api-key": KEY}).raise_for_status().content
    )


@contextmanager
def _sandbox(folder: Path) -> Iterator[str]:
    """A process of its own, so that what it needs of a core is not counted as the client's."""
    program = Program("sandbox", ["-m", "sandbox"], environ={}, log_file=folder / "sandbox.log")
    try:
        yield str(program.wait()["url"])
    finally:
        program.stop()
