"""`make person` where no AWS is needed. tests/infra/test_deploy.py lets a stage's first person in."""

import io
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.response import StreamingBody
from botocore.stub import Stubber

from infra.deploy.cloud import Cloud, DeployError
from infra.deploy.given import Given
from infra.deploy.invoking import invoke
from infra.deploy.people import VARIABLES, Account, Asked, how_to_sign_in
from infra.functions import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
SAID = {
    "PERSON_EMAIL": "ann@acme.example",
    "PERSON_NAME": "Ann",
    "PERSON_ROLE": "ADMIN",
    "PERSON_CUSTOMER_NAME": "Acme",
}


@pytest.fixture
def cloud() -> Cloud:
    session = boto3.session.Session("test", "test", region_name="eu-central-1")
    return Cloud("dev", session)


# What is said


def test_everything_that_is_wrong_is_told_before_aws_is_asked() -> None:
    with pytest.raises(DeployError) as refused:
        Asked.of({"PERSON_EMAIL": "ann", "PERSON_PLAN": "gold", "PERSON_RESEND": "ja"})
    for each in (
        "no e-mail address",
        "name is missing",
        "role is missing",
        "no plan 'gold'",
        "RESEND is yes",
    ):
        assert each in str(refused.value)
    assert "Nothing has been done." in str(refused.value)


def test_a_time_zone_is_of_a_new_customer_only() -> None:
    said = {**SAID, "PERSON_CUSTOMER_NAME": "", "PERSON_CUSTOMER": "cus_01k00000000000000000000000"}
    assert Asked.of(said).event["customerId"] == "cus_01k00000000000000000000000"
    with pytest.raises(DeployError, match="the name of a new one, or the id"):
        Asked.of({**said, "PERSON_TIME_ZONE": "Europe/Berlin"})


def test_the_makefile_hands_on_every_variable_and_lets_make_export_none_of_them() -> None:
    for name, variable in VARIABLES.items():
        assert f"person: export {name} := $(call typed,{variable})\n" in MAKEFILE
    (kept,) = [line for line in MAKEFILE.splitlines() if line.startswith("unexport")]
    assert kept.split()[1:] == list(VARIABLES.values())


def test_what_merely_stands_in_the_environment_is_not_meant() -> None:
    """Seen red with `$(value …)` alone: whoever has EMAIL in their shell would be let in themselves."""
    exported = {"EMAIL": "me@shell.example", "NAME": "HOST", "ROLE": "ADMIN", "CUSTOMER_NAME": "Mine"}
    done = subprocess.run(
        ["make", "-s", "-o", "install", "person", "STAGE=dev"],
        cwd=ROOT,
        env={**os.environ, **exported},  # noqa: TID251 - with more
        capture_output=True,
        text=True,
        check=False,
    )
    for missing in ("e-mail address is missing", "name is missing", "role is missing"):
        assert missing in done.stderr


@pytest.mark.parametrize("variable", VARIABLES.values())
def test_neither_make_nor_a_shell_runs_what_stands_in_a_name(tmp_path: Path, variable: str) -> None:
    """Seen red without `unexport`: make then expands them for the command's environment."""
    ran = tmp_path / "ran"
    said = f"""Ann "O'Brien" $(shell touch {ran}) `touch {ran}` ; touch {ran} $$(touch {ran})"""
    done = subprocess.run(
        ["make", "-s", "-o", "install", "person", "STAGE=dev", f"{variable}={said}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "Nothing has been done." in done.stderr
    assert not ran.exists()


def test_a_stage_that_belongs_elsewhere_is_left_alone(cloud: Cloud) -> None:
    said = Given.read("dev").said
    vars(cloud)["account"] = "123456789012"
    here = {"account": "123456789012", "region": "eu-central-1"}
    assert list(Given.of("dev", {**said, **here}).out_of_place(cloud)) == []
    for other in ({"account": "210987654321"}, {"region": "us-east-1"}):
        (wrong,) = Given.of("dev", {**said, **here, **other}).out_of_place(cloud)
        assert wrong.startswith("dev belongs to")


@pytest.mark.parametrize(
    ("account", "invited", "words"),
    [
        (
            Account("s", "FORCE_CHANGE_PASSWORD", enabled=True),
            True,
            "Cognito's e-mail, which lasts 7 days; they",
        ),
        (Account("s", "FORCE_CHANGE_PASSWORD", enabled=True), False, "lasts 7 days from when it was sent"),
        (Account("s", "CONFIRMED", enabled=True), False, "and the password they have"),
        (Account("s", "RESET_REQUIRED", enabled=True), False, "Cognito calls the account RESET_REQUIRED"),
        (Account("s", "CONFIRMED", enabled=False), False, "nobody can: the account is disabled"),
    ],
)
def test_how_they_sign_in_is_said_as_it_is(account: Account, words: str, *, invited: bool) -> None:
    said = how_to_sign_in(account, invited=invited, email="a@b.example", origin="https://x", pool="pool")
    assert words in said


# Invoking


def answered(said: Any, *, failed: bool = False) -> dict[str, Any]:
    body = json.dumps(said).encode()
    return {
        "StatusCode": 200,
        "Payload": StreamingBody(io.BytesIO(body), len(body)),
        **({"FunctionError": "Unhandled"} if failed else {}),
    }


@pytest.mark.parametrize("state", ["Inactive", "Pending"])
def test_a_function_that_is_asleep_is_waited_for_and_asked_once_more(cloud: Cloud, state: str) -> None:
    """Seen red without the second call."""
    with (
        Stubber(cloud.client("lambda", patient=True)) as asked,
        Stubber(cloud.client("lambda")) as looked_at,
    ):
        asked.add_client_error("invoke", "ResourceConflictException")
        looked_at.add_response("get_function_configuration", {"State": state}, {"FunctionName": "f"})
        looked_at.add_response("get_function", {"Configuration": {"State": "Active"}}, {"FunctionName": "f"})
        asked.add_response("invoke", answered({"a": 1}), {"FunctionName": "f", "Payload": b'{"b": 2}'})
        assert invoke(cloud, "f", {"b": 2}) == {"a": 1}
        asked.assert_no_pending_responses()
        looked_at.assert_no_pending_responses()


def test_a_call_that_is_refused_is_not_made_again(cloud: Cloud) -> None:
    with Stubber(cloud.client("lambda", patient=True)) as asked, Stubber(cloud.client("lambda")) as looked_at:
        asked.add_client_error("invoke", "AccessDeniedException", "not you")
        looked_at.add_response("get_function_configuration", {"State": "Active"})
        with pytest.raises(DeployError, match=r"f could not be called.*not you"):
            invoke(cloud, "f", {})


def test_a_function_that_fails_says_why_and_where_its_log_is(cloud: Cloud) -> None:
    with Stubber(cloud.client("lambda", patient=True)) as asked:
        said = {
            "errorType": "NotRegisteredError",
            "errorMessage": "Nobody is registered",
            "stackTrace": ["x"],
        }
        asked.add_response("invoke", answered(said, failed=True))
        with pytest.raises(DeployError) as failed:
            invoke(cloud, "f", {})
    assert str(failed.value) == "f failed: NotRegisteredError: Nobody is registered\nIts log: /aws/lambda/f."
