"""The public address, asked as a stranger would: alive, ready, and saying no in the API's own form."""

import time
from collections.abc import Callable
from typing import Any, Final

import httpx

from infra.deploy.cloud import DeployError

PATIENCE: Final = 300.0  # seconds; a distribution that changed is everywhere in that time
_EVERY: Final = 5.0


def ask_as_a_stranger(
    origin: str,
    *,
    patience: float = PATIENCE,
    pause: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Ask until all is well. Returns what was found, a line each.

    Raises:
        DeployError: something is not well when patience ends; with the last answer.
    """
    with httpx.Client(timeout=35, follow_redirects=False) as client:
        return [
            _until(f"{origin}/api/v1/healthz", _is_success, client.get, patience, pause),
            _until(f"{origin}/api/v1/readyz", _is_success, client.get, patience, pause),
            _until(f"{origin}/api/v1/no/such/path", _is_envelope, client.get, patience, pause),
        ]


def _until(
    url: str,
    is_well: Callable[[httpx.Response], bool],
    ask: Callable[[str], httpx.Response],
    patience: float,
    pause: Callable[[float], None],
) -> str:
    waited, last = 0.0, ""
    while True:
        try:
            answer = ask(url)
            if is_well(answer):
                return f"{answer.status_code} {url}"
            last = f"{answer.status_code} {answer.text[:300]}"
        except httpx.HTTPError as error:
            last = str(error)
        if waited >= patience:
            raise DeployError(
                f"{url} does not answer as it should, for {waited:.0f} s: {last}\n"
                "The new code serves. `make rollback` goes back to the release before."
            )
        pause(_EVERY)
        waited += _EVERY


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
