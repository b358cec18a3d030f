"""The viewer: a local server that answers questions about studies, and the page that asks. Needs the extra `web`."""
