"""Who may do what, over HTTP: keys, sessions, secrets, projects with their members, and the audit."""
