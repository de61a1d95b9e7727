"""What an attempt of a job leaves that its row tells."""
