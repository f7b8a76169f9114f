"""Rollouts under way: their next steps, how they get on, and what people are told."""
