"""One shard on one device: reading, masks, measurement and recording overlap."""
