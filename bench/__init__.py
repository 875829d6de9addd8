"""Benchmarks: ours against a stated reference, in one run, in turns. They measure; they never judge.

Each is a module with a `measure()` that returns a `Report`; `python -m bench [NAME]` prints it as one line.
"""
