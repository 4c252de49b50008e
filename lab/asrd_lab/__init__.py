"""The lab: whether a model degrades on this machine, and which recycle policy fits it. ``asrd lab`` runs it.

It drives asrd from the outside, through its command lines and its client, and judges with the statistics of its core.
"""
