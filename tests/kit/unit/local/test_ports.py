from __future__ import annotations

import socket
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
