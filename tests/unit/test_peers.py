"""Peers: what the kernel says of them, whose jobs are whose, and who may use the sockets."""

import grp
import os
import pwd
from pathlib import Path

import pytest
import zmq

from asrd_protocol.faults import Code
from asrd_supervisor.peers import Access, Groups, Peer

OTHER = 1234
"""A user who is neither root nor the one who runs the tests."""


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (":1000:100:4711", Peer(1000, 100, 4711)),
        ("name:0:0:1", Peer(0, 0, 1)),
        ("127.0.0.1", Peer()),
        ("::1", Peer()),
        ("fe80::1", Peer()),
        ("1::2:3", Peer()),
        ("", Peer()),
        (":1000:100", Peer()),
        (":1000:100:-1", Peer()),
        (":1000:100:4711:5", Peer()),
        (": 1000:100:4711", Peer()),
        (":0x3e8:100:4711", Peer()),
    ],
)
def test_an_address_is_read(address: str, expected: Peer) -> None:
    assert Peer.parse(address) == expected


def test_whoever_has_shown_a_key_is_known_by_it() -> None:
    assert Peer(key="a-key").owner == "key:a-key"
    assert not Peer(key="a-key").trusted


def test_nobody_may() -> None:
    for access in (Access([], []), Access([OTHER], [])):
        fault = access.objection(Peer())
        assert fault and fault.code == "not_allowed"


def test_owners_are_told_apart() -> None:
    owners = {peer.owner for peer in (Peer(1000), Peer(1001), Peer(key="1000"), Peer(key="uid:1000"), Peer())}

    assert len(owners) == 5
    assert Peer(1000, 1, 2).owner == Peer(1000, 3, 4).owner


def test_root_and_the_daemons_own_user_are_trusted_and_nobody_else() -> None:
    assert [Peer(uid).trusted for uid in (0, os.geteuid(), OTHER, None)] == [True, True, False, False]
    assert not Peer(key="root").trusted


def test_the_kernel_says_who_is_there(tmp_path: Path) -> None:
    """ZeroMQ passes on the credentials of a unix socket in the form that is read here."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router, context.socket(zmq.DEALER) as dealer:
        router.bind(f"ipc://{tmp_path}/s")
        dealer.connect(f"ipc://{tmp_path}/s")
        dealer.send(b"question")
        frame = router.recv_multipart(copy=False)[-1]
        peer = Peer.parse(str(frame.get("Peer-Address")))
        dealer.close(0)

    assert peer == Peer(os.geteuid(), os.getegid(), os.getpid())


# --- who may ----------------------------------------------------------------------------------------------------------


def _may(access: Access, peer: Peer) -> bool:
    fault = access.objection(peer)
    assert fault is None or fault.code == Code.NOT_ALLOWED
    return fault is None


def test_without_a_list_everybody_may() -> None:
    assert all(_may(Access([], []), peer) for peer in (Peer(OTHER, OTHER), Peer(0, 0), Peer(key="k")))


def test_with_a_list_only_those_on_it_and_the_trusted_may() -> None:
    access = Access([OTHER], [])

    assert _may(access, Peer(OTHER, OTHER, 1))
    assert _may(access, Peer(os.geteuid()))
    assert _may(access, Peer(0, 0))
    assert _may(access, Peer(key="shown"))
    assert not _may(access, Peer(OTHER + 1, OTHER))
    assert not _may(access, Peer())


def test_the_group_that_a_peer_shows_counts() -> None:
    access = Access([], [4321])

    assert _may(access, Peer(OTHER, 4321))
    assert not _may(access, Peer(OTHER, 4322))
    assert not _may(access, Peer(4321, OTHER))


def test_supplementary_groups_count() -> None:
    member, group = _somebody_in_a_group()

    assert _may(Access([], [group.gr_gid]), Peer(member.pw_uid, member.pw_gid))
    assert not _may(Access([], [group.gr_gid]), Peer(OTHER, OTHER))


def _somebody_in_a_group() -> tuple[pwd.struct_passwd, grp.struct_group]:
    for user in pwd.getpwall():
        for group in grp.getgrall():
            if user.pw_name in group.gr_mem and group.gr_gid != user.pw_gid and user.pw_uid not in (0, os.geteuid()):
                return user, group
    pytest.skip("nobody on this host has a supplementary group")


def test_a_refusal_names_the_user_and_the_setting() -> None:
    fault = Access([1], []).objection(Peer(OTHER, OTHER))
    assert fault
    assert str(OTHER) in fault.message
    assert "access.uids" in fault.message
    assert not fault.retry


# --- groups -----------------------------------------------------------------------------------------------------------


def test_the_groups_are_those_of_the_system() -> None:
    for user in pwd.getpwall()[:30]:
        wanted = set(os.getgrouplist(user.pw_name, user.pw_gid))
        assert Groups().of(Peer(user.pw_uid)) >= wanted
        assert Groups().of(Peer(user.pw_uid)) <= wanted | {u.pw_gid for u in pwd.getpwall() if u.pw_uid == user.pw_uid}


def test_a_user_whom_the_system_does_not_know_has_the_group_it_shows() -> None:
    groups = Groups()

    assert groups.of(Peer(987_654, 55)) == {55}
    assert groups.of(Peer(987_654, 56)) == {56}
    assert groups.of(Peer(987_654)) == set()
    assert groups.of(Peer()) == set()
    assert groups.of(Peer(key="k")) == set()
