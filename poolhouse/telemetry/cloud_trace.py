"""Cloud Trace: spans go to Google Cloud's Telemetry API, which takes OTLP, with the identity that the process runs as.

Google Cloud, Migrate from the Trace exporter to the OTLP endpoint; Google Cloud Observability, Telemetry API overview.
"""

from __future__ import annotations

import os

import google.auth
from google.auth.exceptions import DefaultCredentialsError
from google.auth.transport.requests import AuthorizedSession
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource

from poolhouse.pipeline.errors import ConfigError

ENDPOINT = "https://telemetry.googleapis.com/v1/traces"
#: The narrower one of the two scopes that the call takes (Telemetry API, v1.traces).
_SCOPE = "https://www.googleapis.com/auth/trace.append"


def resource(project: str) -> Resource:
    """Return what tells the Telemetry API which project the spans belong to."""
    return Resource({"gcp.project_id": project})


def open_exporter() -> OTLPSpanExporter:
    """Return an exporter that renews its access token by itself.

    Raises:
        ConfigError: this process has no identity on Google Cloud, or works for an emulator, whose project is none of
            Google's: then nothing is asked for.
    """
    if os.environ.get("PUBSUB_EMULATOR_HOST"):
        raise ConfigError(
            "TRACES_EXPORTER=cloud_trace is for a deployed pipeline: write it under [env] in pipeline.toml. On a local "
            "stack TRACES_EXPORTER=file shows the spans in the console"
        )
    try:
        credentials, _ = google.auth.default(scopes=[_SCOPE])
    except DefaultCredentialsError as error:
        raise ConfigError(f"TRACES_EXPORTER=cloud_trace: {error}") from None
    return OTLPSpanExporter(endpoint=ENDPOINT, session=AuthorizedSession(credentials))
