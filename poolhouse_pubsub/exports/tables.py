"""BigQuery and Bigtable subscriptions: rows go to a file of JSON lines, or to an emulator of BigQuery.

Sources: BigQueryConfig and BigtableConfig in google/pubsub/v1/pubsub.proto, BigQuery subscriptions.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from poolhouse_pubsub.core.message import Message
from poolhouse_pubsub.core.subscription import Subscription
from poolhouse_pubsub.exports.sink import BatchLimits, ExportError

#: Where an emulator of BigQuery is, such as goccy/bigquery-emulator: `http://HOST:PORT`, or `HOST:PORT`.
BIGQUERY_VARIABLE: Final = "BIGQUERY_EMULATOR_HOST"
_TIMEOUT_S: Final = 30.0
#: Rows go out soon: the service streams them.
_LIMITS: Final = BatchLimits(seconds=0.0, messages=500)


class TableFile:
    """A table as a file of JSON lines. What is there already stays; a table that is not there is made.

    Args:
        folder: Where tables are; None for nowhere.
        kind: Name of the folder in it.
        table: Full name of the table.
    """

    def __init__(self, folder: Path | None, kind: str, table: str) -> None:
        self._folder = folder / kind if folder is not None else None
        self._table = table.replace(":", ".").replace("/", ".")

    def check(self, *, missing: str) -> Path:
        """Return the file's path, its folder made.

        Args:
            missing: The state to show where there is no folder.

        Raises:
            ExportError: There is no place for tables.
        """
        if self._folder is None:
            raise ExportError(
                missing, f"there is no place for table {self._table}: start the emulator with --export-dir FOLDER"
            )
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ExportError("PERMISSION_DENIED", f"{self._folder} can't be made: {error}") from None
        return self._folder / f"{self._table}.ndjson"

    def append(self, rows: Sequence[Any], *, missing: str) -> None:
        """Append rows.

        Raises:
            ExportError: They can't be written.
        """
        path = self.check(missing=missing)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(lines)
        except OSError as error:
            raise ExportError("PERMISSION_DENIED", f"{path} can't be written: {error}") from None


class BigQuerySink:
    """Writes the messages of one subscription as rows.

    Args:
        subscription: The subscription, with a `bigquery_config`.
        folder: Where tables are files; not looked at where BIGQUERY_EMULATOR_HOST is set.
    """

    limits = _LIMITS

    def __init__(self, subscription: Subscription, folder: Path | None) -> None:
        self._name = subscription.name
        self._config = subscription.config.bigquery_config
        self._file = TableFile(folder, "bigquery", self._config.table)

    def check(self) -> None:
        """See `Sink`."""
        if os.environ.get(BIGQUERY_VARIABLE):
            self._columns()
        else:
            self._file.check(missing="NOT_FOUND")

    def write(self, messages: Sequence[Message]) -> Mapping[int, str]:
        """See `Sink`."""
        rows, rejected = _fitting(messages, self._row)
        if not os.environ.get(BIGQUERY_VARIABLE):
            self._file.append(list(rows.values()), missing="NOT_FOUND")
            return rejected
        if not rows:
            return rejected
        if self._config.drop_unknown_fields:
            columns = self._columns()
            rows = {place: {name: row[name] for name in row if name in columns} for place, row in rows.items()}
        inserts = [{"insertId": str(messages[place].id), "json": row} for place, row in rows.items()]
        # Rows that fit are written although others do not.
        answer = self._call("POST", f"{self._path()}/insertAll", {"rows": inserts, "skipInvalidRows": True})
        places = list(rows)
        for error in answer.get("insertErrors", []):
            rejected[places[error.get("index", 0)]] = f"the row was refused: {json.dumps(error.get('errors'))}"
        return rejected

    def _row(self, message: Message) -> dict[str, Any]:
        parsed = message.parse()
        row: dict[str, Any]
        if self._config.use_topic_schema or self._config.use_table_schema:
            row = _object(parsed.data)
        else:
            row = {"data": _text(parsed.data)}
        if self._config.write_metadata:
            row.update(_metadata(parsed, message, self._name))
        return row

    def _path(self) -> str:
        project, dataset, table = self._config.table.replace(":", ".", 1).rsplit(".", 2)
        return f"/bigquery/v2/projects/{project}/datasets/{dataset}/tables/{table}"

    def _columns(self) -> set[str]:
        fields = self._call("GET", self._path()).get("schema", {}).get("fields", [])
        return {field["name"] for field in fields}

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        host = os.environ[BIGQUERY_VARIABLE]
        url = (host if "://" in host else f"http://{host}").rstrip("/") + path
        request = urllib.request.Request(  # noqa: S310 - the address is the person's own
            url,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=_TIMEOUT_S) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            with error:
                reason = error.read(500).decode("utf-8", "replace").strip()
            state = {401: "PERMISSION_DENIED", 403: "PERMISSION_DENIED", 400: "SCHEMA_MISMATCH"}
            raise ExportError(state.get(error.code, "NOT_FOUND"), f"{method} {path}: {error.code} {reason}") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise ExportError("NOT_FOUND", f"no answer from the BigQuery emulator at {host}: {error}") from None


class BigtableSink:
    """Writes the messages of one subscription as rows of a file: key, timestamp, and columns by family.

    Args:
        subscription: The subscription, with a `bigtable_config`.
        folder: Where tables are.
    """

    limits = _LIMITS

    def __init__(self, subscription: Subscription, folder: Path | None) -> None:
        self._name = subscription.name
        self._config = subscription.config.bigtable_config
        self._file = TableFile(folder, "bigtable", self._config.table)

    def check(self) -> None:
        """See `Sink`. A table that is not there counts as PERMISSION_DENIED (BigtableConfig.State)."""
        self._file.check(missing="PERMISSION_DENIED")

    def write(self, messages: Sequence[Message]) -> Mapping[int, str]:
        """See `Sink`."""
        rows, rejected = _fitting(messages, self._row)
        self._file.append(list(rows.values()), missing="PERMISSION_DENIED")
        return rejected

    def _row(self, message: Message) -> dict[str, Any]:
        parsed = message.parse()
        families: dict[str, dict[str, Any]]
        if self._config.HasField("column_family_mapping"):
            fields = _object(parsed.data)
            key = self._key(fields)
            families = {"data": fields}
        else:
            # ColumnFamilyMapping: subscription name, hash of the message id, message id.
            digest = hashlib.sha256(parsed.message_id.encode()).hexdigest()[:8]
            key = "#".join((self._name, digest, parsed.message_id))
            families = {"data": {"": _text(parsed.data)}}
        if self._config.write_metadata:
            families["pubsub_metadata"] = _metadata(parsed, message, self._name)
        return {"row_key": key, "timestamp_micros": message.published_us, "families": families}

    def _key(self, fields: dict[str, Any]) -> str:
        if not self._config.column_family_mapping.HasField("delimited_key"):
            raise _MismatchError("the table has no structured row key: a file can't have one, use delimited_key")
        delimited = self._config.column_family_mapping.delimited_key
        missing = [name for name in delimited.key_fields if name not in fields]
        if missing:
            raise _MismatchError(f"the message lacks the key fields {', '.join(missing)}")
        delimiter: str = delimited.delimiter.decode("utf-8", "replace")
        return delimiter.join(
            fields[name] if isinstance(fields[name], str) else json.dumps(fields[name]) for name in delimited.key_fields
        )


class _MismatchError(Exception):
    """A message that is no row of the table."""


def _fitting(
    messages: Sequence[Message], row_of: Callable[[Message], dict[str, Any]]
) -> tuple[dict[int, dict[str, Any]], dict[int, str]]:
    """Return the rows of messages by their place, and why the others are none."""
    rows, rejected = {}, {}
    for place, message in enumerate(messages):
        try:
            rows[place] = row_of(message)
        except _MismatchError as error:
            rejected[place] = str(error)
    return rows, rejected


def _metadata(parsed: Any, message: Message, subscription: str) -> dict[str, Any]:
    attributes = dict(parsed.attributes)
    if parsed.ordering_key:
        attributes["ordering_key"] = parsed.ordering_key
    return {
        "subscription_name": subscription,
        "message_id": parsed.message_id,
        "publish_time": datetime.fromtimestamp(message.published_at, UTC).isoformat(),
        "attributes": json.dumps(attributes),
    }


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise _MismatchError(f"the message is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise _MismatchError("the message is not a JSON object: its fields are the columns")
    return value


def _text(data: bytes) -> str:
    """Return data as JSON can hold it: text, or base64 of what is none (as a BYTES column has it)."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return base64.b64encode(data).decode()
