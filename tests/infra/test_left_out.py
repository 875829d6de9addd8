"""What chalice does with a dependency that has no wheel for Lambda: it says so, deploys without it, and ends with 0."""

import json
import platform
import zipfile
from pathlib import Path
from typing import Final

import boto3
import pytest

from infra.deploy.bucket import Bucket
from infra.deploy.cloud import Cloud, DeployError
from infra.deploy.functions import Functions
from local.aws import CREDENTIALS, REGION
from tests.infra.asked import heard

pytestmark = pytest.mark.slow

HERE: Final = platform.machine()
ELSEWHERE: Final = "x86_64" if HERE in {"aarch64", "arm64"} else "arm64"
APP: Final = """
from chalice import Chalice

app = Chalice(app_name="bevyly-agents")


@app.lambda_function()
def by_hand(event, context):
    return {}
"""


def a_wheel_for_this_processor(folder: Path) -> Path:
    """For pip here to find, and of no use to the functions, which run on the other processor."""
    folder.mkdir()
    with zipfile.ZipFile(folder / f"fits_nowhere-1.0-py3-none-linux_{HERE}.whl", "w") as wheel:
        about = "fits_nowhere-1.0.dist-info"
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: fits-nowhere\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", f"Wheel-Version: 1.0\nTag: py3-none-linux_{HERE}\n")
        wheel.writestr(f"{about}/RECORD", "")
    return folder


def a_staging_folder(folder: Path, role: str) -> Path:
    (folder / ".chalice").mkdir(parents=True)
    (folder / "app.py").write_text(APP)
    (folder / "requirements.txt").write_text("fits-nowhere==1.0\n")
    config = {
        "version": "2.0",
        "app_name": "bevyly-agents",
        "manage_iam_role": False,
        "iam_role_arn": role,
        "stages": {"dev": {"lambda_architecture": ELSEWHERE}},
    }
    (folder / ".chalice" / "config.json").write_text(json.dumps(config))
    return folder


def test_a_deploy_that_leaves_a_dependency_out_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen red without the look at what chalice says."""
    wheels = a_wheel_for_this_processor(tmp_path / "wheels")
    with heard() as aws:
        for name, value in {
            **CREDENTIALS,
            "AWS_ENDPOINT_URL": aws.address,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheels),
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        role = boto3.client("iam").create_role(RoleName="by-hand", AssumeRolePolicyDocument="{}")
        folder = a_staging_folder(tmp_path / "stage", role["Role"]["Arn"])
        cloud, lines = Cloud("dev"), list[str]()
        bucket = Bucket(cloud)
        cloud.client("s3").create_bucket(  # with its policy moto would refuse us, who come without TLS
            Bucket=bucket.name, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        functions = Functions(bucket, folder, "00" * 32, lines.append)
        with pytest.raises(DeployError, match="left dependencies out"):
            functions.bring_up()
        assert "chalice: fits-nowhere==1.0" in lines
        (made,) = boto3.client("lambda", region_name=REGION).list_functions()["Functions"]
        assert made["FunctionName"] == "bevyly-agents-dev-by_hand"
        assert "no deploy of this package has come to its end" in functions.problems()
