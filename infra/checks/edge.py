"""CloudFront: what it hands on, what it says of whoever asks, and what it tells browsers."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from infra.checks.made import WITH_AN_API, Installation, Problems, with_api
from infra.functions import ROOT

A_YEAR: Final = 365 * 24 * 3600


ERRORS: Final = (400, 403, 404, 405, 414, 416, 500, 501, 502, 503, 504)
"""What CloudFront keeps for ten seconds unless it is told not to."""


def the_edge_hands_errors_on_and_says_who_asks(made: Installation) -> Problems:
    """Rendered with an API, whatever the stage's file says."""
    secret = "{{{{resolve:secretsmanager:{}:SecretString:value::{}}}}}".format(
        made.imported("EdgeSecretArn"), WITH_AN_API["EdgeSecretVersion"]
    )
    for name, resource in with_api(made).of_type("AWS::CloudFront::Distribution").items():
        config = resource["Properties"]["DistributionConfig"]
        yield from _hands_errors_on(name, config.get("CustomErrorResponses", []))
        behavior = next((each for each in config["CacheBehaviors"] if each["PathPattern"] == "/api/*"), None)
        if behavior is None:
            yield f"{name} does not lead /api/* to the API"
            continue
        origin = next(each for each in config["Origins"] if each["Id"] == behavior["TargetOriginId"])
        for header in origin.get("OriginCustomHeaders", []):
            sent = header["HeaderName"]
            if sent.startswith(("x-edge-", "x-amz-")):
                yield f"{name}: CloudFront may not add {sent}"
            if header["HeaderValue"] != secret:
                yield f"{name}: {sent} is not the stage's secret in the version that is given"
            if f'headers.get("{sent}"' not in (ROOT / "chalicelib/api/http.py").read_text(encoding="utf-8"):
                yield f"{name}: chalicelib/api/http.py does not look at {sent}"
        if not origin.get("OriginCustomHeaders"):
            yield f"{name} does not prove itself"


def _hands_errors_on(name: str, responses: Sequence[Mapping[str, Any]]) -> Problems:
    if any(each.get("ResponsePagePath") or each.get("ResponseCode") for each in responses):
        yield f"{name} answers errors in the API's place"
    kept = set(ERRORS) - {each["ErrorCode"] for each in responses if each.get("ErrorCachingMinTTL") == 0}
    if kept:
        yield f"{name} gives one person's error to everybody for a while: {sorted(kept)}"


# AWS's own policies have the same ids in every account.
CACHING_OPTIMIZED: Final = "658327ea-f89d-4fab-a63d-7e88639e58f6"
CACHING_DISABLED: Final = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
ALL_VIEWER_EXCEPT_HOST_HEADER: Final = "b689b0a8-53d0-40ab-baf2-68738e2966ac"
PATHS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "*": {
            "TargetOriginId": "console",
            "AllowedMethods": ["GET", "HEAD"],
            "CachePolicyId": CACHING_OPTIMIZED,
            "OriginRequestPolicyId": None,
            "ResponseHeadersPolicyId": "<ConsoleHeaders>",
            "FunctionAssociations": [
                {"EventType": "viewer-request", "FunctionARN": "<PageFunction.FunctionARN>"}
            ],
        },
        "/api/*": {
            "TargetOriginId": "api",
            "AllowedMethods": ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"],
            "CachePolicyId": CACHING_DISABLED,
            "OriginRequestPolicyId": ALL_VIEWER_EXCEPT_HOST_HEADER,
            "ResponseHeadersPolicyId": "<ApiHeaders>",
            "FunctionAssociations": [
                {"EventType": "viewer-request", "FunctionARN": "<ViewerFunction.FunctionARN>"}
            ],
        },
    }
)
"""What is kept, what is handed on, and what is done with a request on its way. `*` is the default."""


def each_path_goes_its_own_way(made: Installation) -> Problems:
    for name, resource in with_api(made).of_type("AWS::CloudFront::Distribution").items():
        config = resource["Properties"]["DistributionConfig"]
        behaviors = {each["PathPattern"]: each for each in config["CacheBehaviors"]}
        behaviors["*"] = config["DefaultCacheBehavior"]
        if more := behaviors.keys() - PATHS.keys():
            yield f"{name} serves {', '.join(sorted(more))}, which nobody has thought of"
        for origin in config["Origins"]:
            if "S3OriginConfig" in origin and not origin.get("OriginAccessControlId"):
                yield f"{name} asks the bucket as nobody, and is refused"
        for path, wanted in PATHS.items():
            for key, value in wanted.items():
                said = behaviors.get(path, {}).get(key)
                if (sorted(said or []) if key == "AllowedMethods" else said) != value:
                    yield f"{name}: {key} of {path} is {said}, not {value}"


def browsers_are_told_what_the_console_may_do(made: Installation) -> Problems:
    for name, properties in made.each("AWS::CloudFront::ResponseHeadersPolicy"):
        config = properties["ResponseHeadersPolicyConfig"]
        headers = config["SecurityHeadersConfig"]
        wanted = {"ContentTypeOptions", "FrameOptions", "ReferrerPolicy", "StrictTransportSecurity"}
        if config["Name"].endswith("-console"):
            wanted |= {"ContentSecurityPolicy"}
            policy = headers.get("ContentSecurityPolicy", {}).get("ContentSecurityPolicy", "")
            if not {"default-src 'self'", "script-src 'self'", "object-src 'none'"} <= set(
                policy.split("; ")
            ):
                yield f"{name} lets scripts of others run"
        if missing := wanted - headers.keys():
            yield f"{name} lacks {', '.join(sorted(missing))}"
        if int(headers.get("StrictTransportSecurity", {}).get("AccessControlMaxAgeSec", 0)) < A_YEAR:
            yield f"{name}: browsers forget TLS within a year"
