"""Components come in through entry points: what is installed, and what each says of its options."""
