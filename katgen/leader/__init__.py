"""`kat-leader`: the API, the loop from specs to committed plans, and what it keeps."""
