"""OpenAI's chat completions: keys, models, limits and usage as OpenAI has them, answers from the facts."""

import json
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sandbox.answers import answer_text
from sandbox.facts import text_of
from sandbox.openai_requests import KNOWN_MODELS, BadRequest, checked, no_such_model, too_long
from sandbox.text import stable_hash
from sandbox.wire import Answer, Request, Response, json_response

KEY: Final = "sandbox-openai-key"
NO_QUOTA_KEY: Final = "no-quota-key"
COMPLETIONS: Final = "/v1/chat/completions"
MODELS: Final = "/v1/models"
# All are of the type `insufficient_quota`; a key that begins with NO_QUOTA_KEY may end with its code.
QUOTA_CODES: Final[Mapping[str, str]] = {
    "insufficient_quota": "You exceeded your current quota, please check your plan and billing details.",
    "credit_balance_exhausted": "Your organization has no prepaid credits remaining. Please add credits.",
    "organization_spend_limit_exceeded": "Your organization has reached its monthly spend limit.",
    "project_spend_limit_exceeded": "Your project has reached its monthly spend limit.",
    "organization_usage_limit_exceeded": "Your organization has reached its approved usage limit.",
}
MODEL_CREATED: Final = 1_780_000_000
CACHED_FROM: Final = 1_024  # tokens; shorter prompts are never cached
CHARACTERS_A_TOKEN: Final = 4


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model wrote and what it took."""

    content: str | None
    refusal: str | None
    finish_reason: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int


class OpenAI:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen_prefixes = set[int]()

    def answer(self, request: Request, kind: str | None = None) -> Answer:
        """The answer to one call. `kind` is a fault that the model or the key is to show."""
        key = request.key_for("openai")
        if kind == "bad_key" or not key.startswith((KEY, NO_QUOTA_KEY)):
            return Answer(_bad_key(key))
        if request.path.startswith(MODELS) and request.method == "GET":
            return Answer(_models(request.path.removeprefix(MODELS).strip("/")))
        if request.path != COMPLETIONS or request.method != "POST":
            message = f"Invalid URL ({request.method} {request.path})"
            return Answer(error_response(404, message, "invalid_request_error"))
        if code := _spent(key, kind):
            return Answer(error_response(429, QUOTA_CODES[code], "insufficient_quota", code=code))
        try:
            body = checked(request.json)
            completion = self._complete(body, kind)
        except BadRequest as error:
            return Answer(
                error_response(
                    error.status, str(error), "invalid_request_error", param=error.param, code=error.code
                )
            )
        return Answer(
            json_response(200, _content(body, completion), response_headers()),
            subject=str(body["model"]),
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            stored=body.get("store") is True,
        )

    def _complete(self, body: Mapping[str, Any], kind: str | None) -> Completion:
        prompt = "\n".join(text_of(message) for message in body["messages"])
        asked = json.dumps(body.get("response_format") or "")
        prompt_tokens = tokens(prompt) + tokens(asked) + 3 * len(body["messages"]) + 3
        model = str(body["model"])
        if kind == "model_not_found":
            raise no_such_model(model)
        if kind == "context_length" or prompt_tokens > KNOWN_MODELS[model].context:
            raise too_long(model, max(prompt_tokens, KNOWN_MODELS[model].context + 1))
        reasoning = _reasoning_tokens(body, prompt)
        text, refusal, reason = self._written(body, kind)
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        if kind == "truncate":
            limit = reasoning + max(1, tokens(text) // 2)
        if limit is not None and reasoning + tokens(text) > limit:
            reasoning = min(reasoning, limit)
            text, reason = text[: (limit - reasoning) * CHARACTERS_A_TOKEN], "length"
        written = tokens(refusal or text) if text or refusal else 0
        return Completion(
            content=None if refusal or (reason == "content_filter" and not text) else text,
            refusal=refusal,
            finish_reason=reason,
            prompt_tokens=prompt_tokens,
            cached_tokens=self._cached(model, prompt, prompt_tokens),
            completion_tokens=reasoning + written,
            reasoning_tokens=reasoning,
        )

    def _written(self, body: Mapping[str, Any], kind: str | None) -> tuple[str, str | None, str]:
        if kind == "refusal":
            return "", "I'm sorry, but I can't help with that request.", "stop"
        if kind == "content_filter":
            return "", None, "content_filter"
        text = answer_text(body["messages"], body.get("response_format"))
        if kind == "invalid_json":
            text = f"Here is what you asked for: {text[: len(text) * 2 // 3]} …"
        return text, None, "stop"

    def _cached(self, model: str, prompt: str, prompt_tokens: int) -> int:
        """A long prompt whose beginning was seen before is partly cached, in steps of 128 tokens."""
        if prompt_tokens < CACHED_FROM:
            return 0
        prefix = stable_hash(model, prompt[: CACHED_FROM * CHARACTERS_A_TOKEN])
        with self._lock:
            seen = prefix in self._seen_prefixes
            self._seen_prefixes.add(prefix)
        return CACHED_FROM if seen else 0


def tokens(text: str) -> int:
    """About four characters a token; nothing is none."""
    return -(-len(text) // CHARACTERS_A_TOKEN)


def error_response(
    status: int, message: str, kind: str, *, param: str | None = None, code: str | None = None
) -> Response:
    content = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return json_response(status, content, response_headers())


def response_headers() -> Mapping[str, str]:
    return {
        "x-request-id": f"req_{uuid.uuid4().hex}",
        "openai-version": "2020-10-01",
        "openai-processing-ms": "1",
        "x-ratelimit-limit-requests": "10000",
        "x-ratelimit-remaining-requests": "9999",
        "x-ratelimit-reset-requests": "6ms",
    }


def _bad_key(key: str) -> Response:
    if not key:
        return error_response(401, "You didn't provide an API key.", "invalid_request_error")
    shown = f"{key[:2]}{'*' * 8}{key[-2:]}"
    message = f"Incorrect API key provided: {shown}."
    return error_response(401, message, "invalid_request_error", code="invalid_api_key")


def _spent(key: str, kind: str | None) -> str:
    """The code of the quota that is used up, or nothing."""
    if kind == "quota":
        return "insufficient_quota"
    if kind in QUOTA_CODES:
        return str(kind)
    if not key.startswith(NO_QUOTA_KEY):
        return ""
    return next((code for code in QUOTA_CODES if key.endswith(code)), "insufficient_quota")


def _models(wanted: str) -> Response:
    listed = [_model(name) for name in KNOWN_MODELS]
    if not wanted:
        return json_response(200, {"object": "list", "data": listed}, response_headers())
    if wanted in KNOWN_MODELS:
        return json_response(200, _model(wanted), response_headers())
    return error_response(
        404,
        f"The model '{wanted}' does not exist",
        "invalid_request_error",
        param="model",
        code="model_not_found",
    )


def _model(name: str) -> Mapping[str, Any]:
    return {"id": name, "object": "model", "created": MODEL_CREATED, "owned_by": "sandbox"}


def _reasoning_tokens(body: Mapping[str, Any], prompt: str) -> int:
    if not KNOWN_MODELS[str(body["model"])].reasons or body.get("reasoning_effort") in {"none", "minimal"}:
        return 0
    return 64 * (1 + stable_hash(prompt) % 3)


def _content(body: Mapping[str, Any], completion: Completion) -> Mapping[str, Any]:
    message: Mapping[str, Any] = {
        "role": "assistant",
        "content": completion.content,
        "refusal": completion.refusal,
        "annotations": [],
    }
    choices: Sequence[Mapping[str, Any]] = [
        {"index": 0, "message": message, "logprobs": None, "finish_reason": completion.finish_reason}
    ]
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex[:29]}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": choices,
        "usage": {
            "prompt_tokens": completion.prompt_tokens,
            "completion_tokens": completion.completion_tokens,
            "total_tokens": completion.prompt_tokens + completion.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": completion.cached_tokens, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": completion.reasoning_tokens,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": None,
    }
