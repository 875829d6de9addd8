"""Rotation: every row under the new wrapping key, and at no moment one that does not open."""

import json
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from chalicelib import bootstrap
from chalicelib.domain.ids import new_id
from chalicelib.domain.secrets import Place, Secret, WrappedKey
from chalicelib.faults import Point
from chalicelib.integrations.vault.envelope import Envelope, Envelopes
from chalicelib.integrations.vault.keyfile import KeyFile
from chalicelib.services import rotation as service
from chalicelib.services.rotation import Rotation
from chalicelib.workers import rotation as worker
from tests.builders import rows
from tests.conftest import Tenant, World, a_tenant
from tests.fakes.worker import Job, Nursery

TENANTS = 6


@dataclass(slots=True)
class Kept:
    """Tenants with a key at both providers, sealed with the file's first key."""

    world: World
    file: KeyFile
    tenants: list[Tenant]

    @property
    def vault(self) -> Envelopes:
        """As a fresh process has it."""
        return Envelopes(KeyFile(self.file.path))

    def rotation(self) -> Rotation:
        return Rotation(self.world.database, self.vault)

    def rows(self) -> list[tuple[Tenant, Any]]:
        return [
            (tenant, row)
            for tenant in self.tenants
            for row in rows(
                self.world.database,
                tenant.manager,
                "SELECT id, provider, credentials FROM integration_credentials ORDER BY provider",
            )
        ]

    def key_ids(self) -> list[str]:
        return [Envelope.of(row.credentials).key.key_id for _, row in self.rows()]

    def check_every_row_opens(self) -> None:
        vault = self.vault
        for tenant, row in self.rows():
            place = Place(tenant.customer_id, row.provider, row.id)
            assert vault.open(row.credentials, place) == Secret(f"key of {row.id}")


@pytest.fixture
def kept(world: World, tmp_path: Path) -> Kept:
    file = KeyFile(tmp_path / "vault.key")
    tenants = [a_tenant(world.database, f"T{number}") for number in range(TENANTS)]
    for tenant in tenants:
        for provider in ("apollo", "openai"):
            credential_id = new_id("CredentialId")
            sealed = Envelopes(file).seal(
                Secret(f"key of {credential_id}"), Place(tenant.customer_id, provider, credential_id)
            )
            rows(
                world.database,
                tenant.manager,
                "INSERT INTO integration_credentials (id, customer_id, provider, credentials)"
                " VALUES (:id, :customer, :provider, :sealed) RETURNING id",
                id=credential_id,
                customer=tenant.customer_id,
                provider=provider,
                sealed=sealed,
            )
    return Kept(world, file, tenants)


def test_every_row_is_put_under_the_new_key_and_the_second_time_nothing_is_to_do(kept: Kept) -> None:
    new = kept.file.add_key()
    told = kept.rotation().rotate()
    assert told == {
        "tenants": TENANTS,
        "rewrapped": 2 * TENANTS,
        "current": 0,
        "changed": 0,
        "failed": 0,
        "next": None,
        "stopped": None,
    }
    assert kept.key_ids() == [new] * 2 * TENANTS
    kept.check_every_row_opens()
    again = kept.rotation().rotate()
    assert (again["rewrapped"], again["current"]) == (0, 2 * TENANTS)


@pytest.mark.slow
@pytest.mark.parametrize("point", [Point.BEFORE_REWRAP, Point.AFTER_REWRAP])
@pytest.mark.parametrize("nth", [1, 5])
def test_killed_at_any_point_every_row_opens_and_the_next_one_finishes(
    kept: Kept, nursery: Nursery, point: Point, nth: int
) -> None:
    """Seen red with the new key's id written beside the data key as it was."""
    new = kept.file.add_key()
    settings = kept.world.database.settings
    job = Job("rotate", kept.tenants[0].customer_id, kept.file.path, die_at=point, nth=nth)
    assert nursery.work(settings, job).code == -signal.SIGKILL
    done = kept.key_ids().count(new)
    assert done == (nth if point is Point.AFTER_REWRAP else nth - 1)
    kept.check_every_row_opens()
    assert kept.rotation().rotate()["rewrapped"] == 2 * TENANTS - done
    assert kept.key_ids() == [new] * 2 * TENANTS
    kept.check_every_row_opens()


def test_two_at_once_do_each_row_once(kept: Kept) -> None:
    kept.file.add_key()
    ready, told = threading.Barrier(2), list[dict[str, Any]]()

    def rotate() -> None:
        rotation = kept.rotation()
        ready.wait(10)
        told.append(rotation.rotate())

    threads = [threading.Thread(target=rotate) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one["rewrapped"] for one in told) == 2 * TENANTS
    assert sum(one["failed"] for one in told) == 0
    kept.check_every_row_opens()


@dataclass(slots=True)
class Meddling(KeyFile):
    """Somebody saves a new key while the old one's data key is re-wrapped."""

    meanwhile: Callable[[], None] = lambda: None

    def rewrap(self, stored: WrappedKey, place: Place) -> WrappedKey:
        self.meanwhile()
        return KeyFile.rewrap(self, stored, place)


def test_a_key_saved_meanwhile_is_not_overwritten(kept: Kept) -> None:
    """Seen red with the envelope left out of the UPDATE's condition."""
    kept.file.add_key()
    tenant, row = kept.rows()[0]

    def save() -> None:
        rows(
            kept.world.database,
            tenant.manager,
            "UPDATE integration_credentials SET credentials = 'the new one' WHERE id = :id RETURNING id",
            id=row.id,
        )

    meddling = Meddling(kept.file.path, meanwhile=save)
    told = Rotation(kept.world.database, Envelopes(meddling)).rotate()
    assert told["changed"] == 1
    assert kept.rows()[0][1].credentials == "the new one"


def test_a_row_that_does_not_open_is_counted_and_left_as_it_is(kept: Kept) -> None:
    kept.file.add_key()
    (one, row), (other, stolen) = kept.rows()[0], kept.rows()[2]
    assert one is not other
    rows(
        kept.world.database,
        one.manager,
        "UPDATE integration_credentials SET credentials = :sealed WHERE id = :id RETURNING id",
        id=row.id,
        sealed=stolen.credentials,
    )
    told = kept.rotation().rotate()
    assert (told["failed"], told["rewrapped"], told["next"]) == (1, 2 * TENANTS - 1, None)
    assert kept.rows()[0][1].credentials == stolen.credentials


def test_with_the_keeper_out_it_stops_and_goes_on_from_there(kept: Kept) -> None:
    kept.file.add_key()
    rotation = kept.rotation()
    kept.file.path.chmod(0o644)
    told = rotation.rotate()
    assert "0600" in told["stopped"]
    assert told["next"] == ""
    kept.file.path.chmod(0o600)
    kept.check_every_row_opens()
    assert kept.rotation().rotate(after=told["next"])["rewrapped"] == 2 * TENANTS


def test_out_of_time_it_says_where_to_go_on(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "BATCH", 2)
    kept.file.add_key()
    turns = iter([False, False, False, True])
    told = kept.rotation().rotate(enough=lambda: next(turns))
    assert (told["tenants"], told["stopped"]) == (3, "out of time")
    assert told["next"] == kept.tenants[2].customer_id
    rest = kept.rotation().rotate(after=told["next"])
    assert (rest["tenants"], rest["next"]) == (TENANTS - 3, None)


def test_the_operators_function_does_it(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    from app import rotate_keys  # noqa: PLC0415 - the entry point itself

    kept.file.add_key()
    parts = bootstrap.Context(kept.world.database.settings)
    vars(parts).update(database=kept.world.database, vault=kept.vault)
    monkeypatch.setattr(worker, "context", lambda: parts)

    class Lambda:
        def get_remaining_time_in_millis(self) -> int:
            return round(timedelta(minutes=5).total_seconds() * 1000)

    told = rotate_keys({}, Lambda())
    assert json.loads(json.dumps(told))["rewrapped"] == 2 * TENANTS
