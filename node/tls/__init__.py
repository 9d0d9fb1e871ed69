"""Make TLS contexts from `[tls]`, renew them when a file changes, and say what is wrong or ends soon.

In: paths of PEM files, of the node's operator.
Out: `ssl.SSLContext` of the BCP 195 profile, `TlsError`, dates at which certificates end.
Edge: none.
May import: config, errors, events, clock.
"""
