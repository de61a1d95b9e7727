"""Who sends a request: identities with their scopes, and API keys."""
