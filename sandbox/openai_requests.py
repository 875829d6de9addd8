"""Which requests OpenAI takes: the models and their parameters, and its words for what it does not take."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sandbox.facts import text_of
from sandbox.strict import strict_fault

DEFAULT_MODEL: Final = "gpt-6-luna"
OLLAMAS_MODEL: Final = "llama3.2"


@dataclass(frozen=True, slots=True)
class Model:
    reasons: bool  # and so takes no temperature
    limits: frozenset[str]  # the names by which it knows the token limit
    context: int = 200_000  # tokens of the longest prompt
    openais: bool = True  # else one of a compatible server, which knows fewer parameters


NEW_NAME: Final = frozenset({"max_completion_tokens"})
OLD_NAME: Final = frozenset({"max_tokens"})
KNOWN_MODELS: Final[Mapping[str, Model]] = {
    DEFAULT_MODEL: Model(reasons=True, limits=NEW_NAME),
    "gpt-6": Model(reasons=True, limits=NEW_NAME),
    "gpt-5-mini": Model(reasons=True, limits=NEW_NAME),
    "gpt-4.1": Model(reasons=False, limits=NEW_NAME | OLD_NAME),
    "gpt-4.1-mini": Model(reasons=False, limits=NEW_NAME | OLD_NAME),
    OLLAMAS_MODEL: Model(reasons=False, limits=OLD_NAME, context=16_000, openais=False),
}
PARAMETERS: Final = frozenset(
    re.findall(
        r"\w+",
        "model messages audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens "
        "max_tokens metadata modalities moderation n parallel_tool_calls prediction presence_penalty "
        "prompt_cache_key prompt_cache_options prompt_cache_retention reasoning_effort response_format "
        "safety_identifier seed service_tier stop store stream stream_options temperature tool_choice tools "
        "top_logprobs top_p user verbosity web_search_options",
    )
)
ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
SCHEMAS_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
HOTTEST: Final = 2


class BadRequest(Exception):
    def __init__(self, message: str, *, param: str | None, code: str | None, status: int = 400) -> None:
        super().__init__(message)
        self.param, self.code, self.status = param, code, status


def checked(body: Any) -> Mapping[str, Any]:
    """The body, or BadRequest in OpenAI's words for the first thing wrong with it."""
    if not isinstance(body, dict):
        raise BadRequest("We could not parse the JSON body of your request.", param=None, code=None)
    if not isinstance(body.get("model"), str):
        raise BadRequest("you must provide a model parameter", param="model", code=None)
    if body["model"] not in KNOWN_MODELS:
        raise no_such_model(body["model"])
    model = KNOWN_MODELS[body["model"]]
    _check_names(body, model)
    _check_messages(body.get("messages"))
    if body.get("stream"):
        raise BadRequest("The sandbox does not stream.", param="stream", code="unsupported_value")
    _check_limit(body, model)
    _check_temperature(body.get("temperature"), model)
    _check_format(body)
    return body


def no_such_model(name: str) -> BadRequest:
    message = f"The model `{name}` does not exist or you do not have access to it."
    return BadRequest(message, param=None, code="model_not_found", status=404)


def too_long(model: str, prompt_tokens: int) -> BadRequest:
    return BadRequest(
        f"This model's maximum context length is {KNOWN_MODELS[model].context} tokens. However, your messages "
        f"resulted in {prompt_tokens} tokens. Please reduce the length of the messages.",
        param="messages",
        code="context_length_exceeded",
    )


def _check_names(body: Mapping[str, Any], model: Model) -> None:
    unknown = sorted(set(body) - PARAMETERS)
    if unknown and model.openais:
        raise BadRequest(f"Unrecognized request argument supplied: {unknown[0]}", param=None, code=None)


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
        raise BadRequest("Invalid 'messages': expected an array of messages.", param="messages", code=None)
    for place, message in enumerate(messages):
        if message.get("role") not in tuple(ROLES):
            raise BadRequest(
                f"Invalid value: '{message.get('role')}'. Supported values are: 'system', 'assistant', 'user', "
                "'function', 'tool', and 'developer'.",
                param=f"messages[{place}].role",
                code="invalid_value",
            )


def _check_limit(body: Mapping[str, Any], model: Model) -> None:
    given = [name for name in sorted(NEW_NAME | OLD_NAME) if body.get(name) is not None]
    for name in given:
        if name not in model.limits:
            raise BadRequest(
                f"Unsupported parameter: '{name}' is not supported with this model. "
                f"Use '{next(iter(model.limits))}' instead.",
                param=name,
                code="unsupported_parameter",
            )
        value = body[name]
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise BadRequest(
                f"Invalid '{name}': expected an integer of at least 1.", param=name, code="invalid_value"
            )


def _check_temperature(value: Any, model: Model) -> None:
    if value is None:
        return
    if model.reasons and value != 1:
        raise BadRequest(
            f"Unsupported value: 'temperature' does not support {value} with this model. "
            "Only the default (1) value is supported.",
            param="temperature",
            code="unsupported_value",
        )
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= HOTTEST:
        raise BadRequest(
            "Invalid 'temperature': expected a number from 0 to 2.", param="temperature", code="invalid_value"
        )


def _check_format(body: Mapping[str, Any]) -> None:
    wanted = body.get("response_format")
    if wanted is None:
        return
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_schema":
        _check_schema(wanted.get("json_schema"))
    elif kind == "json_object":
        if not any("json" in text_of(message).lower() for message in body["messages"]):
            raise BadRequest(
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type "
                "'json_object'.",
                param="messages",
                code=None,
            )
    elif kind != "text":
        raise BadRequest(
            f"Invalid value: '{kind}'. Supported values are: 'json_object', 'json_schema', and 'text'.",
            param="response_format.type",
            code="invalid_value",
        )


def _check_schema(described: Any) -> None:
    if not isinstance(described, dict) or not isinstance(described.get("schema"), dict):
        raise BadRequest(
            "Missing required parameter: 'response_format.json_schema'.",
            param="response_format.json_schema",
            code="missing_required_parameter",
        )
    name = described.get("name")
    if not isinstance(name, str) or not SCHEMAS_NAME.fullmatch(name):
        raise BadRequest(
            "Invalid 'response_format.json_schema.name': string does not match pattern. "
            "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$', of at most 64 characters.",
            param="response_format.json_schema.name",
            code="invalid_value",
        )
    why = strict_fault(described["schema"]) if described.get("strict") else None
    if why:
        message = f"Invalid schema for response_format '{name}': {why}"
        raise BadRequest(message, param="response_format", code=None)
