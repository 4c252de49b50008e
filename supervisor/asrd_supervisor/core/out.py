"""What a part of the core answers with: orders for the shell, and events for its siblings."""

from asrd_supervisor.core import actions as do
from asrd_supervisor.core import events as ev

Out = list[do.Action | ev.Event]
