"""Shared layers and functions that models are made of."""
