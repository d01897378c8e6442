"""The page in the browser: mark an object in a few pictures, find it in all others."""
