"""A matrix of values with named rows and columns: what it is, and its three renderings."""
