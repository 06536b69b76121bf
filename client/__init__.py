"""The SDK: a session that asks, solves and opens; and an honest workload."""
