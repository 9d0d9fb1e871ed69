"""The rows of the table: each scenario a function of a `Lab`."""
