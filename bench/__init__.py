"""Benchmarks: ours against a stated reference, in one run, in turns. They measure; where there is a limit, the line
says whether it holds, and nothing fails of it.

Each is a module with a `measure()` that returns a `Report`; `python -m bench [NAME]` prints it as one line.
"""
