"""Who may use the installation."""
