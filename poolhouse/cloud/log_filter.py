"""The filter of Cloud Logging for a pipeline's lines."""

from __future__ import annotations

from poolhouse.cloud.options import LABEL, Options


def log_filter(options: Options, *, service: str = "", since: str = "") -> str:
    """Return the filter.

    Args:
        options: name of the pipeline.
        service: name of one service, pool or job; empty: all.
        since: the earliest time, as entries have it; empty: any.
    """
    if service:
        match = [f'resource.labels.{kind}_name="{service}"' for kind in ("service", "worker_pool", "job")]
    else:
        # Not by the beginning of their names, which another stage's may be too. Cloud Run's own lines have no labels.
        services = (options.api_service, f"{options.name}-autoscaler", options.console_service)
        match = [f'labels."{LABEL}"="{options.name}"', *(f'resource.labels.service_name="{name}"' for name in services)]
    when = f' AND timestamp>="{since}"' if since else ""
    types = '"cloud_run_revision" OR "cloud_run_worker_pool" OR "cloud_run_job"'
    return f"resource.type=({types}) AND ({' OR '.join(match)}){when}"
