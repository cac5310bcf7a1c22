"""Which handlers are found, and what is said of those that can't be."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from poolhouse.pipeline.config.topology import Topology, load
from poolhouse.pipeline.errors import ConfigError
from poolhouse.worker.handler_secrets import check_set
from poolhouse.worker.registry import Registry
from poolhouse.worker.registry import load as load_handlers

HEAD = "from poolhouse import Limit, Payload, TaskContext, task\n\nclass P(Payload):\n    pass\n\n"
Write = Callable[..., Registry]


def handler(task_type: str, function: str = "work") -> str:
    return f'@task("{task_type}")\ndef {function}(payload: P, ctx: TaskContext) -> None: ...\n\n'


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes modules below a package `found_here`, and loads it."""
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)

    def write(modules: dict[str, str], *names: str) -> Registry:
        for name, text in modules.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        importlib.invalidate_caches()
        return load_handlers(names or ("found_here",))

    yield write
    for name in set(sys.modules) - known:
        if name.partition(".")[0] in {"found_here", "elsewhere"}:
            del sys.modules[name]


def test_packages_are_searched_to_any_depth_with_and_without_init_files(found: Write) -> None:
    registry = found(
        {
            "found_here/__init__": "",
            "found_here/top": HEAD + handler("top"),
            "found_here/a/__init__": HEAD + handler("package"),
            "found_here/a/b/__init__": "",
            "found_here/a/b/c/deep": HEAD + handler("deep"),
            "found_here/plain/x": HEAD + handler("no-init"),
            "found_here/__main__": "raise RuntimeError('a command')",
            "found_here/not-a-module": "raise RuntimeError('no name')",
        }
    )
    assert list(registry) == ["deep", "no-init", "package", "top"]


def test_whatever_task_has_seen_is_found_under_whatever_name(found: Write) -> None:
    factory = dedent("""
        def make(name):
            @task(name)
            def made(payload: P, ctx: TaskContext) -> None: ...
    """)
    registry = found(
        {
            "elsewhere": HEAD + handler("elsewhere") + handler("not-taken", "other"),
            "found_here/__init__": "from elsewhere import work as borrowed\n",
            "found_here/same_name": HEAD + handler("first") + handler("second"),
            "found_here/stacked": HEAD + '@task("outer")\n' + handler("inner"),
            "found_here/lib": HEAD + factory,
            "found_here/made": "from found_here.lib import make\nfor name in ('made-1', 'made-2'): make(name)\n",
            "found_here/nested": HEAD
            + "class Group:\n    @staticmethod\n    "
            + handler("in-a-class").replace("\n", "\n    "),
        }
    )
    assert list(registry) == [
        "elsewhere", "first", "in-a-class", "inner", "made-1", "made-2", "outer", "second",
    ]  # fmt: skip
    assert registry["outer"].function is registry["inner"].function


def test_a_module_named_twice_or_executed_anew_gives_its_handlers_once(found: Write) -> None:
    modules = {"found_here/__init__": "", "found_here/one": HEAD + handler("one")}
    assert list(found(modules, "found_here", "found_here.one")) == ["one"]
    importlib.reload(sys.modules["found_here.one"])
    assert list(found(modules)) == ["one"]


def test_two_handlers_of_one_type_are_an_error_that_names_both_places(found: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        found(
            {
                "found_here/__init__": "",
                "found_here/one": HEAD + handler("same"),
                "found_here/two": HEAD + "\n" + handler("same"),
            }
        )
    message = str(caught.value)
    assert "two handlers for the task type 'same'" in message
    assert "one.py:6" in message
    assert "two.py:7" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import no_such_library\n", "bad.py:1: ModuleNotFoundError: No module named 'no_such_library'"),
        ("\n\nx = 1 / 0\n", "bad.py:3: ZeroDivisionError"),
        ("def f(:\n", "bad.py:1: SyntaxError"),
        ("import sys\nsys.exit(3)\n", "bad.py:2: SystemExit: 3"),
        ("import json\njson.loads('x')\n", "bad.py:2: JSONDecodeError"),
        (HEAD + '@task("no type")\ndef f(payload: P, ctx): ...\n', "bad.py:6: found_here.bad.f: 'no type' is no task"),
        (HEAD + '@task("t", timeout=1)\ndef f(payload: P, ctx): ...\n', "unexpected keyword argument 'timeout'"),
        (HEAD + '@task("t", timeout_s=0)\ndef f(payload: P, ctx): ...\n', "timeout_s must be a number above 0"),
        (HEAD + '@task("t", rate_per_process="10/d")\ndef f(payload: P, ctx): ...\n', "'10/d' is no rate"),
        (HEAD + '@task("t", rate="10/m")\ndef f(payload: P, ctx): ...\n', "unexpected keyword argument 'rate'"),
        (HEAD + '@task("t", limit="10/m")\ndef f(payload: P, ctx): ...\n', 'limit must be a Limit(rate="10/s"'),
        (HEAD + '@task("t", limit=Limit(rate="10/d"))\ndef f(payload: P, ctx): ...\n', "'10/d' is no rate"),
        (
            HEAD + '@task("t", limit=Limit(key="a"))\ndef f(payload: P, ctx): ...\n',
            'give rate="10/s", max_concurrency=5',
        ),
        (HEAD + '@task("t", limit=Limit(max_concurrency=0))\ndef f(payload: P, ctx): ...\n', "max_concurrency"),
        (
            HEAD + '@task("t", limit=Limit(rate="1/s", key="b"))\ndef f(payload: P, ctx): ...\n',
            "limit: key: the payload has no field b",
        ),
        (HEAD + '@task("t", serial_by="b")\ndef f(payload: P, ctx): ...\n', "serial_by: the payload has no field b"),
        (HEAD + '@task("t", serial_by=())\ndef f(payload: P, ctx): ...\n', "serial_by names no field"),
        (HEAD + '@task("poolhouse.t")\ndef f(payload: P, ctx): ...\n', "task types that begin with poolhouse."),
        (HEAD + '@task("t", serial_by=1)\ndef f(payload: P, ctx): ...\n', "serial_by must be the name of a payload"),
        (HEAD + '@task("t", secrets="KEY")\ndef f(payload: P, ctx): ...\n', "secrets must be a tuple of variables"),
        (HEAD + '@task("t", cpu=True)\nasync def f(payload: P, ctx): ...\n', "cpu=True runs an ordinary function"),
        (HEAD + '@task("t")\ndef f(payload: P, ctx):\n    yield 1\n', "it can't yield"),
        (HEAD + '@task("t")\ndef f(payload: "Q", ctx): ...\n', "name 'Q' is not defined"),
    ],
)
def test_a_module_that_fails_is_named_with_file_and_line(found: Write, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        found({"found_here/__init__": "", "found_here/bad": text})
    assert words in str(caught.value)
    assert "found_here.bad can't be imported" in str(caught.value)


def test_a_queue_that_is_not_declared_is_an_error_that_names_the_handler(found: Write, tmp_path: Path) -> None:
    (tmp_path / "pipeline.toml").write_text("[queues.default]\n[queues.bulk]\n")
    topology: Topology = load(str(tmp_path / "pipeline.toml"))
    registry = found({"found_here/__init__": HEAD + handler("t").replace('"t"', '"t", queue="vip"')})
    with pytest.raises(
        ConfigError, match=r"__init__\.py:6: the handler of t names the queue 'vip', but .*pipeline\.toml:1"
    ):
        registry.check(topology, declared_in=str(tmp_path / "pipeline.toml"))


def test_a_secret_that_a_handler_needs_is_declared_for_its_queue_and_set_where_it_runs(
    found: Write, tmp_path: Path
) -> None:
    file = tmp_path / "pipeline.toml"
    needs = handler("charge").replace('"charge"', '"charge", queue="bulk", secrets=("STRIPE_KEY", "SALT")')
    registry = found({"found_here/__init__": HEAD + handler("other", "free") + needs})
    place = f"{tmp_path / 'found_here' / '__init__.py'}:9: the handler of charge needs the secret"

    def declare(secrets: str) -> Topology:
        file.write_text(f"[queues.default]\n[queues.bulk]\n{secrets}")
        return load(str(file))

    with pytest.raises(ConfigError) as caught:
        registry.check(declare('[queues.default.secrets]\nSTRIPE_KEY = "latest"\n'), declared_in=str(file))
    missing = [line.partition(", and")[0] for line in str(caught.value).splitlines()]
    assert missing == [f"{place} STRIPE_KEY", f"{place} SALT"]
    assert '`SALT = "latest"` under [secrets], or under [queues.bulk.secrets]' in str(caught.value)

    declared = declare('[secrets]\nSALT = "latest"\n[queues.bulk.secrets]\nSTRIPE_KEY = 3\n')
    registry.check(declared, declared_in=str(file))
    handlers, both = registry.values(), {"SALT": "s", "STRIPE_KEY": "k"}
    check_set(handlers, declared, queues=["default", "bulk"], environment=both)
    check_set(handlers, declared, queues=["default"], environment={})
    with pytest.raises(ConfigError) as caught:
        check_set(handlers, declared, queues=["bulk"], environment={**both, "SALT": ""})
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{place} SALT, and the variable SALT is not set: put it into .env")


def test_a_schedule_of_a_task_type_without_a_handler_is_an_error_with_its_line(found: Write, tmp_path: Path) -> None:
    file = tmp_path / "pipeline.toml"
    schedule = '[schedules.{name}]\ncron = "0 3 * * *"\ntask_type = "{of}"\n'
    file.write_text("[queues.default]\n" + schedule.format(name="one", of="t") + schedule.format(name="two", of="nope"))
    registry = found({"found_here/__init__": HEAD + handler("t")})
    with pytest.raises(ConfigError) as caught:
        registry.check(load(str(file)), declared_in=str(file))
    assert str(caught.value) == f"{file}:7: schedules.two: unknown task type 'nope' (known: t)"


def test_a_trigger_whose_task_can_not_run_is_an_error_with_its_line(found: Write, tmp_path: Path) -> None:
    file = tmp_path / "pipeline.toml"
    registry = found({"found_here/__init__": HEAD.replace("pass", "image: str\n    width: int") + handler("t")})

    def problem(trigger: str) -> str:
        file.write_text(f"[queues.default]\n[triggers.bad]\n{trigger}")
        with pytest.raises(ConfigError) as caught:
            registry.check(load(str(file)), declared_in=str(file))
        return str(caught.value)

    assert problem('task_type = "nope"') == f"{file}:3: triggers.bad: unknown task type 'nope' (known: t)"
    assert problem('task_type = "t"\nfield = "image"').startswith(
        f"{file}:2: triggers.bad: payload.width: Field required"
    )
    assert "payload.zip: Extra inputs" in problem('task_type = "t"\nfield = "zip"\npayload = { width = 1 }')
    file.write_text('[queues.default]\n[triggers.good]\ntask_type = "t"\nfield = "image"\npayload = { width = 1 }')
    registry.check(load(str(file)), declared_in=str(file))


def test_a_queue_that_is_fair_by_a_field_of_no_payload_is_an_error_with_its_line(found: Write, tmp_path: Path) -> None:
    file = tmp_path / "pipeline.toml"
    registry = found({"found_here/__init__": HEAD.replace("pass", 'tenant: str = ""') + handler("t")})
    file.write_text('[queues.default]\nfair_by = "tenant"\n')
    registry.check(load(str(file)), declared_in=str(file))
    file.write_text('[queues.default]\n\nfair_by = "tenannt"\n')
    with pytest.raises(ConfigError) as caught:
        registry.check(load(str(file)), declared_in=str(file))
    assert str(caught.value) == (
        f"{file}:3: queues.default.fair_by: no task type has a payload with the field 'tenannt'. Did you mean 'tenant'?"
    )


def test_a_backoff_that_can_not_be_is_named_with_the_line_that_makes_it(found: Write) -> None:
    text = (
        HEAD.replace("import", "import Backoff,", 1)
        + '@task("t", backoff=Backoff(base_s=-1))\ndef work(payload: P, ctx: TaskContext) -> None: ...\n'
    )
    with pytest.raises(ConfigError, match=r"__init__\.py:6: ValueError: Backoff: base_s must be between"):
        found({"found_here/__init__": text})


def test_a_root_model_is_no_payload_and_the_error_names_the_place(found: Write) -> None:
    text = HEAD.replace(
        "class P(Payload):\n    pass", "from pydantic import RootModel\nclass P(RootModel[list[int]]): ..."
    )
    with pytest.raises(ConfigError, match=r"found_here\.py:6: found_here\.work: a payload is an object .* RootModel P"):
        found({"found_here": text + handler("listed")})
