"""Hydra configs: composed from plugins, checked, and explained."""
