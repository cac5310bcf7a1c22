"""Buckets, their lifecycle and versions, notifications, signed URLs (Cloud Storage, Buckets)."""

from __future__ import annotations

import secrets
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.cloud.storage import Bucket
from google.oauth2 import service_account

from tests.kit.conformance.storage.targets import Target, names, read, refused, write


@pytest.mark.needed
def test_a_bucket_is_made_once(target: Target, bucket: Bucket) -> None:
    with refused(409):
        target.client.create_bucket(bucket.name)


def test_buckets_are_listed(target: Target, bucket: Bucket) -> None:
    assert bucket.name in {each.name for each in target.client.list_buckets()}


@pytest.mark.both_deviate("refused with 412 instead of 409")
def test_a_bucket_with_objects_is_not_deleted(bucket: Bucket) -> None:
    write(bucket)
    with refused(409):
        bucket.delete()
    bucket.blob("object").delete()
    bucket.delete()
    assert not bucket.exists()


def test_a_bucket_name_out_of_the_rules_is_refused(target: Target) -> None:
    with refused(400):
        target.client.create_bucket("No_" + secrets.token_hex(4))


@pytest.mark.both_deviate("labels are dropped")
def test_labels_of_a_bucket_can_be_set(bucket: Bucket) -> None:
    bucket.labels = {"team": "shop"}
    bucket.patch()
    bucket.reload()
    assert bucket.labels == {"team": "shop"}


@pytest.mark.both_deviate("rules are dropped, and nothing is deleted by age")
def test_lifecycle_rules_are_kept(bucket: Bucket) -> None:
    bucket.add_lifecycle_delete_rule(age=30, matches_prefix=["tasks/"])
    bucket.patch()
    bucket.reload()
    [rule] = bucket.lifecycle_rules
    assert rule["condition"] == {"age": 30, "matchesPrefix": ["tasks/"]}


@pytest.mark.both_deviate("not with objects on a file system: 500")
def test_a_bucket_with_versions_keeps_those_that_were_replaced(target: Target) -> None:
    bucket = target.client.bucket(f"conformance-{secrets.token_hex(6)}")
    bucket.versioning_enabled = True
    bucket.create()
    first = write(bucket, data=b"first")
    write(bucket, data=b"second")
    old = bucket.blob("object", generation=first.generation)
    assert old.download_as_bytes(checksum=None, retry=None) == b"first"
    assert names(bucket, versions=True) == ["object", "object"]


@pytest.mark.both_deviate("no soft delete")
def test_a_deleted_object_can_be_restored(bucket: Bucket) -> None:
    """Soft delete, seven days by default."""
    blob = write(bucket)
    blob.delete()
    bucket.restore_blob("object", generation=blob.generation)
    assert read(bucket) == b"data"


@pytest.mark.both_deviate("the period is dropped")
def test_a_retention_period_keeps_objects(bucket: Bucket) -> None:
    bucket.retention_period = 3600
    bucket.patch()
    blob = write(bucket)
    with refused(403):
        blob.delete()


@pytest.mark.both_deviate("no such call: events are set by flags of the server")
def test_a_notification_is_kept(bucket: Bucket) -> None:
    notification = bucket.notification(
        topic_name="uploads", event_types=["OBJECT_FINALIZE"], blob_name_prefix="uploads/"
    )
    notification.create()
    [found] = bucket.list_notifications()
    assert (found.topic_name, found.blob_name_prefix) == ("uploads", "uploads/")


@pytest.mark.both_deviate("no such call")
def test_the_access_policy_of_a_bucket_is_kept(bucket: Bucket) -> None:
    policy = bucket.get_iam_policy(requested_policy_version=3)
    policy.bindings.append({"role": "roles/storage.objectViewer", "members": {"user:ada@example.com"}})
    bucket.set_iam_policy(policy)
    assert [each["role"] for each in bucket.get_iam_policy(requested_policy_version=3).bindings] == [
        "roles/storage.objectViewer"
    ]


@pytest.fixture(scope="module")
def signer() -> service_account.Credentials:
    """A service account with a key of its own."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    info = {"client_email": "tests@example.com", "private_key": pem, "token_uri": "https://example.com/token"}
    return service_account.Credentials.from_service_account_info(info)


def test_a_signed_url_reads_an_object(target: Target, bucket: Bucket, signer: service_account.Credentials) -> None:
    write(bucket, "a b/ü.txt")
    url = bucket.blob("a b/ü.txt").generate_signed_url(
        version="v4", expiration=timedelta(minutes=5), credentials=signer, api_access_endpoint=target.url
    )
    answer = target.http.get(url)
    assert (answer.status_code, answer.content) == (200, b"data")


def test_a_signed_url_writes_an_object(target: Target, bucket: Bucket, signer: service_account.Credentials) -> None:
    url = bucket.blob("object").generate_signed_url(
        version="v4",
        method="PUT",
        expiration=timedelta(minutes=5),
        content_type="text/plain",
        credentials=signer,
        api_access_endpoint=target.url,
    )
    answer = target.http.put(url, data=b"data", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 200
    assert read(bucket) == b"data"


@pytest.mark.both_deviate("signatures and expiry are not checked")
def test_a_signed_url_that_was_changed_is_refused(
    target: Target, bucket: Bucket, signer: service_account.Credentials
) -> None:
    write(bucket)
    url = bucket.blob("other").generate_signed_url(
        version="v4", expiration=timedelta(minutes=5), credentials=signer, api_access_endpoint=target.url
    )
    assert target.http.get(url.replace("/other", "/object")).status_code == 403
