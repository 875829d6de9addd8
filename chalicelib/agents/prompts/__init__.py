"""What models are asked, as versions: the context, the instructions, the form of the answer, and the check of it."""
