"""What needs torch, scikit-learn or scipy: datasets, networks, training and their files."""
