"""The pure core: every decision of the daemon, with no I/O, no clock and no asyncio.

``Supervisor.handle(now, event)`` is the only code that changes state. The shell turns the world into events, and
performs the actions that come back. Time and randomness are arguments, so the life of a pool can be played for
thousands of hours in seconds.
"""
