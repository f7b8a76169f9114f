"""What is told to who watches the agent: health, readiness, metrics."""
