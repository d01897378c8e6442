"""The paper's experiments: its tables and figures, each from a pure computation to a file."""
