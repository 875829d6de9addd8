"""CloudFront: what it hands on, what it says of whoever asks, and what it tells browsers."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from infra.checks.made import Installation, Problems, with_api
from infra.functions import ROOT

A_YEAR: Final = 365 * 24 * 3600


ERRORS: Final = (400, 403, 404, 405, 414, 416, 500, 501, 502, 503, 504)
"""What CloudFront keeps for ten seconds unless it is told not to."""


def the_edge_hands_errors_on_and_says_who_asks(made: Installation) -> Problems:
    """Rendered with an API, whatever the stage's file says."""
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
