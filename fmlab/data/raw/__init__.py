"""Raw files: fetched, opened, and read as tables of text."""
