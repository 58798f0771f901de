"""Ranking, click-through-rate and rating evaluation; significance."""
