"""Make follow-ups: reports that compare the results of one patient over studies, as objects of the newest study.

In: results that count, the headers of their images, `[results] followup`.
Out: a folder below `results/` for each, with its row and its deliveries; follow-ups that are outdated.
Edge: none; rows of follow-ups, which are delivered and withdrawn as results are.
May import: observe, sandbox, store, journal, config, errors, events, faults, clock, backoff, durable, program.
"""
