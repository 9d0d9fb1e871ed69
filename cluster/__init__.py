"""What both sides of a cluster share, whatever is computed: addresses, certificates, kinds of machines, Dask's servers.

In: addresses and files of certificates.
Out: settings of Dask and its TLS; a worker's kind as a name; a server that runs until it is stopped.
Edge: none.
May import: none of our packages.
"""
