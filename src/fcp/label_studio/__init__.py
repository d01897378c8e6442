"""Label Studio's ML backend: existing annotations are the examples, other tasks are predicted."""
