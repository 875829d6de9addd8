"""Lambda on this machine: a package's functions, run by AWS's own runtime client against a Runtime API of ours.

It emulates one execution environment: start, init, one event at a time, timeout, death. It is no account: no event
sources, no permissions, no limits on memory.
"""
