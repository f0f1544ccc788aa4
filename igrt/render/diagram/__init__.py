"""A graph with the attribution of its nodes and pairs: what it is, and its three renderings."""
