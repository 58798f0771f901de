"""Raw values as feature ids and values: one fitted encoder that preparation makes and serving reads."""
