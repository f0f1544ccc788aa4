"""A text with the attribution of its tokens: what it is, and its three renderings."""
