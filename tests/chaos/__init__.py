"""Attacks on a real server, to prove it wrong: `python -m tests.chaos --minutes N [--seed S]`.

crash points    kill -9 before and after each step of a job's life
random kills    clients of every kind, and a server that is killed at any moment
fuzz            requests made from the OpenAPI document, and sequences of calls against a model
soak            load, and what grows under it

Afterwards the invariants of `tests.acceptance.invariants` must hold. Short forms of all this are in `tests/acceptance`.
"""
