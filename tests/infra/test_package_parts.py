"""The steps of `make package`, each where it must refuse."""

import os
import re
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from infra.package.archive import Sizes, write
from infra.package.build import LOCK, ROOT, build
from infra.package.left_out import LIST, LeftOut
from infra.package.target import PYTHON, Architecture, Limits, PackageError
from infra.package.wheels import fetch, pins

SERVICES = ["cognito-idp", "events", "kms", "secretsmanager", "sqs"]
"""Whose descriptions botocore has in the package."""

ONLY_TO_DEPLOY = {
    "blessed",
    "chalice",
    "click",
    "editor",
    "inquirer",
    "jinxed",
    "packaging",
    "pip",
    "pyyaml",
    "readchar",
    "runs",
    "setuptools",
    "wcwidth",
    "wheel",
    "xmod",
}
"""Chalice's command line and what it needs."""

on_the_deployed_python = pytest.mark.skipif(
    sys.version_info[:2] != PYTHON,
    reason="The functions run on Python 3.13; only that can build the package.",
)


def everywhere() -> dict[str, str]:
    """What requirements.txt pins without a condition, or for CPython."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    found = [re.match(r"([A-Za-z0-9._-]+)==(\S+)(?: ; (.*))?", line) for line in lines]
    elsewhere = ("sys_platform == 'win32'", "sys_platform == 'emscripten'")
    return {
        match[1].lower().replace("_", "-"): match[2]
        for match in found
        if match and not any(condition in (match[3] or "") for condition in elsewhere)
    }


def test_the_package_gets_the_versions_that_are_tested_and_all_but_what_deploys_it() -> None:
    packaged = {pin.name: pin.version for pin in pins(ROOT / LOCK)}
    tested = everywhere()
    assert packaged == {name: version for name, version in tested.items() if name not in ONLY_TO_DEPLOY}
    assert set(tested) - set(packaged) == ONLY_TO_DEPLOY


def test_the_package_describes_the_services_that_functions_call_and_no_others() -> None:
    """Seen red with a client of S3 in chalicelib, and with sts kept."""
    sources = [path for folder in ("chalicelib", "migrations") for path in (ROOT / folder).rglob("*.py")]
    made = {name for path in sources for name in re.findall(r'\bclient\(\s*"([a-z0-9-]+)"', path.read_text())}
    kept = re.findall(r'^"botocore/data/([a-z0-9-]+)/\*"', LIST.read_text(), re.MULTILINE)
    assert made == set(kept) == set(SERVICES)


def test_a_pin_without_a_hash_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("six==1.17.0\n")
    with pytest.raises(PackageError, match=r"without a version or a hash: six==1\.17\.0"):
        pins(lock)


@pytest.mark.slow  # it asks the registry
def test_every_missing_wheel_is_named_with_the_platform(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    pretended = " --hash=sha256:" + "0" * 64
    lock.write_text(f"six==0.0.1{pretended}\npg8000==0.0.2{pretended}\n")
    with pytest.raises(PackageError) as refused:
        fetch(lock, Architecture.ARM64, tmp_path / "wheels")
    told = str(refused.value)
    assert "No wheel for Lambda's python3.13 on arm64 (manylinux_2_34_aarch64 or older)" in told
    assert "six==0.0.1, pg8000==0.0.2" in told


@pytest.mark.slow  # it asks the registry
def test_a_wheel_that_was_tampered_with_is_not_taken(tmp_path: Path) -> None:
    (six,) = [pin for pin in pins(ROOT / LOCK) if pin.name == "six"]
    lock = tmp_path / "lock.txt"
    lock.write_text(f"{six} " + " ".join(f"--hash=sha256:{digest}" for digest in six.hashes))
    folder = tmp_path / "wheels"
    (good,) = fetch(lock, Architecture.X86_64, folder)
    with zipfile.ZipFile(good.path, "a") as archive:
        archive.writestr("six_too.py", "print('gotcha')\n")
    (again,) = fetch(lock, Architecture.X86_64, folder)
    assert again.sha256 == good.sha256
    assert "six_too.py" not in zipfile.ZipFile(again.path).namelist()


def test_a_glob_that_matches_nothing_is_told() -> None:
    left_out = LeftOut(
        {"every": {"*.pyi": "types"}, "six": {"six/docs/*": "documentation"}, "seven": {"x": "y"}}
    )
    assert not left_out.stays("six", "six.pyi")
    assert left_out.stays("six", "six.py")
    with pytest.raises(PackageError) as refused:
        left_out.check(["six"])
    assert "[seven] is no wheel of the lock file" in str(refused.value)
    assert '[six] "six/docs/*" matches nothing' in str(refused.value)
    assert "*.pyi" not in str(refused.value)


def test_what_is_kept_stays_although_its_folder_goes() -> None:
    left_out = LeftOut({"lib": {"lib/data/*": "services", "keep": {"lib/data/sqs/*": "the queues"}}})
    assert left_out.stays("lib", "lib/data/sqs/service.json")
    assert not left_out.stays("lib", "lib/data/ec2/service.json")
    left_out.check(["lib"])


def test_a_glob_without_a_reason_is_refused() -> None:
    with pytest.raises(PackageError, match=r'\[lib\] "lib/data/\*" has no reason'):
        LeftOut({"lib": {"lib/data/*": " "}})


def test_a_zip_hangs_on_its_files_alone(tmp_path: Path) -> None:
    for name, time in (("one", 1_000_000_000), ("two", 1_700_000_000)):
        folder = tmp_path / name
        folder.mkdir()
        for file in sorted(("b.py", "a.py"), reverse=name == "two"):
            (folder / file).write_text(f"# {file}\n")
            os.utime(folder / file, (time, time))
        files = {path.name: path for path in folder.iterdir()}
        write(tmp_path / f"{name}.zip", dict(sorted(files.items(), reverse=name == "two")))
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_too_big_a_package_says_by_how_much_and_what_is_biggest() -> None:
    sizes = Sizes(zip_mb=31.5, unzipped_mb=80.0, files=2, biggest={"sqlalchemy": 7.0, "openai": 2.0})
    with pytest.raises(PackageError) as refused:
        sizes.check(Limits(zip_mb=30, unzipped_mb=100))
    told = str(refused.value)
    assert "31.5 MB zipped, which is 1.5 MB over the limit of 30 MB" in told
    assert "sqlalchemy 7.0, openai 2.0" in told


@pytest.mark.slow
@on_the_deployed_python
def test_nothing_is_left_of_a_package_that_is_too_big(tmp_path: Path) -> None:
    tree = a_tree_with_one_wheel(tmp_path / "tree")
    (tree / "left_out.toml").write_text("")
    out = tmp_path / "out"
    made = build(Architecture.X86_64, out, tree=tree, left_out=tree / "left_out.toml")
    assert made.wheels.keys() == {"six"}
    with pytest.raises(PackageError, match="MB zipped, which is"):
        build(
            Architecture.X86_64,
            out,
            tree=tree,
            left_out=tree / "left_out.toml",
            limits=Limits(zip_mb=made.sizes.zip_mb / 2),
        )
    assert not (out / "x86_64").exists()


def a_tree_with_one_wheel(tree: Path) -> Path:
    """A Chalice project that needs six and nothing else."""
    for folder in ("chalicelib", "migrations", ".chalice"):
        (tree / folder).mkdir(parents=True)
        shutil.copy(ROOT / "app.py", tree / folder / "__init__.py")
    shutil.copy(ROOT / "app.py", tree)
    shutil.copy(ROOT / ".chalice" / "config.json", tree / ".chalice")
    shutil.copy(ROOT / "requirements.txt", tree)
    (six,) = [pin for pin in pins(ROOT / LOCK) if pin.name == "six"]
    (tree / LOCK).write_text(f"{six} " + " ".join(f"--hash=sha256:{digest}" for digest in six.hashes))
    return tree
