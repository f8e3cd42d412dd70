"""Apply a student to pictures of any size, in batches and tiles, with any engine."""
