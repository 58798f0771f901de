"""What others wrote: read with bounds, and checked against types."""
