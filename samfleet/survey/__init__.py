"""What a collection looks like, and a configuration to start from: `samfleet init`."""
