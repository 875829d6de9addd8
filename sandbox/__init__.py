"""A stand-in for Apollo.io and OpenAI over an invented world of companies and people.

It speaks the wire format of `providers.md` and nothing of ours: nothing here imports the product.
"""
