# ruff: noqa: E501 - gcloud's words are as long as they are
from __future__ import annotations

import pytest

from poolhouse.cloud.gcloud.advice import advise, verdict

CASES = [
    # gcloud's words, verdict when changing, verdict when reading, a part of the advice
    ("ERROR: (gcloud.pubsub.topics.describe) NOT_FOUND: Resource not found", "final", "absent", ""),
    ("ERROR: (gcloud.run.services.describe) Cannot find service [x]", "final", "absent", ""),
    ("ERROR: (gcloud.storage.buckets.describe) gs://x not found: 404.", "final", "absent", ""),
    ("ERROR: Failed to create topic [projects/p/topics/t]: Resource already exists in the project", "conflict", "conflict", ""),
    ("ERROR: ABORTED: There were concurrent policy changes. Please retry", "conflict", "conflict", ""),
    ("INVALID_ARGUMENT: Service account a-b@p-p.iam.gserviceaccount.com does not exist.", "transient", "absent", ""),
    ("UNAVAILABLE: The service is currently unavailable.", "transient", "transient", ""),
    ("RESOURCE_EXHAUSTED: Quota exceeded for quota metric 'Write requests' per minute", "transient", "transient", "quota"),
    ("RESOURCE_EXHAUSTED: Quota exceeded: topics per project", "final", "final", "quota"),
    ("FAILED_PRECONDITION: Billing account for project is not found. billing must be enabled BILLING_DISABLED", "final", "final", "billing account"),
    ("PERMISSION_DENIED: Pub/Sub API has not been used in project p before or it is disabled. Enable it", "transient", "transient", "an API is off"),
    ("ERROR: (gcloud.x) You do not currently have an active account selected.", "final", "final", "gcloud auth login"),
    ("PERMISSION_DENIED: Permission 'pubsub.topics.create' denied on resource", "final", "final", "lacks a permission"),
    ("ERROR: Permission 'iam.serviceaccounts.actAs' denied on service account", "final", "final", "roles/iam.serviceAccountUser"),
    ("ERROR: Projects instance [p-p] not found: nope", "final", "final", "gcloud projects list"),
    ("NOT_FOUND: Location mars-west1 is not found or access is unauthorized.", "final", "final", "`region` under [deploy]"),
    ("NOT_FOUND: Cannot find metric that matches type = \"logging.googleapis.com/user/x\"", "unseen", "absent", ""),
    ("HTTPError 403: one or more users named in the policy violates constraint constraints/iam.allowedPolicyMemberDomains", "final", "final", "organisation policy"),
    ("INVALID_ARGUMENT: invalid bucket \"b\"; service account a@p-p.iam.gserviceaccount.com does not have access to the bucket", "unseen", "unseen", "ten minutes"),
    ("FAILED_PRECONDITION: invalid bucket \"b\"; service account a@p-p.iam.gserviceaccount.com does not have access to the bucket", "unseen", "unseen", "ten minutes"),
    ("HTTPError 403: The service account 'service-1@gs-project-accounts.iam.gserviceaccount.com' does not have permission to publish messages to to the Cloud Pub/Sub topic '//pubsub.googleapis.com/projects/p/topics/t', or that topic does not exist.", "unseen", "absent", "service agent may publish"),
    ("HTTPError 400: Cloud Pub/Sub topic '//pubsub.googleapis.com/projects/p/topics/t' not found, or user 'service-1@gs-project-accounts.iam.gserviceaccount.com' does not have permission to it.", "unseen", "absent", "service agent may publish"),
    ("ERROR: (gcloud.builds.submit) INVALID_ARGUMENT: could not resolve source: googleapi: Error 403: a@p-p.iam.gserviceaccount.com does not have storage.objects.get access to the Google Cloud Storage object. Permission 'storage.objects.get' denied on resource (or it may not exist)., forbidden", "unseen", "unseen", "has its grant"),
    ("ERROR: (gcloud.run.deploy) Revision 'r' is not ready and cannot serve traffic. Google Cloud Run Service Agent service-1@serverless-robot-prod.iam.gserviceaccount.com must have permission to read the image, i. If you just enabled the Cloud Run API, the permissions might take a few minutes to propagate.", "unseen", "unseen", "Cloud Run's service agent"),
    ("PERMISSION_DENIED: Google Cloud Run Service Agent does not have permission to get access tokens for the service account a@p-p.iam.gserviceaccount.com.", "unseen", "unseen", "Cloud Run's service agent"),
    ("INVALID_ARGUMENT: Permission denied on secret: projects/1/secrets/s/versions/latest for Revision service account a@p-p.iam.gserviceaccount.com. The service account used must be granted the 'Secret Manager Secret Accessor' role.", "unseen", "unseen", "may read the secret"),
    ("HTTPError 403: ann@example.com does not have storage.buckets.create access to the Google Cloud project. Permission 'storage.buckets.create' denied on resource (or it may not exist).", "final", "final", "this account lacks a permission"),
    ("ERROR: (gcloud.builds.submit) build 1-2 completed with status \"FAILURE\"", "final", "final", "gcloud builds log"),
    ("ERROR: (gcloud.builds.submit) build 1-2 completed with status \"FAILURE\"\nPUSH_NOT_AUTHORIZED\tdenied", "unseen", "unseen", "the builder may push"),
    ("ERROR: (gcloud.builds.submit) build 1-2 completed with status \"FAILURE\"\nUSER_BUILD_STEP\tstep 0", "final", "final", "gcloud builds log"),
    ("FAILED_PRECONDITION: due to quota restrictions, cannot run builds in this region. Please contact support", "final", "final", "build_region"),
    ("FAILED_PRECONDITION: Operation denied by org policy: [\"constraints/gcp.resourceLocations\": ...]", "final", "final", "`region` under [deploy]"),
    ("FAILED_PRECONDITION: Service account creation is not allowed on this project.", "final", "final", "[deploy.accounts]"),
    ("FAILED_PRECONDITION: Precondition check failed.", "final", "final", ""),
    ("HTTPError 412: At least one of the pre-conditions you specified did not hold.", "conflict", "conflict", ""),
    ("ERROR: (gcloud.run.deploy) [ann@example.com] does not have permission to access projects instance [p-p] (or it may not exist): The caller does not have permission", "final", "final", "lacks a permission in the project"),
    ("HTTPError 409: The requested bucket name is not available. The bucket namespace is shared by all users of the system.", "final", "final", "bucket names are global"),
    ("HTTPError 403: Permission denied on Cloud KMS key. Please ensure that your Cloud Storage service account has been authorized to use this key.", "final", "final", "cryptoKeyEncrypterDecrypter"),
    ("FAILED_PRECONDITION: The service is subject to constraints/run.managed.requireInvokerIam", "final", "final", 'public = "none"'),
    ("FAILED_PRECONDITION: Constraint constraints/run.allowedIngress violated: ingress 'all' is not allowed.", "final", "final", "allow `all` in constraints/run.allowedIngress"),
    ("ERROR: (gcloud.run.worker-pools.replace) Revision 'r' is not ready. The user-provided container failed the configured startup probe checks.", "final", "final", "WORKER_HEALTH_PORT"),
    ("PERMISSION_DENIED: Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: ab-1", "final", "final", "service perimeter"),
    ("ERROR: (gcloud.projects.describe) PERMISSION_DENIED: Failed to impersonate [a@p-p.iam.gserviceaccount.com]. Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).", "final", "final", "roles/iam.serviceAccountTokenCreator on that account"),
    ("PERMISSION_DENIED: Cloud Run Admin API has not been used in project other before or it is disabled. SERVICE_DISABLED", "transient", "transient", "gcloud config unset billing/quota_project"),
]  # fmt: skip


@pytest.mark.parametrize(("output", "changing", "reading", "advice"), CASES)
def test_gclouds_messages_are_understood(output: str, changing: str, reading: str, advice: str) -> None:
    assert verdict(output) == changing
    assert verdict(output, reading=True) == reading
    assert advice in advise(output)


def test_an_unknown_message_gets_no_advice_and_no_second_attempt() -> None:
    assert verdict("ERROR: something new") == "final"
    assert advise("ERROR: something new") == ""
