"""Look at a collection and suggest a configuration for it: `samfleet init`."""
