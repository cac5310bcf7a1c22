"""Reading the API's answers: JSON, or the error that an answer stands for."""

from __future__ import annotations

import json
from typing import Any

import httpx2

from poolhouse.client.errors import ApiError

#: A JSON object.
Document = dict[str, Any]


def check(answer: httpx2.Response, *, api_url: str) -> None:
    """Raise `ApiError` for an answer that is an error; its body must have been read."""
    if answer.status_code < 400:
        return
    document = _problem(answer)
    if answer.status_code in {401, 403} and not document:
        raise ApiError(
            f"{api_url}: {answer.status_code}. The API takes calls with a token of an account that has "
            "roles/run.invoker on it: `gcloud run services add-iam-policy-binding`; or with keys, where `public` under "
            "[deploy] in pipeline.toml says so.",
            status=answer.status_code,
        )
    raise ApiError(_words(answer, document), status=answer.status_code, document=document)


def no_answer(error: Exception, *, api_url: str, here: bool) -> ApiError:
    """Return the error for a call that got no answer.

    Args:
        error: what the HTTP client raised.
        api_url: where the API is.
        here: whether that is this machine.
    """
    advice = "./invoke status shows whether the stack is up" if here else "is it deployed, and is the address right?"
    return ApiError(f"the API at {api_url} does not answer ({type(error).__name__}): {advice}")


def json_of(answer: httpx2.Response) -> Any:
    """Return the JSON of an answer; None where its body is empty. Raises `ApiError` where it is none."""
    if not answer.content:
        return None
    try:
        return json.loads(answer.content)
    except ValueError as error:
        raise ApiError(
            f"{answer.request.url.copy_with(raw_path=b'/')} is no Poolhouse API: its answer to "
            f"{answer.request.method} {_path(answer)} is not JSON",
            status=answer.status_code,
        ) from error


def _problem(answer: httpx2.Response) -> Document:
    if "json" not in answer.headers.get("Content-Type", ""):
        return {}
    try:
        document = json.loads(answer.content)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _words(answer: httpx2.Response, document: Document) -> str:
    error, detail = (str(document.get(name) or "") for name in ("error", "detail"))
    said = f"{error}: {detail}" if error and detail and error not in detail else detail or error
    if answer.status_code == 401 and "ApiKey" in answer.headers.get("WWW-Authenticate", ""):
        said += " (the variable POOLHOUSE_API_KEY)"
    if not said:
        return f"{answer.request.method} {_path(answer)}: {answer.status_code} {answer.text[:300]}"
    errors = document.get("errors") or ()
    if len(errors) > 1:
        return "\n  ".join([f"{len(errors)} fields are wrong:", *(f"{e['field']}: {e['message']}" for e in errors)])
    return said


def _path(answer: httpx2.Response) -> str:
    return answer.request.url.raw_path.decode("ascii")
