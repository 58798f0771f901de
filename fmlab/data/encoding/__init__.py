"""Columns of text become feature ids and values."""
