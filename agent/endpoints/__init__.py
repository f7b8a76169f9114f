"""Who gets traffic, on this node (spec §6.3): what is known, and what it changes."""
