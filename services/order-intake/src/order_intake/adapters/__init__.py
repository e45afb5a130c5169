"""Channel adapters: from a channel's own body to canonical content. Pure functions."""
