"""Time the engines and the commands on this machine.

In: a bundle; a synthetic image or state folder.
Out: tables of times, memory and agreement.
Edge: none.
May import: work, store, journal, errors.
"""
