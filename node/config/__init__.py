"""The configuration file: text to frozen sections, and one line for everything that is wrong in it.

In: the text of `config.toml`.
Out: `sections.Config` with absolute paths, or `ConfigError` that names every wrong line.
Edge: none.
May import: errors, events, clock, backoff, durable.
"""
