"""Metrics: pure functions of ranks or of scores and labels."""
