"""Log lines: one JSON object each, whatever is said, and never an error for the one who says it."""

from __future__ import annotations

import json
import subprocess
import sys
from textwrap import dedent
from typing import Any

import pytest


def said(script: str, *, level: str = "INFO", format: str = "json") -> list[str]:
    """The lines on stdout of a process that logs, and says what the script says."""
    head = f"""
        import logging, os, sys, threading
        import structlog
        from poolhouse.pipeline import logs
        logs.configure(level={level!r}, format={format!r})
        logs.capture_output(format={format!r})
        log = structlog.get_logger("here")
    """
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", dedent(head) + dedent(script)],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert ended.stderr == b"", ended.stderr
    return ended.stdout.decode("ascii" if format == "json" else "utf-8").splitlines()


def parsed(script: str, **options: str) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=lambda name: 1 / 0) for line in said(script, **options)]


def test_all_ways_to_say_something_make_lines_with_severity_and_the_tasks_fields() -> None:
    lines = parsed("""
        with logs.Bound({"task_id": "t-1"}):
            log.warning("told", n=1)
            logging.getLogger("library").error("logged %s", "too")
            print("printed")
            print("two\\nlines", file=sys.stderr)
            sys.stdout.buffer.write(b"bytes\\n")
            print("no end", end="")
            logs.end_printed()
        log.info("outside")
    """)
    assert [(line["severity"], line["message"], line.get("task_id")) for line in lines] == [
        ("WARNING", "told", "t-1"),
        ("ERROR", "logged too", "t-1"),
        ("INFO", "printed", "t-1"),
        ("WARNING", "two", "t-1"),
        ("WARNING", "lines", "t-1"),
        ("INFO", "bytes", "t-1"),
        ("INFO", "no end", "t-1"),
        ("INFO", "outside", None),
    ]
    assert lines[0]["n"] == 1


def test_whatever_is_said_is_one_line_of_json() -> None:
    lines = parsed("""
        class Mute:
            def __str__(self): raise RuntimeError
        circle = []; circle.append(circle)
        log.info("figures", nan=float("nan"), inf=float("inf"))
        log.info("circle", value=circle)
        log.info("mute", value=Mute())
        log.info("order", event="order.created", message="hello", level="gold", severity=3, time="noon", self=1)
        log.info("key", value={(1, 2): 3})
        log.info("surrogate \\udce9 \\x00 \\n", value=b"\\xff")
        print("a file named caf\\udce9")
        print("x" * 200_000)
        try:
            1 / 0
        except ZeroDivisionError:
            logging.getLogger("library").exception("with its traceback")
    """)
    messages = [line["message"] for line in lines]
    last = ["key", "surrogate \udce9 \x00 \n", "a file named caf\udce9"]
    assert messages[:7] == ["figures", "circle", "mute", "order", *last]
    assert lines[0]["nan"] == "nan"
    assert lines[2]["value"] == "(Mute whose __str__ raised RuntimeError)"
    kept = {
        "event_": "order.created",
        "message_": "hello",
        "level_": "gold",
        "severity_": 3,
        "time_": "noon",
        "self_": 1,
    }
    assert {key: lines[3][key] for key in kept} == kept
    assert lines[3]["severity"] == "INFO"
    assert "".join(messages[7:-1]) == "x" * 200_000
    assert "ZeroDivisionError" in lines[-1]["exception"]


def test_what_handlers_do_to_the_streams_and_to_logging_keeps_no_line_of_the_worker_back() -> None:
    lines = said("""
        logging.basicConfig(force=True, level=logging.CRITICAL)
        logging.disable(logging.CRITICAL)
        sys.stdout.close()
        sys.stderr.close()
        print("after close")
        del sys.stdout
        logs.end_printed()
        sys.stdout = None
        os.close(1)
        log.info("still here")
        pid = os.fork()
        if pid == 0:
            log.info("in the child")
            os._exit(0)
        os.waitpid(pid, 0)
    """)
    assert [json.loads(line)["message"] for line in lines] == ["after close", "still here", "in the child"]


def test_a_line_that_can_not_be_written_is_no_error() -> None:
    script = "import sys; from poolhouse.pipeline import logs; logs.configure(); logs.capture_output(format='json')\n"
    script += "import structlog\nfor _ in range(1000): structlog.get_logger().info('x' * 1000)\nsys.exit(7)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(60) == 7


def test_for_people_what_is_printed_stays_as_it_is() -> None:
    lines = said("print('a file named caf\\udce9')\nlog.info('told', n=1)", format="console")
    # Two streams: which line comes first is open.
    assert "a file named caf\\udce9" in lines
    assert any("told" in line for line in lines)


def test_arguments_that_do_not_fit_their_text_fail_no_task() -> None:
    lines = parsed("""
        class Evil:
            def __repr__(self): raise RuntimeError("no text")
            __str__ = __repr__
        log.info("%s of %d", "a")
        log.info("one too many", 5)
        log.info("100%", 5)
        log.info("%s", Evil())
        log.info("%d and %d", 1, 2)
        log.info("%(name)s", {"name": "by name"})
    """)
    assert [line["message"] for line in lines] == [
        "%s of %d ('a',)",
        "one too many (5,)",
        "100% (5,)",
        "%s",
        "1 and 2",
        "by name",
    ]


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_value_of_a_secret_is_shown_by_its_name_in_lines_of_all_kinds(format: str) -> None:
    lines = said(
        """
        from poolhouse.pipeline import secret_values
        secret_values.known.learn(["TOKEN"], {"TOKEN": "a'planted value"})
        logs.configure(format=FORMAT)
        def fails(secret):
            raise KeyError(secret)
        with logs.Bound({"bound": "a'planted value"}):
            log.info("told", nested={"list": ["a'planted value"]})
            logging.getLogger("library").error("GET /?token=%s", "a%27planted+value")
            try:
                fails("a'planted value")
            except KeyError:
                log.exception("failed")
        """.replace("FORMAT", repr(format)),
        format=format,
    )
    text = "\n".join(lines)
    assert "planted" not in text
    assert text.count("[secret TOKEN]") >= 6
