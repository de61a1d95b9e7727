"""The thin HTTP face: takes wishes, shows facts."""
