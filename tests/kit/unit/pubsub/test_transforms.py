"""Message transforms in the core: limits of the engine, failures, and what stands in for a model."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest

from poolhouse_pubsub import protos
from poolhouse_pubsub.status import Code, StatusError
from poolhouse_pubsub.transforms import TransformError, compile_transforms
from tests.kit.unit.pubsub.world import SUBSCRIPTION, World, data

ENDPOINT = "projects/p/locations/europe-west1/endpoints/7"


def udf(code: str, name: str = "f") -> Any:
    return protos.MessageTransform(javascript_udf={"function_name": name, "code": code})


def function(body: str) -> Any:
    return udf(f"function f(message, metadata) {{ {body} }}")


def inference(**parameters: Any) -> Any:
    transform = protos.MessageTransform()
    transform.ai_inference.endpoint = ENDPOINT
    transform.ai_inference.unstructured_inference.SetInParent()
    transform.ai_inference.unstructured_inference.parameters.update(parameters)
    return transform


def run(transform: Any, data: bytes = b"hello", **attributes: str) -> Any:
    message = protos.PubsubMessage(data=data, attributes=attributes)
    assert compile_transforms([transform], {}).apply(message, published=False)
    return message


@pytest.mark.parametrize("code", ["const f = (m) => ({data: m.data})", "var f = function (m) { return m }"])
def test_a_function_may_be_declared_in_any_way(code: str) -> None:
    assert run(udf(code)).data == b"hello"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return undefined", "undefined"),
        ("return 'text'", "text"),
        ("return {data: 7}", "data"),
        ("return {attributes: {}}", "data"),
        ("return {data: 'x', attributes: {a: 1}}", "attributes"),
        ("return Promise.resolve(message)", "data"),
        ("throw new Error('on purpose')", "on purpose"),
        ("while (true) {}", "500 ms"),
        ("return f(message)", "stack"),
        ("let text = message.data; while (true) text += text", "failed"),
        ("return fetch('http://127.0.0.1/')", "fetch"),
        ("return require('fs')", "require"),
    ],
)
def test_a_function_that_goes_wrong_says_why_and_works_again(body: str, reason: str) -> None:
    chain = compile_transforms([function(f"if (message.data != 'good') {{ {body} }} return message;")], {})
    for _ in range(2):
        with pytest.raises(TransformError, match=reason):
            chain.apply(protos.PubsubMessage(data=b"bad"), published=False)
        assert chain.apply(protos.PubsubMessage(data=b"good"), published=False)


def test_the_time_limit_is_that_of_each_message() -> None:
    chain = compile_transforms(
        [function("const end = Date.now() + 200; while (Date.now() < end); return message;")], {}
    )
    started = time.monotonic()
    for _ in range(4):  # more than the limit, taken together
        chain.apply(protos.PubsubMessage(data=b"x"), published=False)
    assert time.monotonic() - started > 0.7


def test_text_goes_through_whole() -> None:
    text = 'naïve 🙂 \u2028 \x00 "quoted" \\'
    message = run(function("return message;"), text.encode(), ключ=text)
    assert (message.data.decode(), message.attributes["ключ"]) == (text, text)
    assert run(function("return {data: message.data[0]};"), "🙂".encode()).data.decode() == "\ufffd"


def test_data_that_is_no_text_fails() -> None:
    with pytest.raises(TransformError, match="UTF-8"):
        run(function("return message;"), b"\xff\xfe")


def test_without_the_engine_creation_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "quickjs", None)
    world = World()
    with pytest.raises(StatusError, match="pip install quickjs-ng") as caught:
        world.topic("projects/core/topics/other", message_transforms=[function("return message;")])
    assert caught.value.code is Code.UNIMPLEMENTED
    disabled = function("return message;")
    disabled.disabled = True
    assert world.topic("projects/core/topics/other", message_transforms=[disabled]).message_transforms


def test_no_model_is_asked_unless_something_stands_in_for_it() -> None:
    world = World()
    with pytest.raises(StatusError, match="offline") as caught:
        world.subscribe("projects/core/subscriptions/infer", message_transforms=[inference()])
    assert caught.value.code is Code.UNIMPLEMENTED
    asked = []

    def answer(request: dict[str, Any]) -> Any:
        asked.append(request)
        return {"score": 1}

    world.emulator.models[ENDPOINT] = answer
    world.subscribe("projects/core/subscriptions/infer", message_transforms=[inference(temperature=0.5)])
    world.publish('{"text": "hi"}')
    assert data(world.pull(name="projects/core/subscriptions/infer")) == ['{"score": 1}']
    assert asked == [{"text": "hi", "parameters": {"temperature": 0.5}}]


def test_a_failing_message_waits_longer_each_time_and_lets_others_pass() -> None:
    world = World(message_transforms=[function("if (message.data == 'bad') throw 1; return message;")])
    world.publish("bad", "good")
    assert data(world.pull()) == ["good"]
    assert world.pull() == []
    world.advance(0.09)
    assert not world.subscription.backlog.ready
    world.advance(0.02)
    assert world.subscription.backlog.ready == 1
    assert world.pull() == []
    world.advance(0.15)
    assert not world.subscription.backlog.ready
    assert world.subscription.delivery_error


def test_a_failing_message_never_spins_even_with_a_retry_policy_of_0_s() -> None:
    policy = protos.Subscription(retry_policy={"minimum_backoff": {}, "maximum_backoff": {"seconds": 0}}).retry_policy
    world = World(message_transforms=[function("throw 1;")], retry_policy=policy)
    world.publish("bad")
    stream = world.stream()
    assert stream.got == []
    assert world.subscription.backlog.delayed == 1


def test_a_failing_message_of_a_key_holds_the_later_ones_back() -> None:
    world = World(
        message_transforms=[function("if (message.data == 'bad') throw 1; return message;")],
        enable_message_ordering=True,
    )
    world.publish("1", "bad", "2", key="k")
    (first,) = world.pull()
    assert first.data == "1"
    world.ack(first)
    world.advance(1)
    assert world.pull() == []
    world.service.subscriber.update_subscription(
        protos.UpdateSubscriptionRequest(
            subscription=protos.Subscription(name=SUBSCRIPTION), update_mask={"paths": ["message_transforms"]}
        )
    )
    world.advance(60)
    assert data(world.pull()) == ["bad", "2"]


def test_a_failing_message_of_a_key_holds_no_other_key_back() -> None:
    world = World(
        message_transforms=[function("if (message.data == 'bad') throw 1; return message;")],
        enable_message_ordering=True,
    )
    world.publish("bad", "2", key="k")
    world.publish("1", key="l")
    assert data(world.pull()) == ["1"]


def test_a_function_of_a_subscription_knows_the_id_and_the_time_of_a_message() -> None:
    body = "message.attributes = {id: metadata.message_id, at: metadata.publish_time}; return message;"
    world = World(message_transforms=[function(body)])
    [id] = world.publish("a")
    [message] = world.pull()
    assert message.attributes == {"id": id, "at": "2027-01-15T08:00:00Z"}


@pytest.mark.parametrize("exactly_once", [False, True])
def test_a_filtered_message_of_a_key_is_out_of_the_way(exactly_once: bool) -> None:
    world = World(
        message_transforms=[function("return message.data == 'no' ? null : message;")],
        enable_message_ordering=True,
        enable_exactly_once_delivery=exactly_once,
    )
    world.publish("1", "no", "2", "no", key="k")
    messages = world.pull()
    assert data(messages) == ["1", "2"]
    world.ack(*messages)
    assert not world.subscription.backlog.messages()
    assert world.subscription.outstanding == 0


def test_thousands_that_are_filtered_out_do_not_hide_the_one_behind_them() -> None:
    world = World(message_transforms=[function("return message.data == 'no' ? null : message;")])
    stream = world.stream(max_messages=10)
    world.publish(*["no"] * 900, "yes")
    for _ in range(3):
        world.publish(*["no"] * 1000)
    world.publish("and yes")
    assert stream.data == ["yes", "and yes"]
    assert world.subscription.outstanding == 2


def compression(algorithm: str, mode: str) -> Any:
    return protos.MessageTransform(compression={"compression_algorithm": algorithm, "compression_mode": mode})


@pytest.mark.parametrize("algorithm", ["ZLIB", "ZSTD"])
def test_only_data_that_is_compressed_and_whole_is_decompressed(algorithm: str) -> None:
    original = bytes(range(256)) * 2000
    compressed = run(compression(algorithm, "COMPRESS"), original).data
    decompress = compression(algorithm, "DECOMPRESS")
    assert run(decompress, compressed).data == original
    for broken in (compressed[:-4], compressed[:10], b"", compressed + b"junk", b"plain text"):
        with pytest.raises(TransformError, match="can't be decompressed"):
            run(decompress, broken)


@pytest.mark.parametrize("parameters", ["null", "[]", '"warm"'])
def test_parameters_that_are_no_object_fail_the_message(parameters: str) -> None:
    chain = compile_transforms([inference(temperature=0.5)], {ENDPOINT: lambda request: request})
    with pytest.raises(TransformError, match="parameters"):
        chain.apply(protos.PubsubMessage(data=f'{{"parameters": {parameters}}}'.encode()), published=False)
