"""Label Studio's ML backend: annotations made so far are the examples, the rest is predicted."""
