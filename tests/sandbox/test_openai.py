"""The chat completions as the official client sees them: keys, models, limits, usage."""

from typing import Any

import httpx
import openai as sdk
import pytest
from openai import OpenAI
from pydantic import BaseModel

from sandbox.server import Sandbox
from tests.sandbox.conftest import fenced

MODEL = "gpt-6-luna"
FACTS = fenced(
    contactName="Priya Iyer", companyName="Foxwick Goods", industry="retail", senderName="Sam Reed"
)


class Draft(BaseModel):
    subject: str
    body: str


def ask(client: OpenAI, message: str = FACTS, **options: Any) -> Any:
    return client.chat.completions.create(
        **{"model": MODEL, "messages": [{"role": "user", "content": message}], **options}
    )


def test_the_official_client_gets_a_parsed_answer(openai: OpenAI) -> None:
    answer = openai.chat.completions.parse(
        model=MODEL,
        messages=[{"role": "system", "content": "Any words."}, {"role": "user", "content": FACTS}],
        response_format=Draft,
        max_completion_tokens=2_000,
    )
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == MODEL
    assert answer._request_id
    assert answer.choices[0].message.parsed
    assert answer.choices[0].finish_reason == "stop"


def test_plain_text_is_answered_too(openai: OpenAI) -> None:
    assert "Priya" in ask(openai).choices[0].message.content


def test_usage_adds_up_and_is_what_the_ledger_says(openai: OpenAI, sandbox: Sandbox) -> None:
    usage = ask(openai).usage
    assert usage.prompt_tokens + usage.completion_tokens == usage.total_tokens
    assert len(FACTS) // 4 <= usage.prompt_tokens <= len(FACTS) // 4 + 20
    assert 0 < usage.completion_tokens_details.reasoning_tokens < usage.completion_tokens
    [entry] = sandbox.ledger.entries()
    assert (entry.prompt_tokens, entry.completion_tokens) == (usage.prompt_tokens, usage.completion_tokens)


def test_a_long_prompt_is_cached_when_it_comes_again(openai: OpenAI) -> None:
    long = "The same long introduction. " * 400
    first, again = (ask(openai, long + FACTS).usage.prompt_tokens_details.cached_tokens for _ in range(2))
    assert (first, again) == (0, 1_024)


def test_a_limit_that_is_too_small_cuts_the_answer(openai: OpenAI) -> None:
    with pytest.raises(sdk.LengthFinishReasonError) as cut:
        openai.chat.completions.parse(
            model=MODEL,
            messages=[{"role": "user", "content": FACTS}],
            response_format=Draft,
            max_completion_tokens=210,
        )
    usage = cut.value.completion.usage
    assert usage
    assert usage.completion_tokens <= 210


def test_the_models_are_listed_and_an_unknown_one_is_not_found(openai: OpenAI) -> None:
    assert MODEL in {model.id for model in openai.models.list()}
    assert openai.models.retrieve(MODEL).id == MODEL
    with pytest.raises(sdk.NotFoundError) as unknown:
        ask(openai, model="gpt-4-turbo-preview")
    assert unknown.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("option", "code"),
    [({"temperature": 0.7}, "unsupported_value"), ({"max_tokens": 500}, "unsupported_parameter")],
)
def test_a_reasoning_model_refuses_the_older_options(
    openai: OpenAI, option: dict[str, Any], code: str
) -> None:
    with pytest.raises(sdk.BadRequestError) as refused:
        ask(openai, **option)
    assert (refused.value.code, refused.value.param) == (code, next(iter(option)))


def test_an_older_model_takes_them(openai: OpenAI) -> None:
    answer = ask(openai, model="gpt-4.1-mini", temperature=0.7, max_tokens=900)
    assert answer.usage.completion_tokens_details.reasoning_tokens == 0


@pytest.mark.parametrize("key", ["bad-key", "another-key"])
def test_a_bad_key_is_an_authentication_error(openai: OpenAI, key: str) -> None:
    with pytest.raises(sdk.AuthenticationError) as refused:
        openai.with_options(api_key=key).models.list()
    assert refused.value.code == "invalid_api_key"
    assert key not in str(refused.value)


def test_without_quota_every_completion_is_refused(openai: OpenAI) -> None:
    with pytest.raises(sdk.RateLimitError) as refused:
        ask(openai.with_options(api_key="no-quota-key"))
    assert refused.value.type == refused.value.code == "insufficient_quota"


def test_a_prompt_that_is_too_long_says_so(openai: OpenAI) -> None:
    with pytest.raises(sdk.BadRequestError) as refused:
        ask(openai, "word " * 170_000)
    assert refused.value.code == "context_length_exceeded"


def test_a_schema_that_is_not_strict_is_refused(openai: OpenAI) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "loose", "strict": True, "schema": schema}}
    with pytest.raises(sdk.BadRequestError, match="additionalProperties"):
        ask(openai, response_format=wanted)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"model": "gpt-6-luna"}', b'{"model": "gpt-6-luna", "messages": []}']
)
def test_a_body_that_cannot_be_read_is_a_400(sandbox: Sandbox, control: httpx.Client, body: bytes) -> None:
    refused = control.post(
        "/v1/chat/completions", content=body, headers={"authorization": "Bearer sandbox-openai-key"}
    )
    assert refused.status_code == 400
    assert refused.json()["error"]["type"] == "invalid_request_error"
