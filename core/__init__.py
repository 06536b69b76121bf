"""What both sides need: arrays, datasets, networks, training, artifacts, records."""
