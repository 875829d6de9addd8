"""Data keys through a server that speaks KMS."""

import dataclasses
import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest

from chalicelib.domain.errors import Unavailable
from chalicelib.domain.secrets import Place, SealBroken, Secret
from chalicelib.integrations.aws.session import client
from chalicelib.integrations.vault import vault_of
from chalicelib.integrations.vault.envelope import Envelope, Envelopes
from chalicelib.integrations.vault.kms import KmsKeys
from chalicelib.settings import Settings
from tests.integration.apollo_world import Reply, ScriptedServer, all_that_shows
from tests.integration.test_aws_adapters import _credentials, aws  # noqa: F401 - fixtures

CANARY = "sk-canary-7f3e91d0c2"
HERE = Place("cus_1", "openai", "crd_1")


@pytest.fixture
def settings(aws: str) -> Iterator[Settings]:  # noqa: F811 - the fixture
    environ = {
        "DATABASE_URL": "x",
        "DATABASE_SYSTEM_URL": "x",
        "OIDC_ISSUER": "x",
        "OIDC_JWKS_URL": "x",
        "OIDC_CLIENT_ID": "x",
        "AWS_ENDPOINT_URL": aws,
        "STAGE": "prod",
    }
    made = Settings.from_environ(environ)
    kms = client("kms", made)
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    with suppress(kms.exceptions.NotFoundException):  # moto's servers of one process share what they hold
        kms.delete_alias(AliasName="alias/bevyly")
    kms.create_alias(AliasName="alias/bevyly", TargetKeyId=key)
    yield made
    kms.delete_alias(AliasName="alias/bevyly")


def test_what_was_sealed_opens_in_its_own_place_and_no_other(settings: Settings) -> None:
    """Seen red with the encryption context left out of both calls and the place out of the additional data."""
    vault = vault_of(settings)
    sealed = vault.seal(Secret(CANARY), HERE)
    assert sealed.startswith("v1.arn:aws:kms:")
    assert Envelopes(KmsKeys(settings)).open(sealed, HERE) == Secret(CANARY)
    stored = Envelope.of(sealed).key
    for changed in ({"customer_id": "cus_2"}, {"provider": "apollo"}, {"credential_id": "crd_2"}):
        elsewhere = dataclasses.replace(HERE, **changed)
        with pytest.raises(SealBroken):
            Envelopes(KmsKeys(settings)).open(sealed, elsewhere)
        with pytest.raises(SealBroken):  # KMS itself refuses
            KmsKeys(settings).unwrap(stored, elsewhere)
        with pytest.raises(SealBroken):
            KmsKeys(settings).rewrap(stored, elsewhere)


def test_rotation_moves_the_data_key_to_the_aliass_new_key(settings: Settings) -> None:
    sealed = vault_of(settings).seal(Secret(CANARY), HERE)
    kms = client("kms", settings)
    new = kms.create_key()["KeyMetadata"]
    kms.update_alias(AliasName="alias/bevyly", TargetKeyId=new["KeyId"])
    vault = vault_of(settings)
    again = vault.rewrap(sealed, HERE)
    assert Envelope.of(again).key.key_id == new["Arn"] != Envelope.of(sealed).key.key_id
    assert vault.rewrap(again, HERE) == again
    assert [vault_of(settings).open(text, HERE) for text in (sealed, again)] == [Secret(CANARY)] * 2


@pytest.mark.parametrize("code", ["AccessDeniedException", "DisabledException", "KMSInvalidStateException"])
def test_a_key_that_may_not_be_used_is_said_and_nothing_is_sealed_or_opened(
    settings: Settings, code: str
) -> None:
    """Seen red with every refusal of KMS taken for a broken seal."""
    sealed = vault_of(settings).seal(Secret(CANARY), HERE)
    denied = Reply(400, json.dumps({"__type": code, "message": "no"}).encode(), {"x-amzn-errortype": code})
    with ScriptedServer(denied) as server:
        vault = vault_of(replace(settings, aws_endpoint_url=server.url))
        for what in (
            lambda: vault.seal(Secret(CANARY), HERE),
            lambda: vault.open(sealed, HERE),
            vault.current,
        ):
            with pytest.raises(Unavailable, match=code) as out:
                what()
            assert out.value.code == "vault_unavailable"
            assert CANARY not in all_that_shows(out.value)


def test_a_kms_that_is_down_is_said(settings: Settings) -> None:
    sealed = vault_of(settings).seal(Secret(CANARY), HERE)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        down = replace(settings, aws_endpoint_url=f"http://127.0.0.1:{taken.getsockname()[1]}")
        for what in (
            lambda: vault_of(down).seal(Secret(CANARY), HERE),
            lambda: vault_of(down).open(sealed, HERE),
        ):
            with pytest.raises(Unavailable):
                what()
