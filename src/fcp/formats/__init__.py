"""What people's annotation tools write, as examples; what is found, as files that they read."""
