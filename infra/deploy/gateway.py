"""Errors of API Gateway itself, in the API's own form: an unknown path, too big a body, too many requests.

Chalice replaces the whole API at each deploy, and with it these answers; they count from the deployment after.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from infra.deploy.cloud import Cloud

ANSWERS: Final[Mapping[str, tuple[str | None, str, str]]] = {
    "DEFAULT_4XX": (None, "bad_request", "The request cannot be answered."),
    "DEFAULT_5XX": (None, "internal_error", "Something went wrong here. Try again later."),
    "MISSING_AUTHENTICATION_TOKEN": ("404", "not_found", "There is nothing at this path for this method."),
    "RESOURCE_NOT_FOUND": ("404", "not_found", "There is nothing at this path."),
    "REQUEST_TOO_LARGE": ("413", "too_large", "The body is too large."),
    "UNSUPPORTED_MEDIA_TYPE": ("415", "unsupported_media_type", "Send application/json."),
    "THROTTLED": ("429", "limit_reached", "Too many requests. Try again soon."),
    "QUOTA_EXCEEDED": ("429", "limit_reached", "Too many requests. Try again later."),
    "INTEGRATION_TIMEOUT": ("504", "unavailable", "The answer took too long. Try again."),
    "INTEGRATION_FAILURE": ("503", "unavailable", "The service is out for a moment. Try again."),
}
"""API Gateway's own word for the failure: status (None: as it is), code, message."""


def body(code: str, message: str) -> str:
    """The template of an answer. API Gateway fills in the request's id."""
    error = {"code": code, "message": message, "requestId": "$context.requestId"}
    return json.dumps({"success": False, "error": error})


def bring_up(cloud: Cloud, api: str, stage: str) -> bool:
    """Set the answers, and serve them. Says whether anything was to do."""
    gateway = cloud.client("apigateway")
    mark = f"answers {_digest()}"
    there = {each["responseType"]: each for each in gateway.get_gateway_responses(restApiId=api)["items"]}
    differing = [kind for kind in ANSWERS if not _is_so(kind, there.get(kind))]
    if not differing and _served(gateway, api, stage) == mark:
        return False
    for kind in differing:
        status, code, message = ANSWERS[kind]
        gateway.put_gateway_response(
            restApiId=api,
            responseType=kind,
            responseTemplates={"application/json": body(code, message)},
            **({} if status is None else {"statusCode": status}),
        )
    gateway.create_deployment(restApiId=api, stageName=stage, description=mark)
    return True


def problems(cloud: Cloud, api: str, stage: str) -> list[str]:
    """What is not as it should be."""
    gateway = cloud.client("apigateway")
    found = []
    there = {each["responseType"]: each for each in gateway.get_gateway_responses(restApiId=api)["items"]}
    found += [
        f"API Gateway answers {kind} in its own form" for kind in ANSWERS if not _is_so(kind, there.get(kind))
    ]
    if _served(gateway, api, stage) != f"answers {_digest()}":
        found.append(f"the API's stage {stage} serves a deployment without them")
    return found


def _is_so(kind: str, there: Mapping[str, Any] | None) -> bool:
    status, code, message = ANSWERS[kind]
    return (
        there is not None
        and there.get("responseTemplates") == {"application/json": body(code, message)}
        and (status is None or str(there.get("statusCode")) == status)
    )


def _served(gateway: Any, api: str, stage: str) -> str:
    """The description of what the stage serves."""
    deployment = gateway.get_stage(restApiId=api, stageName=stage)["deploymentId"]
    return str(gateway.get_deployment(restApiId=api, deploymentId=deployment).get("description", ""))


def _digest() -> str:
    return hashlib.sha256(json.dumps(sorted(ANSWERS.items())).encode()).hexdigest()[:12]
