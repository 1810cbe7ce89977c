"""Detection of one shard on one device: images are read, segmented and measured at the same time."""
