"""What `/metrics` of the leader tells, and what counts it."""
