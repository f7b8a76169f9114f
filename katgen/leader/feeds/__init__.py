"""Everything that can be listed and watched, in memory."""
