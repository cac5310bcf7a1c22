"""`python -m poolhouse.local.console.deployed`: serve the console of a pipeline on Google Cloud, until SIGTERM."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping

from pydantic import ValidationError
from starlette.middleware import Middleware

from poolhouse.client import identity
from poolhouse.client.target import URL_VARIABLE
from poolhouse.local.console import server
from poolhouse.local.console.app import create_app
from poolhouse.local.console.deployed.assertions import Assertions
from poolhouse.local.console.deployed.gate import Gate
from poolhouse.local.console.stacks import Deployed
from poolhouse.pipeline import logs, numbers
from poolhouse.pipeline.config.console_options import ACCESS_VARIABLE, ConsoleAccess
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.exit_codes import OK, USAGE
from poolhouse.pipeline.web_guard import WebGuard


def main(environment: Mapping[str, str] = os.environ) -> int:
    """Run the console; returns the exit code."""
    try:
        access = _access(environment)
        stack = _stack(environment, access)
        listener = socket.create_server(("", numbers.port(environment.get("PORT", "8080"))))
    except (ConfigError, OSError, ValueError) as error:
        print(f"console: {error}", file=sys.stderr)
        return USAGE
    logs.configure()
    gate = Middleware(Gate, assertions=Assertions(audience=access.audience), operators=access.operators)
    # Cloud Run's front end decides by the host which service a request reaches: it can be no other's.
    server.serve(create_app(stack, guard=WebGuard(hosts=None), middleware=[gate]), listener, log_config=None)
    return OK


def _access(environment: Mapping[str, str]) -> ConsoleAccess:
    """Return who may do what. Raises `ConfigError`: a console that knows no rules must not start."""
    try:
        return ConsoleAccess.model_validate_json(environment.get(ACCESS_VARIABLE, ""))
    except ValidationError as error:
        raise ConfigError(f"{ACCESS_VARIABLE}: {error}") from None


def _stack(environment: Mapping[str, str], access: ConsoleAccess) -> Deployed:
    names = ("GOOGLE_CLOUD_PROJECT", URL_VARIABLE)
    if missing := [name for name in names if not environment.get(name)]:
        raise ConfigError(f"{' and '.join(missing)} must be set, as a deploy does")
    project, url = (environment[name] for name in names)
    return Deployed(
        project,
        url,
        identity.google_id_token(url),
        log_filter=access.log_filter,
        cloud_trace=access.cloud_trace,
        stage=environment.get("PIPELINE_STAGE", ""),
    )


if __name__ == "__main__":
    sys.exit(main())
