"""The suite that every artifact store keeps, and what its tests keep in one."""
