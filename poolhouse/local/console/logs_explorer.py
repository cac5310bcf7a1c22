"""Addresses of Cloud Logging's own page, the Logs Explorer, where lines of a deployed pipeline are read."""

from __future__ import annotations

from urllib.parse import quote


def address(project: str, log_filter: str, *, task_id: str = "") -> str:
    """The page with the lines that a filter finds.

    Args:
        project: of the pipeline.
        log_filter: in Cloud Logging's query language.
        task_id: only lines of this task.
    """
    # Each line of a query has to hold.
    query = f'{log_filter}\njsonPayload.task_id="{task_id}"' if task_id else log_filter
    return f"https://console.cloud.google.com/logs/query;query={quote(query, safe='')}?project={quote(project)}"
