"""From an answer to values: rows, data frames, files."""
