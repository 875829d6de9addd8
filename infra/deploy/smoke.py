"""The public address, asked as a stranger would: alive, ready, and saying no in the API's own form."""

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from infra.deploy.cloud import DeployError

PATIENCE: Final = 300.0  # seconds; a distribution that changed is everywhere in that time
_EVERY: Final = 5.0


def ask_as_a_stranger(
    origin: str,
    *,
    leads_to: str,
    other: str | None,
    patience: float = PATIENCE,
    pause: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Ask until all is well. Returns what was found, a line each.

    Args:
        origin: the public address.
        leads_to: the distribution's own name, where a record for the public one must lead.
        other: the release that a rollback would let serve, if there is one.
        patience: seconds, for each of the three.
        pause: waits for so many seconds.

    Raises:
        DeployError: something is not well when patience ends; with the last answer, and what to do.
    """
    with httpx.Client(timeout=35, follow_redirects=False) as client:
        stranger = _Stranger(client.get, leads_to, other, patience, pause)
        return [
            stranger.until(f"{origin}/api/v1/healthz", _is_success),
            stranger.until(f"{origin}/api/v1/readyz", _is_success),
            stranger.until(f"{origin}/api/v1/no/such/path", _is_envelope),
        ]


@dataclass(frozen=True, slots=True)
class _Stranger:
    ask: Callable[[str], httpx.Response]
    leads_to: str
    other: str | None
    patience: float
    pause: Callable[[float], None]

    def until(self, url: str, is_well: Callable[[httpx.Response], bool]) -> str:
        waited = 0.0
        while True:
            try:
                answer = self.ask(url)
                if is_well(answer):
                    return f"{answer.status_code} {url}"
                last, to_do = f"{answer.status_code} {answer.text[:300]}", self._of_the_code()
            except httpx.HTTPError as error:
                nameless = any(isinstance(each, socket.gaierror) for each in _causes(error))
                last, to_do = str(error), self._of_the_name(url) if nameless else self._of_the_code()
            if waited >= self.patience:
                raise DeployError(
                    f"{url} does not answer as it should, for {waited:.0f} s: {last}\n{to_do}"
                ) from None
            self.pause(_EVERY)
            waited += _EVERY

    def _of_the_code(self) -> str:
        if self.other is not None:
            return f"What was deployed serves. `make rollback` goes back to {self.other}."
        return (
            "What was deployed serves, and there is no release to go back to. "
            "Mend it, then start the same command again."
        )

    def _of_the_name(self, url: str) -> str:
        host = urlsplit(url).hostname
        return (
            f"{host} has no address. Make a record for it that leads to {self.leads_to}: a CNAME, or an ALIAS (in "
            "Route 53 of both A and AAAA) where the name is its zone's own. "
            "Then start the same command again: what is done stays done."
        )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_success(answer: httpx.Response) -> bool:
    return answer.status_code == httpx.codes.OK and _json(answer).get("success") is True


def _is_envelope(answer: httpx.Response) -> bool:
    said = _json(answer)
    return (
        answer.status_code == httpx.codes.NOT_FOUND
        and said.get("success") is False
        and "code" in said.get("error", {})
    )


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        said = answer.json()
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
