"""Models of histories and of text vectors, and data sets with a planted answer for them."""
