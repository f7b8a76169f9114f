"""The OpenAPI document of the API, from its routes and types."""
