"""Addresses of Google Cloud's own console, where log lines and traces of a deployed pipeline are read."""

from __future__ import annotations

from urllib.parse import quote

_CONSOLE = "https://console.cloud.google.com"


def logs(project: str, log_filter: str, *, task_id: str = "") -> str:
    """The page of the Logs Explorer with the lines that a filter finds.

    Args:
        project: of the pipeline.
        log_filter: in Cloud Logging's query language.
        task_id: only lines of this task.
    """
    # Each line of a query has to hold.
    query = f'{log_filter}\njsonPayload.task_id="{task_id}"' if task_id else log_filter
    return f"{_CONSOLE}/logs/query;query={quote(query, safe='')}?project={quote(project)}"


def trace(project: str, trace_id: str) -> str:
    """The page of the Trace Explorer with a trace."""
    return f"{_CONSOLE}/traces/explorer;traceId={quote(trace_id, safe='')}?project={quote(project)}"
