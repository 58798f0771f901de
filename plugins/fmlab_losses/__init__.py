"""Losses: `loss(model, batch) -> scalar`."""
