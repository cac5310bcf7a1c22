"""Cloud Scheduler: the schedules of pipeline.toml, and the starts of jobs."""

from __future__ import annotations

import base64

from poolhouse.cloud.options import Options
from poolhouse.cloud.resource import Command, Fields, Json, Read, Resource, command, entry, flag
from poolhouse.pipeline.config.schedule import Schedule

#: How long a call may take, in seconds: a submit is done in milliseconds, but a cold API needs its start.
ATTEMPT_DEADLINE_S = 60
#: How long a due time that the API did not take is sent again where `missed_runs` is `once`, in seconds. It ends at the
#: next due time in any case (Cloud Scheduler, RetryConfig): so of several that were missed the last one is made up for.
MISSED_FOR_S = 86_400
#: Longest wait between two of these attempts, in seconds.
MISSED_WAIT_S = 600
#: Cloud Scheduler's own default for the longest wait, in seconds.
LONGEST_WAIT_S = 3600
#: Dead letters are kept this often.
DEAD_LETTER_CRON = "*/5 * * * *"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def listing(options: Options) -> Read:
    """How all schedules of the region are read."""
    return Read(
        arguments=("scheduler", "jobs", "list", flag("location", options.region)), api="cloudscheduler.googleapis.com"
    )


def task(schedule: Schedule, *, options: Options, project_number: str) -> Resource:
    """A schedule that submits a task: it sends the API the due time, which knows the task, and whether it is paused.

    Sent again, by a retry, the API submits nothing again: see `poolhouse.pipeline.timing.schedules`.
    """
    url = options.api_url(project_number)
    return _job(
        schedule.name,
        options=options,
        cron=schedule.cron,
        zone=schedule.time_zone,
        uri=f"{url}/schedules/{schedule.name}:due",
        body="{}",
        token=("oidc", url),
        retries=3,
        missed=schedule.missed_runs == "once",
        description=f"submits {schedule.task_type}",
        after=(f"service/{options.api_service}", f"grants/service/{options.api_service}"),
    )


def drain_cron(options: Options) -> str:
    """When drain jobs start."""
    return "* * * * *" if options.job_minutes == 1 else f"*/{options.job_minutes} * * * *"


def start(job: str, *, options: Options, cron: str) -> Resource:
    """A schedule that starts a job. Not retried: the next start comes soon anyway."""
    uri = f"https://run.googleapis.com/v2/projects/{options.project}/locations/{options.region}/jobs/{job}:run"
    return _job(
        f"run-{job.removeprefix(options.name + '-')}",
        options=options,
        cron=cron,
        zone="Etc/UTC",
        uri=uri,
        body="{}",
        token=("oauth", _SCOPE),
        retries=0,
        missed=False,
        description=f"starts the job {job}",
        after=(f"job/{job}", f"grants/job/{job}"),
    )


def _job(
    name: str,
    *,
    options: Options,
    cron: str,
    zone: str,
    uri: str,
    body: str,
    token: tuple[str, str],
    retries: int,
    missed: bool,
    description: str,
    after: tuple[str, ...],
) -> Resource:
    full = f"{options.name}-{name}"
    kind, audience = token
    account = options.account("scheduler")
    wanted: Fields = {
        "cron": cron,
        "time_zone": zone,
        "uri": uri,
        "body": body,
        "token": f"{kind} {account} {audience}",
        "retries": retries,
        "retry_for_s": MISSED_FOR_S if missed else 0,
        "longest_wait_s": MISSED_WAIT_S if missed else LONGEST_WAIT_S,
        "attempt_deadline_s": ATTEMPT_DEADLINE_S,
        "state": "ENABLED",
        "description": f"Poolhouse: {description} {options.mark}",
    }
    flags = (
        flag("location", options.region),
        flag("schedule", cron),
        flag("time-zone", zone),
        flag("uri", uri),
        flag("http-method", "POST"),
        flag("message-body", body),
        flag(f"{kind}-service-account-email", account),
        flag(f"{kind}-token-{'audience' if kind == 'oidc' else 'scope'}", audience),
        flag("attempt-deadline", f"{ATTEMPT_DEADLINE_S}s"),
        flag("max-retry-attempts", retries),
        flag("max-retry-duration", f"{wanted['retry_for_s']}s"),
        flag("max-backoff", f"{wanted['longest_wait_s']}s"),
        flag("description", wanted["description"]),
    )

    def observe(raw: Json) -> Fields | None:
        found = entry(raw, "name", full)
        if found is None:
            return None
        target, retry = found.get("httpTarget", {}), found.get("retryConfig", {})
        secret = target.get("oidcToken") or target.get("oauthToken") or {}
        kind = "oidc" if "oidcToken" in target else "oauth"
        return {
            "cron": found.get("schedule"),
            "time_zone": found.get("timeZone"),
            "uri": target.get("uri"),
            "body": base64.b64decode(target.get("body", "")).decode("utf-8", "replace"),
            "token": f"{kind} {secret.get('serviceAccountEmail')} {secret.get('audience') or secret.get('scope')}",
            "retries": retry.get("retryCount", 0),
            "retry_for_s": _seconds(retry.get("maxRetryDuration", "0s")),
            "longest_wait_s": _seconds(retry.get("maxBackoffDuration", f"{LONGEST_WAIT_S}s")),
            "attempt_deadline_s": _seconds(found.get("attemptDeadline", "180s")),
            "state": found.get("state", "ENABLED"),
            "description": found.get("description", ""),
        }

    def update(raw: Json) -> tuple[Command, ...]:
        change = command(
            "scheduler", "jobs", "update", "http", full, *flags, flag("update-headers", "Content-Type=application/json")
        )
        # Pausing is the API's business, which keeps it: a job that is paused here starts nothing at all.
        paused = (entry(raw, "name", full) or {}).get("state") == "PAUSED"
        return (change, *((command("scheduler", "jobs", "resume", full, flags[0]),) if paused else ()))

    return Resource(
        kind="schedule",
        name=full,
        wanted=wanted,
        read=listing(options),
        observe=observe,
        create=(
            command("scheduler", "jobs", "create", "http", full, *flags, "--headers=Content-Type=application/json"),
        ),
        update=update,
        after=(f"account/{options.account_name('scheduler')}", *after),
    )


def _seconds(duration: str) -> int:
    return round(float(duration.removesuffix("s")))
