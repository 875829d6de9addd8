"""What OpenAI refuses before a model is asked, and in which words; and what only its compatible servers take."""

from typing import Any

import httpx
import openai as sdk
import pytest
from openai import OpenAI

from sandbox.openai_chat import QUOTA_CODES
from sandbox.server import Sandbox
from tests.sandbox.conftest import fenced

TEXT: dict[str, Any] = {"type": "string"}


def ask(client: OpenAI, **options: Any) -> Any:
    return client.chat.completions.create(
        **{"model": "gpt-6-luna", "messages": [{"role": "user", "content": "Hello"}], **options}
    )


def with_schema(schema: dict[str, Any], *, strict: bool = True, name: str = "answer") -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": name, "strict": strict, "schema": schema}}


def an_object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def deep(levels: int) -> dict[str, Any]:
    return an_object(inner=deep(levels - 1)) if levels else TEXT


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({**an_object(a=TEXT), "additionalProperties": True}, "'additionalProperties' is required"),
        ({"type": "object", "properties": {"a": TEXT}, "required": ["a"]}, "'additionalProperties'"),
        ({**an_object(a=TEXT, b=TEXT), "required": ["a"]}, "Missing 'b'"),
        ({**an_object(a=TEXT), "required": ["a", "b"]}, "Extra required key 'b'"),
        (an_object(a=an_object(b={"type": "object"})), r"\('properties', 'a', 'properties', 'b'\)"),
        ({"type": "array", "items": TEXT}, "got 'type: \"array\"'"),
        ({"anyOf": [an_object(a=TEXT), an_object(b=TEXT)]}, "must be a JSON Schema of 'type: \"object\"'"),
        (an_object(a={"type": "string", "default": "x"}), "'default' is not permitted"),
        (an_object(a={"oneOf": [TEXT, {"type": "null"}]}), "'oneOf' is not permitted"),
        (an_object(a={"allOf": [TEXT]}), "'allOf' is not permitted"),
        (
            an_object(a={"type": "array", "items": TEXT, "uniqueItems": True}),
            "'uniqueItems' is not permitted",
        ),
        (an_object(a={"type": "array"}), "array schema missing items"),
        (an_object(a={"description": "anything"}), "must have a 'type' key"),
        (
            {**an_object(a={"$ref": "#/$defs/A", "description": "x"}), "$defs": {"A": TEXT}},
            r"\$ref cannot have keywords",
        ),
        (
            {**an_object(a={"$ref": "#/$defs/A"}), "$defs": {"A": {"type": "object"}}},
            "'additionalProperties'",
        ),
        (deep(11), "10 levels of nesting"),
        (an_object(**{f"p{number}": TEXT for number in range(5_001)}), "5000 object properties"),
        (an_object(a={"enum": [str(number) for number in range(1_001)]}), "1000 enum values"),
    ],
)
def test_a_schema_that_is_not_strict_is_refused_with_the_reason(
    openai: OpenAI, sandbox: Sandbox, schema: dict[str, Any], says: str
) -> None:
    with pytest.raises(sdk.BadRequestError, match=says) as refused:
        ask(openai, response_format=with_schema(schema))
    assert refused.value.param == "response_format"
    assert "Invalid schema for response_format 'answer'" in str(refused.value)
    assert not sandbox.ledger.entries()[0].paid


@pytest.mark.parametrize(
    "schema",
    [
        an_object(a={"anyOf": [TEXT, {"type": "null"}]}, b={"type": ["string", "null"]}),
        an_object(a={"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3}),
        {
            **an_object(a={"$ref": "#/$defs/A"}),
            "$defs": {"A": an_object(child={"$ref": "#/$defs/B"}), "B": TEXT},
        },
        an_object(a={"type": "string", "pattern": "^[a-z]+$"}, b={"type": "string", "format": "date"}),
        an_object(a={"type": "number", "minimum": 0, "exclusiveMaximum": 1}),
        deep(10),
        an_object(),
    ],
)
def test_a_strict_schema_is_taken(openai: OpenAI, schema: dict[str, Any]) -> None:
    assert ask(openai, response_format=with_schema(schema)).choices[0].finish_reason == "stop"


def test_a_loose_schema_is_taken_where_nobody_asked_for_strictness(openai: OpenAI) -> None:
    loose = {"type": "object", "properties": {"a": {"type": "string", "default": "x"}}}
    assert ask(openai, response_format=with_schema(loose, strict=False)).choices[0].message.content


@pytest.mark.parametrize(
    ("options", "param"),
    [
        (
            {"response_format": with_schema(an_object(a=TEXT), name="two words")},
            "response_format.json_schema.name",
        ),
        (
            {"response_format": with_schema(an_object(a=TEXT), name="x" * 65)},
            "response_format.json_schema.name",
        ),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"response_format": {"type": "json_object"}}, "messages"),
        ({"messages": [{"role": "boss", "content": "Hello"}]}, "messages[0].role"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"model": "gpt-4.1", "temperature": 3}, "temperature"),
    ],
)
def test_a_parameter_that_is_wrong_is_named(openai: OpenAI, options: dict[str, Any], param: str) -> None:
    with pytest.raises(sdk.BadRequestError) as refused:
        ask(openai, **options)
    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"


def test_a_parameter_that_openai_does_not_have_is_refused(openai: OpenAI) -> None:
    with pytest.raises(sdk.BadRequestError, match="Unrecognized request argument supplied: top_k"):
        ask(openai, extra_body={"top_k": 5})


def test_the_default_temperature_may_be_said(openai: OpenAI) -> None:
    assert ask(openai, temperature=1).choices[0].finish_reason == "stop"


def test_a_model_of_a_compatible_server_knows_the_limit_by_its_old_name_only(openai: OpenAI) -> None:
    assert ask(openai, model="llama3.2", max_tokens=900, temperature=0.7).choices[0].finish_reason == "stop"
    with pytest.raises(sdk.BadRequestError, match="Use 'max_tokens' instead") as refused:
        ask(openai, model="llama3.2", max_completion_tokens=900)
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "max_completion_tokens")
    assert ask(openai, model="llama3.2", extra_body={"top_k": 5}).choices[0].finish_reason == "stop"


def test_its_limit_cuts_too_and_its_context_is_short(openai: OpenAI) -> None:
    assert ask(openai, model="llama3.2", max_tokens=5).choices[0].finish_reason == "length"
    with pytest.raises(sdk.BadRequestError) as refused:
        ask(openai, model="llama3.2", messages=[{"role": "user", "content": "word " * 20_000}])
    assert refused.value.code == "context_length_exceeded"


def test_reasoning_may_use_up_the_whole_limit(openai: OpenAI) -> None:
    answer = ask(openai, max_completion_tokens=20)
    details = answer.usage.completion_tokens_details
    assert (answer.usage.completion_tokens, details.reasoning_tokens) == (20, 20)
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.content == ""


def test_without_an_effort_there_is_no_reasoning(openai: OpenAI) -> None:
    usage = ask(openai, reasoning_effort="none").usage
    assert usage.completion_tokens_details.reasoning_tokens == 0


@pytest.mark.parametrize("code", QUOTA_CODES)
@pytest.mark.parametrize("by", ["key", "fault"])
def test_every_kind_of_spent_quota_has_its_code(
    openai: OpenAI, control: httpx.Client, code: str, by: str
) -> None:
    client = openai
    if by == "key":
        client = openai.with_options(api_key=f"no-quota-key-{code}")
    else:
        kind = "quota" if code == "insufficient_quota" else code
        assert control.post("/_control/faults", json={"kind": kind}).status_code == 201
    with pytest.raises(sdk.RateLimitError) as refused:
        ask(client)
    assert (refused.value.code, refused.value.type) == (code, "insufficient_quota")
    assert "retry-after" not in refused.value.response.headers
    assert client.models.list().data  # the key itself is good


def test_the_official_client_tries_a_spent_quota_again_in_vain(openai: OpenAI, sandbox: Sandbox) -> None:
    with pytest.raises(sdk.RateLimitError):
        ask(openai.with_options(api_key="no-quota-key", max_retries=1))
    assert [entry.status for entry in sandbox.ledger.entries()] == [429, 429]


def test_the_official_client_comes_back_after_the_time_it_is_told(
    openai: OpenAI, control: httpx.Client, sandbox: Sandbox
) -> None:
    control.post("/_control/faults", json={"status": 429, "retry_after": 0, "times": 2})
    assert ask(openai.with_options(max_retries=2)).choices
    assert [entry.status for entry in sandbox.ledger.entries()] == [429, 429, 200]


@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        ({"kind": "context_length"}, sdk.BadRequestError, "context_length_exceeded"),
        ({"kind": "model_not_found"}, sdk.NotFoundError, "model_not_found"),
        ({"status": 403}, sdk.PermissionDeniedError, "insufficient_permissions"),
        ({"status": 429}, sdk.RateLimitError, "rate_limit_exceeded"),
        ({"status": 500}, sdk.InternalServerError, None),
        ({"kind": "bad_key"}, sdk.AuthenticationError, "invalid_api_key"),
    ],
)
def test_each_error_of_the_clients_tree_can_be_called_up(
    openai: OpenAI,
    control: httpx.Client,
    fault: dict[str, Any],
    error: type[sdk.APIStatusError],
    code: str | None,
) -> None:
    control.post("/_control/faults", json=fault)
    with pytest.raises(error) as refused:
        ask(openai)
    assert refused.value.code == code
    assert refused.value.request_id


def test_a_200_that_is_not_json_comes_through_the_official_client_as_text(
    openai: OpenAI, control: httpx.Client
) -> None:
    control.post("/_control/faults", json={"kind": "not_json"})
    assert isinstance(ask(openai), str)  # the client hands the page on as if it were the answer


def test_openai_reads_no_other_header_for_its_key(control: httpx.Client, sandbox: Sandbox) -> None:
    for headers in ({"x-api-key": "sandbox-openai-key"}, {"authorization": "Basic sandbox-openai-key"}, {}):
        refused = control.get("/v1/models", headers=headers)
        assert refused.status_code == 401
        assert refused.json()["error"]["type"] == "invalid_request_error"
        assert refused.headers["x-request-id"]


def test_an_unknown_model_is_not_found_in_the_list_either(openai: OpenAI) -> None:
    with pytest.raises(sdk.NotFoundError) as unknown:
        openai.models.retrieve("gpt-4-turbo-preview")
    assert unknown.value.code == "model_not_found"


def test_the_ledger_says_who_let_openai_keep_the_exchange(openai: OpenAI, sandbox: Sandbox) -> None:
    ask(openai, store=False)
    ask(openai, store=True)
    assert [entry.stored for entry in sandbox.ledger.entries()] == [False, True]


def test_the_responses_api_is_not_there(openai: OpenAI) -> None:
    with pytest.raises(sdk.NotFoundError):
        openai.responses.create(model="gpt-6-luna", input=fenced(a=1))
