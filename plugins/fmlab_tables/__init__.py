"""How features share the rows of embedding tables: `table(sizes, *, ...)`."""
