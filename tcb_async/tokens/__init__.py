"""Who may call: access tokens that look after themselves."""
