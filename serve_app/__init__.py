"""Everything about answering a request: the Ray Serve application, its HTTP interface and its commands."""
