"""What the promises about survival rest on: each tried many times, with real damage.

A promise is a generator of trials: it yields None for a trial that kept the promise, and otherwise
one line that says how it was broken. Tests run a few trials of each, the command all of them.
"""
