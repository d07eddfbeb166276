"""Data layouts of others, one module each: how to read it into Clips and how to write Clips in it."""
