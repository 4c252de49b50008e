"""The wire of asrd: messages, the transcript, faults, exit codes and addresses. Needs msgspec only.

``PROTOCOL.md`` beside this package is the same in prose, for writers of other clients.
"""

VERSION = 1
"""The protocol version that this package speaks; the field ``v`` of every question."""
