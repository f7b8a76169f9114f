"""The leader's side of its conversation with agents."""
