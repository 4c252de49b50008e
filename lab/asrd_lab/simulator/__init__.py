"""The simulator: the real core of the daemon in virtual time, with workers, host and faults that are drawn from seeds.

``python -m asrd_lab.simulator`` prints how often the core raises false alarms, and how soon it finds what is wrong.
"""
