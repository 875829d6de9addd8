"""What Checkov says of the templates: all of its rules, but for what is reviewed here, each with its reason."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from infra.functions import ROOT

CHECKOV: Final = ROOT / ".checkov/bin/checkov"
TEMPLATES: Final = ROOT / "infra/templates"
QUEUES: Final = (
    "Runs",
    "RunsDead",
    "RunsLost",
    "Relay",
    "RelayDead",
    "Effects",
    "EffectsDead",
    "Events",
    "EventsDead",
)

OPTIONS: Final = (
    *("--framework", "cloudformation", "--output", "json"),
    *("--skip-download", "--compact", "--quiet", "--soft-fail"),
)

REVIEWED: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "CKV_AWS_18": (
        ("AWS::S3::Bucket.Console",),
        "The console's files are public, and only the distribution reads the bucket.",
    ),
    "CKV_AWS_27": (
        tuple(f"AWS::SQS::Queue.{name}" for name in (*QUEUES, "Undelivered")),
        "They are encrypted by SQS (SqsManagedSseEnabled), which the rule does not look at.",
    ),
    "CKV_AWS_86": (
        ("AWS::CloudFront::Distribution.Distribution",),
        "The API writes down who asked for what. The edge's log would be a second store of people's addresses.",
    ),
    "CKV_AWS_111": (
        ("AWS::IAM::ManagedPolicy.InVpc",),
        "Network interfaces have no resource level, and Lambda refuses a role without them; code is denied them.",
    ),
    "CKV_AWS_118": (
        ("AWS::RDS::DBInstance.Writer",),
        "Serverless has its capacity in CloudWatch, and Performance Insights says the rest.",
    ),
    "CKV_AWS_158": (
        ("AWS::Logs::LogGroup.FlowLogs",),
        "Refused connections, no content.",
    ),
    "CKV_AWS_162": (
        ("AWS::RDS::DBCluster.Cluster",),
        "Everybody signs in by a password of Secrets Manager, the functions through the proxy.",
    ),
    "CKV_AWS_174": (
        ("AWS::CloudFront::Distribution.Distribution",),
        "With DomainName it is TLS 1.2; CloudFront's own certificate comes with older ones, which nobody can switch off.",
    ),
}


def failed(templates: Path) -> set[tuple[str, str]]:
    """Rule and resource of whatever does not hold."""
    assert CHECKOV.is_file(), (
        "Checkov is not installed: `make test` does that, or `make .checkov/bin/checkov`."
    )
    said = subprocess.run(
        [CHECKOV, "--directory", templates, *OPTIONS],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(said.stdout)
    assert found["summary"]["parsing_errors"] == 0
    assert found["summary"]["passed"] > 100  # it has looked at something
    return {(each["check_id"], each["resource"]) for each in found["results"]["failed_checks"]}


@pytest.mark.slow
def test_checkov_says_nothing_that_is_not_reviewed() -> None:
    """Seen red with a cluster that is not encrypted, and with a line of REVIEWED that nothing needs any more."""
    assert failed(TEMPLATES) == {
        (rule, resource) for rule, (resources, _) in REVIEWED.items() for resource in resources
    }
