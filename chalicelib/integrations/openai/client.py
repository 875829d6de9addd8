"""A language model behind OpenAI's chat completions, which compatible servers speak too.

It asks once and checks the answer itself, so that usage is booked whatever the answer is worth. It does not
retry: a second call costs again, and the run's own record decides about that.
"""

import json
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from chalicelib.domain.errors import ProviderFailed
from chalicelib.domain.money import Charge
from chalicelib.domain.providers import Answer, Caller
from chalicelib.integrations.openai import failures, prompt
from chalicelib.integrations.openai.prices import is_openais
from chalicelib.integrations.openai.rates import news_of

if TYPE_CHECKING:
    import httpx2
    import openai

    from chalicelib.integrations.addresses import Allowed

logger = logging.getLogger(__name__)

REASONING_HEADROOM: Final = 4000
"""Tokens on top of those for the answer: a reasoning model spends them first, against the same limit."""

MOST_TOKENS: Final = 10**9
"""A larger figure is not believed, nor would it fit the ledger."""

MOST_BYTES: Final = 4 * 1024 * 1024
CONNECT_SECONDS: Final = 5.0

_LISTS_NO_MODELS: Final = frozenset({403, 404, 405, 501})
"""A key that is good for answers may not read the list (403); other servers have none."""

_SENDABLE_KEY: Final = re.compile(r"[\x21-\x7e]+")


@dataclass(slots=True, eq=False)
class OpenAIModel:
    """One tenant's or the platform's access to one model. Keeps its connections; safe on any thread."""

    api_key: str = field(repr=False)
    base_url: str
    model: str
    max_tokens: int  # room for the answer
    temperature: float | None = None  # sent only when set: current models refuse it
    token_parameter: str = "max_completion_tokens"  # noqa: S105 - a parameter's name; Ollama's is `max_tokens`
    allowed: "Allowed | None" = None  # where a tenant's base URL may lead; None: it is the operator's own
    _openai: "openai.OpenAI | None" = field(default=None, init=False, repr=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

    @property
    def token_limit(self) -> int:
        """The most tokens one answer can be charged for."""
        return self.max_tokens + REASONING_HEADROOM

    def answer(
        self, caller: Caller, *, instructions: str, facts: Mapping[str, Any], form: type[Answer]
    ) -> Answer:
        """The model's answer, valid by `form`.

        Raises:
            Refused: it declined, was filtered or cut off, or did not keep to the form; its usage is booked. Or
                `too_long`: it could cost more than is booked for it, so it was not asked.
            ProviderBusy: a full rate window, a 5xx, or no answer.
            OutOfCredit, CredentialRejected, ProviderFailed: for good, in words.
        """
        if not _SENDABLE_KEY.fullmatch(self.api_key):
            raise failures.bad_key()
        request = self.request(instructions=instructions, facts=facts, form=form)
        if not _is_booked(caller, request):
            raise failures.longer_than_booked(self.model)
        answer = self._exchange(caller, request, form)
        if isinstance(answer, ProviderFailed):
            raise answer  # from here, where no frame and no context holds the key or what the model said
        return answer

    def check(self, caller: Caller) -> None:
        """Whether the key counts and knows the model; costs nothing. A server that lists no models is believed.

        Raises as `answer`; ProviderFailed with the code `model_not_found` for a model that is not among them.
        """
        if not _SENDABLE_KEY.fullmatch(self.api_key):
            raise failures.bad_key()
        failure = self._looked_up(caller)
        if failure is not None:
            raise failure  # as in `answer`

    def request(self, *, instructions: str, facts: Mapping[str, Any], form: type[Answer]) -> dict[str, Any]:
        """What is sent."""
        request: dict[str, Any] = {
            "model": self.model,
            "messages": prompt.messages(instructions, facts),
            "response_format": prompt.response_format(form),
            self.token_parameter: self.token_limit,
        }
        if self.temperature is not None:
            request["temperature"] = self.temperature
        if is_openais(self.base_url):
            request["store"] = False  # leads are personal data; compatible servers may not know the name
        return request

    def __del__(self) -> None:
        with suppress(Exception):  # at the process's end its parts may be gone already
            self.close()

    def close(self) -> None:
        """Let go of the connections. The next call opens new ones."""
        with self._lock:
            if self._openai is not None:
                self._openai.close()
                self._openai = None

    def _exchange(
        self, caller: Caller, request: Mapping[str, Any], form: type[Answer]
    ) -> Answer | ProviderFailed:
        import httpx2  # noqa: PLC0415 - openai's own transport, 0.2 s
        import openai  # noqa: PLC0415 - 0.6 s, which only a function that calls should pay

        seconds = max(caller.timeout.total_seconds(), 0)
        try:
            with self._client().chat.completions.with_streaming_response.create(
                model=request["model"],
                messages=request["messages"],
                extra_body=request,  # the library refuses what it has no parameter for, servers differ
                extra_headers={"x-bevyly-call": caller.call_id},
                timeout=openai.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS)),
            ) as response:
                _hear(caller, response.headers)
                completion = _json_of(_body(response.http_response))
                request_id = response.request_id
        except openai.APIStatusError as error:
            _hear(caller, error.response.headers)
            kinds = frozenset(kind for kind in (error.type, error.code) if isinstance(kind, str))
            return failures.of_status(error.status_code, error.response.headers, kinds, model=self.model)
        except (openai.OpenAIError, httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            return _of_transport(error)
        usage = self._believed(caller, self._usage(completion, request))
        caller.meter.add(replace(usage, model=self.model, request_id=request_id))
        return self._checked(completion, form)

    def _looked_up(self, caller: Caller) -> ProviderFailed | None:
        import httpx2  # noqa: PLC0415 - as above
        import openai  # noqa: PLC0415 - as above

        seconds = max(caller.timeout.total_seconds(), 0)
        try:
            with self._client().models.with_streaming_response.list(
                timeout=openai.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))
            ) as response:
                listed = _json_of(_body(response.http_response))
        except openai.APIStatusError as error:
            if error.status_code in _LISTS_NO_MODELS:
                return None
            kinds = frozenset(kind for kind in (error.type, error.code) if isinstance(kind, str))
            return failures.of_status(error.status_code, error.response.headers, kinds, model=self.model)
        except (openai.OpenAIError, httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            return _of_transport(error)
        match listed:
            case {"data": list(models)}:
                return None if _is_among(self.model, models) else failures.no_such_model(self.model)
            case {}:
                return None
        return failures.no_model_server()

    def _client(self) -> "openai.OpenAI":
        import openai  # noqa: PLC0415 - as above

        from chalicelib.integrations.openai.transport import open_client  # noqa: PLC0415 - as above

        with self._lock:
            if self._openai is None:
                self._openai = openai.OpenAI(
                    api_key=self.api_key,
                    base_url=self.base_url,
                    max_retries=0,
                    http_client=open_client(self.allowed),
                )
                # The library reads both from the environment, where they can only be another account's.
                self._openai.organization = self._openai.project = None
            return self._openai

    def _usage(self, completion: object, request: Mapping[str, Any]) -> Charge:
        """What a served call states that it used; one that does not say is taken for the worst case."""
        match completion:
            case {"usage": {"prompt_tokens": int(tokens_in), "completion_tokens": int(tokens_out)} as usage}:
                return Charge(
                    tokens_in=_tokens(tokens_in),
                    tokens_cached=_detail(usage, "prompt_tokens_details", "cached_tokens"),
                    tokens_out=_tokens(tokens_out),
                    tokens_reasoning=_detail(usage, "completion_tokens_details", "reasoning_tokens"),
                )
        return Charge(tokens_in=prompt.most_tokens(request), tokens_out=self.token_limit)

    def _believed(self, caller: Caller, usage: Charge) -> Charge:
        """What is booked: as stated, but never more than was booked before the call.

        No more was sent, and no more was allowed to be written. So a budget holds whatever a server claims.
        """
        if caller.most_tokens_in is None:
            return usage
        most_in, most_out = caller.most_tokens_in, self.token_limit
        if usage.tokens_in > most_in or usage.tokens_out > most_out:
            logger.warning(
                "model server states more tokens than it was sent or allowed",
                extra={"entry": caller.call_id, "tokens_in": usage.tokens_in, "tokens_out": usage.tokens_out},
            )
        return replace(
            usage,
            tokens_in=min(usage.tokens_in, most_in),
            tokens_cached=min(usage.tokens_cached, most_in),
            tokens_out=min(usage.tokens_out, most_out),
            tokens_reasoning=min(usage.tokens_reasoning, most_out),
        )

    def _checked(self, completion: object, form: type[Answer]) -> Answer | ProviderFailed:
        match completion:
            case {"choices": [{"message": {"refusal": str(said)}}, *_]} if said:
                return failures.model_refused(self.model)
            case {"choices": [{"finish_reason": "content_filter"}, *_]}:
                return failures.filtered(self.model)
            case {"choices": [{"finish_reason": "length"}, *_]}:
                return failures.truncated(self.model)
            case {"choices": [{"message": {"content": str(content)}}, *_]}:
                answer = _parsed(content, form)
                return failures.invalid_answer(self.model) if answer is None else answer
        return failures.invalid_answer(self.model)


def _is_booked(caller: Caller, request: Mapping[str, Any]) -> bool:
    """Whether the call cannot cost more than what is booked for it.

    Raises RuntimeError for a call that no step pays for, and for a second one of the same step: bugs of an agent.
    """
    if caller.most_tokens_in is None:
        return True
    if caller.most_tokens_in == 0:
        raise RuntimeError("a model was to be called in a step that pays for no tokens")
    if any(charge.tokens_in or charge.tokens_out for charge in caller.meter.charges):
        raise RuntimeError("a model was to be called twice in a step that pays for one call")
    return prompt.most_tokens(request) <= caller.most_tokens_in


def _hear(caller: Caller, headers: Mapping[str, str]) -> None:
    if news := news_of(headers):
        caller.meter.hear(news)


def _is_among(model: str, listed: list[Any]) -> bool:
    """By the name that is called; Ollama lists it with its tag, Gemini with its folder."""
    names = [entry.get("id") for entry in listed if isinstance(entry, dict)]
    return any(
        isinstance(name, str) and model in {name, name.removesuffix(":latest"), name.removeprefix("models/")}
        for name in names
    )


def _body(response: "httpx2.Response") -> bytes:
    """The body unpacked; empty when it is too large or cannot be unpacked."""
    import httpx2  # noqa: PLC0415 - as above

    body = bytearray()
    try:
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > MOST_BYTES:
                return b""
    except httpx2.DecodingError:
        return b""
    return bytes(body)


def _json_of(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _of_transport(error: Exception) -> ProviderFailed:
    """What it means that there was no answer. The library wraps its transport's errors, ours come bare."""
    import httpx2  # noqa: PLC0415 - as above

    from chalicelib.integrations.openai.transport import AddressNotAllowed  # noqa: PLC0415 - as above

    cause = error.__cause__ or error
    if isinstance(cause, AddressNotAllowed):
        return failures.private_address()
    if isinstance(cause, httpx2.UnsupportedProtocol | httpx2.InvalidURL):
        return failures.bad_address()
    if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return failures.unreachable()
    return failures.no_answer()


def _detail(usage: Mapping[str, Any], group: str, name: str) -> int:
    match usage.get(group):
        case dict() as details if isinstance(details.get(name), int):
            return _tokens(details[name])
    return 0


def _tokens(stated: int) -> int:
    return min(max(int(stated), 0), MOST_TOKENS)


def _parsed(content: str, form: type[Answer]) -> Answer | None:
    """The content in the form asked for; NUL, which no database column takes, is in no form."""
    if "\\u0000" in content:
        return None
    try:
        return form.model_validate_json(content)
    except (ValidationError, RecursionError):
        return None
