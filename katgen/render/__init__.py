"""Plan → bytes. Pure: the same plan gives the same bytes anywhere. `cluster` is the entry."""
