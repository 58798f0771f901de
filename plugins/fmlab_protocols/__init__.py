"""Protocols: which rows train, which are tested, and how they are judged."""
