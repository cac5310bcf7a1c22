"""What gcloud's messages mean: what can be tried again, what is a conflict, what a person has to do."""

from __future__ import annotations

import re
from typing import Literal

#: `absent`: there is no such thing; `conflict`: another run (perhaps an earlier, interrupted one of ours) was first;
#: `transient`: the same command may well succeed a little later; `unseen`: what it needs is there, but not every server
#: knows it yet, which takes minutes; `final`: it won't.
Verdict = Literal["absent", "conflict", "transient", "unseen", "final"]

_ABSENT = re.compile(
    r"NOT_FOUND|not found: 404|Cannot find (service|job|worker-pool)|\bnot found\b|does not exist|HTTPError 404", re.I
)
# A project or region that is not there is no answer about what would be in it.
_ELSEWHERE = re.compile(r"Projects? instance|Location \S+ is not found")
# FAILED_PRECONDITION is none: that is how policies of an organisation, regions and quotas refuse.
_CONFLICT = re.compile(
    r"ALREADY_EXISTS|already exists|already own it|\bABORTED\b|\betag\b|HTTPError (409|412)|"
    r"concurrent policy changes|there were concurrent",
    re.I,
)
_FOREIGN = re.compile(r"requested bucket name is not available", re.I)
_DENIED = re.compile(
    r"PERMISSION_DENIED|HTTPError 403|does not have permission|Permission .* denied|forbidden|status=\[?403|"
    r"does not have ([\w.]+ )?access to",
    re.I,
)
#: Grants that are made before these messages can come, by a deploy or by Google, and are not seen everywhere at once
#: (IAM, Access change propagation: "typically 2 minutes, potentially 7 minutes or longer"): gcloud's words, and the
#: grant. None of them is about a permission that the person lacks who deploys.
_FRESH_GRANTS: tuple[tuple[str, str], ...] = (
    (
        r"service account \S+ does not have ([\w.]+ )?access to|"
        r"could not resolve source\b.* does not have [\w.]+ access to",
        "the account that is named above has its grant",
    ),
    # `failureInfo` of a build that has ended (Cloud Build, Build, FailureType), which does not tell more.
    (r"\bPUSH_(NOT_AUTHORIZED|FAILED)\b", "the builder may push to the repository"),
    (r"Permission denied on secret", "the account that is named above may read the secret"),
    (
        r"service account \S+ does not have permission to publish|"
        r"topic \S+ not found, or user \S+ does not have permission",
        "Cloud Storage's service agent may publish to the topic",
    ),
    (
        r"Cloud Run Service Agent (\S+ )?(must|does not) have permission to",
        "Cloud Run's service agent gets its role as the API is enabled",
    ),
)
# Cloud Monitoring: a new metric "could take up to 10 minutes to become available".
_UNSEEN = re.compile("|".join((r"Cannot find metric that matches", *(pattern for pattern, _ in _FRESH_GRANTS))), re.I)
_ORGANISATION = re.compile(r"constraints/|violates constraint|Organization Policy|org ?policy", re.I)
_PERIMETER = re.compile(
    r"vpcServiceControls|SECURITY_POLICY_VIOLATED|Request is prohibited by organi[sz]ation's policy", re.I
)
# A fresh account, API or metric is not known everywhere at once. None of these says that the caller did wrong.
_TRANSIENT = re.compile(
    r"Service account [\w@.-]+ does not exist|service account .* (does not exist|was not found)|"
    r"member .*gserviceaccount\.com.* does not exist|"
    r"SERVICE_DISABLED|it is disabled\. Enable it|has not been used in project|"
    r"UNAVAILABLE|RESOURCE_EXHAUSTED.*(rate|per minute)|rateLimitExceeded|Too Many Requests|HTTPError (429|5\d\d)|"
    r"status=\[?(429|500|502|503|504)|Backend Error|internal error|INTERNAL|DEADLINE_EXCEEDED|"
    r"Connection (reset|aborted|refused)|timed out|Temporary failure|ServiceUnavailable|"
    r"responded with a status of \[(429|5\d\d)\]|503 ",
    re.I | re.S,
)
# A quota of a minute is over a minute later; one of a project is not.
_QUOTA = re.compile(r"quota exceeded|Quota .* exceeded|QUOTA_EXCEEDED", re.I)
_RATE = re.compile(r"per minute|rate|per 100 seconds", re.I)

_ADVICE: tuple[tuple[str, str], ...] = (
    (
        r"BILLING_DISABLED|billing.*(disabled|not enabled|must be enabled)|accountDisabled|delinquent",
        "the project has no active billing account. Link one: https://console.cloud.google.com/billing/projects (or "
        "`gcloud billing projects link PROJECT --billing-account=ACCOUNT`), wait a minute, and deploy again.",
    ),
    (
        r"SERVICE_DISABLED|it is disabled\. Enable it|has not been used in project",
        "an API is off, or so freshly on that not every server knows. Deploy again in a few minutes; if it stays, "
        "`gcloud services enable API --project PROJECT` with the API that is named above. If it names another project "
        "than that of the deploy: `gcloud config unset billing/quota_project`.",
    ),
    (
        r"do(es)? not currently have an active account|no credentialed accounts|gcloud auth login|Reauthentication|"
        r"UNAUTHENTICATED|invalid_grant|invalid authentication credentials|ACCESS_TOKEN_EXPIRED",
        "gcloud is not logged in (or its login ran out): `gcloud auth login`; in CI, the step that authenticates.",
    ),
    (
        r"Cloud KMS|cryptoKeys/",
        "the service agents of Pub/Sub and Cloud Storage may not use the key: whoever looks after it grants them "
        "roles/cloudkms.cryptoKeyEncrypterDecrypter on it (docs/network.md has the commands), then deploy again.",
    ),
    (
        r"run\.managed\.requireInvokerIam",
        'an organisation policy forbids services without the invoker check: set `public = "none"` under [deploy] in '
        "pipeline.toml, or ask the organisation's administrators to relax constraints/run.managed.requireInvokerIam.",
    ),
    (
        _PERIMETER.pattern,
        "a service perimeter of the organisation (VPC Service Controls) keeps this call out, whatever roles the "
        "account has. The organisation's administrators find the reason by the id that is named above: they allow it "
        "by an ingress rule, or you deploy from inside the perimeter.",
    ),
    (
        r"Service account creation is not allowed|iam\.disableServiceAccountCreation",
        "an organisation policy lets nobody make service accounts here: ask whoever may for them, and name them under "
        "[deploy.accounts] in pipeline.toml (docs/network.md): a deploy then makes none.",
    ),
    (
        r"gcp\.resourceLocations",
        "an organisation policy allows resources in some places only: choose one of those as `region` under [deploy] "
        "in pipeline.toml.",
    ),
    (
        r"run\.allowedIngress",
        "an organisation policy allows services with internal ingress alone. API and console take calls from "
        "everywhere, checking who calls, and nothing under [deploy] changes that: ask the organisation's "
        "administrators to allow `all` in constraints/run.allowedIngress for this project, or deploy to one that it "
        "does not cover.",
    ),
    (
        _ORGANISATION.pattern,
        "an organisation policy forbids it; the constraint is named above. Ask the organisation's administrators, or "
        "deploy to a project that it does not cover.",
    ),
    (
        r"cannot run builds in this region",
        "Cloud Build restricts this project to some regions (Cloud Build, Restricted regions): set `build_region` "
        "under [deploy] in pipeline.toml to us-central1, us-west2, europe-west1, asia-east1, australia-southeast1 or "
        "southamerica-east1. The image is pushed to the region of the deploy all the same.",
    ),
    *(
        (
            pattern,
            f"{granted}, but not every server knows that even after ten minutes: deploy again. If it stays, a deny "
            "policy or a service perimeter of the organisation forbids it.",
        )
        for pattern, granted in _FRESH_GRANTS
    ),
    (
        r"(does not have permission to access|Permission denied on) (resource )?projects?\b.*\(or it may not exist",
        "this account lacks a permission in the project, or there is no such project. docs/deploy.md lists the roles "
        "that a deploy needs; `gcloud auth list` shows which account is active, `gcloud projects list` the ids of the "
        "projects that it can see (the id, not the name or the number).",
    ),
    (
        r"Projects? instance \[[^\]]*\] not found|project.*(not found|does not exist)|"
        r"PROJECT_NOT_FOUND|CONSUMER_INVALID",
        "there is no such project, or this account can't see it. `gcloud projects list` shows the ids that it can (the "
        "id, not the name or the number).",
    ),
    (
        r"Cloud Run is not available in|Location .* is not (found|supported|available)|Unsupported location|"
        r"is not supported in (this )?region|worker.?pools? .*not (available|supported)|Unknown.location",
        "the region lacks something that is needed. `gcloud run regions list` shows Cloud Run's, `gcloud scheduler "
        "locations list` the scheduler's; choose one as `region` under [deploy] in "
        'pipeline.toml. Without worker pools: workers = "job" there.',
    ),
    (
        r"Failed to impersonate|iam\.serviceAccounts\.getAccessToken",
        "gcloud's configuration (auth/impersonate_service_account) or the credentials name an account to act as, and "
        "the active account may not: it needs roles/iam.serviceAccountTokenCreator on that account. `gcloud config "
        "unset auth/impersonate_service_account` does without.",
    ),
    (
        r"Permission '?[\w.]*iam\.serviceaccounts\.actAs|iam\.serviceaccounts\.actAs|iam\.serviceAccounts\.actAs",
        "who deploys must be allowed to act as the services' accounts: roles/iam.serviceAccountUser on the account "
        "that is named above. For a deploy from CI, `invoke github-oidc` grants it: run it again after a change of the "
        "pipeline's name or stage.",
    ),
    (
        _DENIED.pattern,
        "this account lacks a permission. docs/deploy.md lists the roles that a deploy needs; `gcloud auth list` shows "
        "which account is active. For a bucket it can also mean that another project has that (global) name.",
    ),
    (
        r"requested bucket name is not available|bucket.*already (exists|own)",
        "bucket names are global and this one is taken: change `name` in pipeline.toml.",
    ),
    (
        r"quota",
        "a quota is used up: https://console.cloud.google.com/iam-admin/quotas shows which; raise it or use less, then "
        "deploy again.",
    ),
    (
        r"gcp-sa-pubsub.*does not exist",
        "Pub/Sub's service agent is not there yet: `gcloud beta services identity create "
        "--service=pubsub.googleapis.com --project PROJECT`, then deploy again.",
    ),
    (
        r"build \S+ completed with status",
        "the build failed: `gcloud builds log ID --region REGION --project PROJECT` with the id that is named above "
        "shows why.",
    ),
    (
        r"failed the configured startup probe",
        "the container did not answer GET /health in time, within which it imports the handlers (a worker has four "
        "minutes): `invoke logs --project PROJECT` shows why. Load what takes longer on first use. Workers of "
        'Poolhouse 0.1 do not answer at all: WORKER_HEALTH_PORT = "0" under [env] of pipeline.toml takes the probes '
        "away. Nothing was switched over: the last good revision still works.",
    ),
    (
        r"failed to start|is not ready and cannot serve|HealthCheckContainerError",
        "the container did not start: `invoke logs --project PROJECT` shows why. Nothing was switched over: the last "
        "good revision still serves.",
    ),
    (
        r"\[?Errno -?\d+\]|Name or service not known|Temporary failure in name resolution|Unable to find the server|"
        r"Max retries exceeded|ProxyError|network is unreachable",
        "no connection to Google: check the network or proxy, then deploy again; what is done stays done.",
    ),
    (
        r"gcloud crashed",
        "gcloud itself failed; `gcloud components update` or another version may help. Deploy again first.",
    ),
)


def verdict(output: str, *, reading: bool = False) -> Verdict:
    """What an error means.

    Args:
        output: what gcloud wrote to standard error.
        reading: whether the command only read: then a missing thing is an answer.
    """
    if _QUOTA.search(output):
        return "transient" if _RATE.search(output) else "final"
    if re.search(r"BILLING_DISABLED", output):
        return "final"  # comes with the same message as an API that is off, but does not pass by waiting
    if reading and _ABSENT.search(output) and not _ELSEWHERE.search(output):
        return "absent"
    if _PERIMETER.search(output) or _ORGANISATION.search(output) or _FOREIGN.search(output):
        return "final"
    if _UNSEEN.search(output):
        return "unseen"
    if _TRANSIENT.search(output):
        return "transient"
    if _CONFLICT.search(output):
        return "conflict"
    return "final"


def advise(output: str) -> str:
    """What a person should do about an error; empty where gcloud's own message is all there is."""
    for pattern, text in _ADVICE:
        if re.search(pattern, output, re.I | re.S):
            return text
    return ""
