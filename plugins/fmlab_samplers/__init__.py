"""Samplers of negatives: `draw(batch, n, seed, epoch) -> items, log_q`."""
