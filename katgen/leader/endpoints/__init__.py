"""Who gets traffic: agents' word, passed on to whom it concerns (spec §6.3)."""
