"""What a model costs and how it is scored: operations, parameters, the table of all models."""
