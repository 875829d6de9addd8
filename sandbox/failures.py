"""What a fault does to a call: in whose place it answers, or how it spoils the answer."""

import json
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from sandbox.apollo import PREFIX, Apollo, too_many_calls
from sandbox.faults import Fault
from sandbox.openai_chat import QUOTA_CODES, OpenAI, error_response
from sandbox.wire import HTML, Answer, Request, Response, json_response, text_response

GATEWAY_PAGE: Final = "<html><head><title>One moment</title></head><body>Please try again.</body></html>"
STATED_LIMIT: Final = 200
# The kinds that the provider itself shows.
IN_PROVIDER: Final = frozenset(
    {
        *("bad_key", "free_plan", "no_credit", "payment_required", "reordered"),
        *("quota", *QUOTA_CODES, "context_length", "model_not_found", "refusal", "content_filter"),
    }
)
IN_MODEL: Final = frozenset({"truncate", "invalid_json"})


def carry_out(provider: Apollo | OpenAI, request: Request, fault: Fault | None) -> Answer:
    """The call's answer under the fault, charged where the real one would have been."""
    if fault is None:
        return provider.answer(request)
    if fault.status:
        return Answer(_status(provider, request, fault))
    if fault.kind == "string_429":
        return Answer(_in_a_string(_status(provider, request, replace(fault, status=429))))
    if fault.kind == "refused":
        return Answer(Response(0, b"", delivery="closed"))
    if fault.kind in IN_PROVIDER or (fault.kind in IN_MODEL and isinstance(provider, OpenAI)):
        return provider.answer(request, fault.kind)
    return _spoiled(provider.answer(request), fault.kind)


def _spoiled(answer: Answer, kind: str | None) -> Answer:
    response = answer.response
    match kind:
        case "hang":
            response = replace(response, delivery="never")
        case "lost":
            response = replace(response, delivery="closed")
        case "truncate":
            response = replace(response, delivery="half")
        case "invalid_json":
            response = replace(
                response, status=200, body=response.body[: len(response.body) * 2 // 3] + b" ..."
            )
        case "not_json":
            response = Response(200, GATEWAY_PAGE.encode(), HTML)
    return replace(answer, response=response)


def _status(provider: Apollo | OpenAI, request: Request, fault: Fault) -> Response:
    """The status in the provider's own words."""
    status = fault.status or HTTPStatus.INTERNAL_SERVER_ERROR
    if isinstance(provider, OpenAI):
        response = _openai_status(status)
    elif status == HTTPStatus.TOO_MANY_REQUESTS:
        endpoint = request.path.removeprefix(PREFIX)
        response = replace(too_many_calls(endpoint, STATED_LIMIT, "minute", 0), headers={})
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        response = text_response(
            status, "<html><body>We're sorry, but something went wrong.</body></html>", HTML
        )
    else:
        response = json_response(status, {"error": f"The sandbox was told to answer {status}."})
    if fault.retry_after is None:
        return response
    return replace(response, headers={**response.headers, "retry-after": str(fault.retry_after)})


def _in_a_string(response: Response) -> Response:
    return replace(response, body=json.dumps(response.body.decode()).encode())


def _openai_status(status: int) -> Response:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        message = "Rate limit reached for requests. Please try again later."
        return error_response(status, message, "requests", code="rate_limit_exceeded")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        message = "The server had an error while processing your request. Sorry about that!"
        return error_response(status, message, "server_error")
    if status == HTTPStatus.FORBIDDEN:
        message = "You have insufficient permissions for this operation. Missing scopes: model.request."
        return error_response(status, message, "invalid_request_error", code="insufficient_permissions")
    return error_response(status, f"The sandbox was told to answer {status}.", "invalid_request_error")
