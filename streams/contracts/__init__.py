"""What others rely on: the schemas of the records, and the reference page made from the code."""
