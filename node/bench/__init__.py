"""Time the engines, the encoding, the commands and the reception on this machine.

In: a bundle; a synthetic image, study or state folder.
Out: tables of times, memory and agreement.
Edge: none.
May import: work, store, journal, config, errors, free_ports.
"""
