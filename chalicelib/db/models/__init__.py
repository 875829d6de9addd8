"""One module a subject, imported alone: a function that starts maps the tables that it asks for.

A module brings those that its foreign keys lead to. `every` knows the whole schema.
"""
