"""Prove on site that a PACS keeps what it is sent: a synthetic study goes there and back, and is compared.

In: the configuration, the name of a destination.
Out: checks with what was expected and seen; a page for the quality file below `acceptance/` of the state folder.
Edge: none.
May import: phantom, verify, deliver, store, tls, config, durable, program.
"""
