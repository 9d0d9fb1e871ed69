"""Judge segmentations that viewers send back: corrections of our results become labelled cases, with new values.

In: skipped series that hold a SEG, untrusted; the result and the images that it names.
Out: `corrections/accepted/<id>` with images and SEG, as `lumbar-train import` reads them; values before and after.
Edge: none; every row of a correction.
May import: sandbox, store, step, journal, errors, events, clock, durable.
"""
