"""Jobs of Cloud Scheduler."""

from __future__ import annotations

from collections.abc import Iterator

from poolhouse.cloud.resource import Resource
from poolhouse.cloud.terraform.flags import Flags
from poolhouse.cloud.terraform.form import Context, Piece, imported, resource
from poolhouse.cloud.terraform.hcl import Block, Call, Expression, Value


def schedule(item: Resource, flags: Flags, context: Context) -> Iterator[Piece]:
    """A schedule."""
    flags.text("location")
    attributes: dict[str, Value] = {
        "name": item.name,
        "region": Expression("local.region"),
        "description": flags.text("description"),
        "schedule": flags.text("schedule"),
        "time_zone": flags.text("time-zone"),
        "attempt_deadline": flags.text("attempt-deadline"),
    }
    retry: dict[str, Value] = {
        "retry_count": int(flags.text("max-retry-attempts")),
        "max_retry_duration": flags.text("max-retry-duration"),
        "max_backoff_duration": flags.text("max-backoff"),
    }
    target: dict[str, Value] = {
        "http_method": flags.text("http-method"),
        "uri": context.text(flags.text("uri")),
        "body": Call("base64encode", flags.text("message-body")),
        "headers": flags.pairs("headers"),
    }
    if email := flags.optional("oidc-service-account-email"):
        audience = context.text(flags.text("oidc-token-audience"))
        token = Block("oidc_token", (), {"service_account_email": context.account(email), "audience": audience})
    else:
        email = flags.text("oauth-service-account-email")
        scope = flags.text("oauth-token-scope")
        token = Block("oauth_token", (), {"service_account_email": context.account(email), "scope": scope})
    blocks = (Block("retry_config", (), retry), Block("http_target", (), target, (token,)))
    address = context.of("schedule", item.name)
    yield Piece(resource(address, attributes, *blocks), imported(context.regional("jobs", item.name)))
