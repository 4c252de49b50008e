"""The parts of a job as a file that is nowhere: the worker that merges reads them from there."""

import os
import resource

from asrd_protocol.faults import Code, Fault
from asrd_supervisor.handover import _in_memory


def test_they_can_be_read_from_the_start() -> None:
    fd = _in_memory(b"all of it")
    assert isinstance(fd, int)
    try:
        assert os.pread(fd, 100, 0) == b"all of it"
    finally:
        os.close(fd)


def test_without_a_descriptor_the_step_has_a_fault_and_is_tried_again() -> None:
    """As an exception nobody would hear of it, and the worker would wait for the step for ever."""
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))
    try:
        found = _in_memory(b"all of it")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (least, most))
    assert isinstance(found, Fault)
    assert (found.code, found.message) == (
        Code.STORAGE_FAILED,
        "the parts of the job cannot be put together (Too many open files)",
    )


def test_a_fault_stays_one() -> None:
    fault = Fault.of(Code.STORAGE_FAILED, "2 of 3 parts are gone")
    assert _in_memory(fault) is fault
