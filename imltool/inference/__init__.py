"""A student applied to pictures of any size, in batches and tiles, whichever engine runs it."""
