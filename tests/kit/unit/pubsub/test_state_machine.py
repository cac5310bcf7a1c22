"""Whatever a client does in whatever order: the promises of delivery hold.

A model keeps what was published and what was acked; each delivery is checked against it, and at the end everything that
was never acked is still there.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from poolhouse_pubsub import protos
from poolhouse_pubsub.control.inspection import inspect
from poolhouse_pubsub.core.subscription import AckResult
from tests.kit.unit.pubsub.world import SUBSCRIPTION, Received, World

DEAD = "projects/core/topics/dead"
DEAD_SUBSCRIPTION = "projects/core/subscriptions/dead"
ACK_DEADLINE_S = 10
BACKOFF_S = 20
ATTEMPTS = 5


class Delivery(RuleBasedStateMachine):
    held = Bundle("held")

    @initialize(ordered=st.booleans(), exactly_once=st.booleans(), backoff=st.booleans(), dead_letters=st.booleans())
    def start(self, ordered: bool, exactly_once: bool, backoff: bool, dead_letters: bool) -> None:
        self.ordered, self.exactly_once, self.backoff, self.dead_letters = ordered, exactly_once, backoff, dead_letters
        fields: dict[str, Any] = {}
        if backoff:
            wait = protos.Duration(seconds=BACKOFF_S)
            fields["retry_policy"] = {"minimum_backoff": wait, "maximum_backoff": wait}
        self.world = World()
        self.world.topic(DEAD)
        self.world.subscribe(DEAD_SUBSCRIPTION, topic=DEAD, expiration_policy={})
        self.world.service.subscriber.delete_subscription(protos.DeleteSubscriptionRequest(subscription=SUBSCRIPTION))
        if dead_letters:
            fields["dead_letter_policy"] = {"dead_letter_topic": DEAD, "max_delivery_attempts": ATTEMPTS}
        self.world.subscribe(
            expiration_policy={},
            ack_deadline_seconds=ACK_DEADLINE_S,
            enable_message_ordering=ordered,
            enable_exactly_once_delivery=exactly_once,
            **fields,
        )
        self.published: dict[str, str] = {}
        self.acked: set[str] = set()
        #: End of the lease of each message that a client holds, as far as the model knows.
        self.leased_until: dict[str, float] = {}
        #: No delivery before this time: the end of the backoff.
        self.not_before: dict[str, float] = {}
        self.current: dict[str, str] = {}
        self.failures: dict[str, int] = defaultdict(int)

    @rule(key=st.sampled_from(["", "", "k", "l"]), count=st.integers(1, 4))
    def publish(self, key: str, count: int) -> None:
        for _ in range(count):
            (message_id,) = self.world.publish("x", key=key)
            self.published[message_id] = key

    @rule(target=held, limit=st.integers(1, 5))
    def pull(self, limit: int) -> Any:
        now = self.world.clock.now()
        batch = self.world.pull(limit)
        in_batch: dict[str, list[int]] = defaultdict(list)
        for message in batch:
            name = message.message_id
            assert name in self.published, "delivered something that was never published"
            assert self.leased_until.get(name, 0) <= now, "delivered while another delivery was leased"
            assert self.not_before.get(name, 0) <= now, "delivered before the end of its backoff"
            # Without exactly-once an ack before its turn may be undone by a failure of an earlier message of the key.
            if self.exactly_once or not (self.ordered and message.key):
                assert name not in self.acked, "an acked message came back"
            if self.dead_letters:
                assert 1 <= message.attempt <= ATTEMPTS
                assert message.attempt == self.failures[name] + 1
            else:
                assert message.attempt == 0
            in_batch[message.key].append(int(name))
            self.leased_until[name] = now + ACK_DEADLINE_S
            self.current[name] = message.ack_id
            self.acked.discard(name)
        if self.ordered:
            for key in set(in_batch) - {""}:
                assert in_batch[key] == sorted(in_batch[key]), "a key's messages came out of order"
                earlier = [
                    name
                    for name, its_key in self.published.items()
                    if its_key == key and int(name) < in_batch[key][0] and not self._finished(name)
                ]
                assert not earlier, "a key went on although an earlier message was not done"
        return multiple(*batch)

    def _finished(self, name: str) -> bool:
        unfinished = {view.message_id for view in inspect(self.world.emulator, SUBSCRIPTION).messages}
        return name not in unfinished

    @rule(message=consumes(held))
    def ack(self, message: Received) -> None:
        name = message.message_id
        is_leased = self.leased_until.get(name, 0) > self.world.clock.now()
        is_current = self.current.get(name) == message.ack_id
        (result,) = self.world.ack(message)
        if self.exactly_once:
            assert (result is AckResult.DONE) <= (is_current and is_leased), "a stale id acked"
        if result is AckResult.DONE:
            assert is_current, "an id of an earlier delivery acked"
            self.acked.add(name)
            self.leased_until.pop(name, None)
            self.not_before.pop(name, None)

    @rule(message=held)
    def nack(self, message: Received) -> None:
        (result,) = self.world.nack(message)
        if result is AckResult.DONE:
            self._failed(message.message_id, self.world.clock.now())

    @rule(message=held, seconds=st.integers(1, 60))
    def extend(self, message: Received, seconds: int) -> None:
        (result,) = self.world.modify(message, seconds=seconds)
        if result is AckResult.DONE:
            assert self.leased_until.get(message.message_id, 0) > self.world.clock.now(), "an ended lease was extended"
            self.leased_until[message.message_id] = self.world.clock.now() + seconds

    @rule(seconds=st.sampled_from([0.5, 1, 5, 10, 20, 30, 100]))
    def advance(self, seconds: float) -> None:
        until = self.world.clock.now() + seconds
        for name, end in sorted(self.leased_until.items(), key=lambda item: (item[1], int(item[0]))):
            if end <= until and name in self.leased_until:
                self._failed(name, end)
        self.world.advance(seconds)

    def _failed(self, name: str, moment: float) -> None:
        self.leased_until.pop(name, None)
        self.failures[name] += 1
        if self.backoff:
            self.not_before[name] = moment + BACKOFF_S
        if self.ordered and self.published[name]:
            # Those after it come again with it: their leases and acks end.
            gone = self.dead_letters and self.failures[name] >= ATTEMPTS
            for other, key in self.published.items():
                if key == self.published[name] and int(other) > int(name) and not gone:
                    self.leased_until.pop(other, None)
                    self.not_before.pop(other, None)

    @invariant()
    def nothing_is_lost(self) -> None:
        if not hasattr(self, "world"):
            return
        view = inspect(self.world.emulator, SUBSCRIPTION)
        there = {message.message_id for message in view.messages}
        assert view.unacked == len(there)
        dead = inspect(self.world.emulator, DEAD_SUBSCRIPTION)
        exhausted = {name for name in self.published if self.failures[name] >= ATTEMPTS} if self.dead_letters else set()
        missing = set(self.published) - self.acked - there - exhausted
        assert not missing, f"lost: {missing}"
        assert dead.unacked <= len(exhausted)

    @invariant()
    def an_acked_message_is_not_in_the_backlog(self) -> None:
        if not hasattr(self, "world") or (self.ordered and not self.exactly_once):
            return
        there = {message.message_id for message in inspect(self.world.emulator, SUBSCRIPTION).messages}
        assert not there & self.acked

    def teardown(self) -> None:
        """Everything that was not acked can still be had."""
        if not hasattr(self, "world"):
            return
        waiting = {message.message_id for message in inspect(self.world.emulator, SUBSCRIPTION).messages}
        got: set[str] = set()
        for _ in range(200):
            if not waiting - got:
                break
            self.world.advance(61)
            batch = self.world.pull()
            got |= {message.message_id for message in batch}
            self.world.ack(*batch)
        else:
            dead = inspect(self.world.emulator, DEAD_SUBSCRIPTION).unacked
            assert len(waiting - got) <= dead, f"never delivered again: {waiting - got}"
        assert inspect(self.world.emulator, SUBSCRIPTION).outstanding == 0


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
