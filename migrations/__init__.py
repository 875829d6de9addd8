"""The schema's history. Each revision works with the code that runs already: expand, deploy, contract."""
