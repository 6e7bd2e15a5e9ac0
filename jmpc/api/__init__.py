"""What users write: values, functions on them, and `run`."""
