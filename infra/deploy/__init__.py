"""Brings a release to a stage, goes back to the one before, and takes a stage down.

`python -m infra.deploy deploy|rollback|destroy` is the way in; docs/how-to/deploy.md says how it is used. Every step
looks at what is there and does only what differs, so that whatever failed can be started again.
"""
