"""Privacy accounting: what an answered query reveals about the training data."""
