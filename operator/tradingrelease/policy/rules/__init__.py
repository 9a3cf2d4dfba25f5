"""The rules of a release. Each looks at the world and returns the next decision, or None where it is content."""
