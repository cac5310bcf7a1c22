from __future__ import annotations

import asyncio
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from poolhouse.local.errors import StackError
from poolhouse.local.processes import ports


def test_a_chosen_port_can_be_listened_on() -> None:
    with closing(socket.create_server((ports.HOST, ports.choose()))):
        pass


def test_a_preferred_port_is_taken_where_free_and_passed_over_where_not() -> None:
    free = ports.choose()
    assert ports.choose(preferred=free) == free
    with closing(socket.create_server((ports.HOST, free))):
        assert not ports.is_free(free)
        assert ports.choose(preferred=free) != free
        with pytest.raises(StackError, match=rf"port {free} is in use.*choose another one for tea"):
            ports.choose(wanted=free, what="tea")


def test_a_port_that_localhost_leads_to_another_program_by_is_passed_over() -> None:
    number = ports.choose()
    try:
        other = socket.create_server(("::1", number), family=socket.AF_INET6)
    except OSError:
        pytest.skip("there is no IPv6 here")
    with other:
        assert ports.is_free(number), "of 127.0.0.1"
        assert ports.choose(preferred=number) != number
        with closing(ports.listen_near(None, preferred=number, what="tea")) as listener:
            assert listener.getsockname()[1] != number
        assert ports.choose(wanted=number) == number, "who asks for it gets it"


def test_a_listening_socket_is_at_the_wanted_port_or_else_at_the_preferred_one_or_else_anywhere() -> None:
    free = ports.choose()
    with closing(ports.listen_near(None, preferred=free, what="tea")) as first:
        assert first.getsockname() == (ports.HOST, free)
        with closing(ports.listen_near(None, preferred=free, what="tea")) as second:
            assert second.getsockname()[0] == ports.HOST
        with pytest.raises(StackError, match=rf"port {free} is in use.*for tea"):
            ports.listen_near(free, preferred=1, what="tea")
    with closing(ports.listen_near(free, preferred=1, what="tea")) as third:
        assert third.getsockname()[1] == free


def test_a_listener_that_shares_its_port_still_counts() -> None:
    with closing(socket.socket()) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((ports.HOST, 0))
        listener.listen(1)
        assert not ports.is_free(listener.getsockname()[1])


def test_a_held_port_is_its_servers_alone() -> None:
    first = ports.hold_near(None, preferred=ports.choose(), what="tea")
    try:
        second = ports.hold_near(None, preferred=first.number, what="tea")
        try:
            assert second.number != first.number
        finally:
            second.release()
        with closing(socket.socket()) as server:  # sets SO_REUSEADDR, as servers do
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((ports.HOST, first.number))
            server.listen()
            assert ports.listens(os.getpid(), first.number)
            assert not ports.listens(os.getppid(), first.number)
    finally:
        first.release()


def test_many_that_start_at_once_get_ports_of_their_own() -> None:
    free, other = ports.choose(), ports.choose()
    with ThreadPoolExecutor(16) as pool:
        held = list(pool.map(lambda _: ports.hold_near(None, preferred=free, what="tea"), range(16)))
        listening = list(pool.map(lambda _: ports.listen_near(None, preferred=other, what="tea"), range(16)))
    try:
        numbers = [port.number for port in held] + [listener.getsockname()[1] for listener in listening]
        assert len(set(numbers)) == 32
    finally:
        for port in held:
            port.release()
        for listener in listening:
            listener.close()


def test_a_server_of_asyncio_sends_at_once_what_it_writes() -> None:
    async def delays() -> bool:
        seen = asyncio.get_running_loop().create_future()

        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted = writer.get_extra_info("socket")
            seen.set_result(not accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = ports.listen(0)
        async with await asyncio.start_server(serve, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            found: bool = await seen
            writer.close()
            return found

    assert not asyncio.run(delays())


def test_a_name_has_the_same_ports_each_time_and_another_name_others() -> None:
    assert ports.of_name("a") == ports.of_name("a")
    assert not set(ports.of_name("a")) & set(ports.of_name("b"))


def test_a_port_can_be_held_again_right_after_its_server_has_ended() -> None:
    free = ports.choose()
    with closing(socket.create_server((ports.HOST, free))) as server:
        client = socket.create_connection((ports.HOST, free))
        served, _ = server.accept()
        served.close()  # who closes first has the connection linger on its port
        client.recv(1)
        client.close()
    held = ports.hold_near(None, preferred=free, what="tea")
    held.release()
    assert held.number == free
