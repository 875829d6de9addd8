"""Makes what Lambda gets: one zip for every function, from pinned wheels, precompiled, without what nothing uses.

`python -m infra.package` is the way in. It deploys nothing and knows no account.
"""
