"""The page in the browser: mark a thing in a few pictures, get it back in all others."""
